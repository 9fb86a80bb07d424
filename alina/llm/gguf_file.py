"""Is this file a whole GGUF model? Answered from its header alone, before an engine maps it.

Layout, from the GGUF specification: magic, version, tensor count, metadata count; then the
metadata (key, type, value); then one description a tensor (name, shape, type, offset); then,
aligned, the tensors' data. All integers little-endian; strings are a u64 length and bytes.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO

from alina.errors import ModelUnavailable

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
#: bytes of each scalar metadata type: u8 i8 u16 i16 u32 i32 f32 bool, u64 i64 f64
_SCALAR_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_DEFAULT_ALIGNMENT = 32


def check_gguf(path: Path) -> int | None:
    """The context length in tokens that the model was trained for, if the file says so.

    Raises ModelUnavailable unless `path` is a GGUF file that holds all the tensors it describes.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = _Header(file, size)
            needed = header.end_of_data()
    except OSError as error:
        raise ModelUnavailable(
            f"model file {path} cannot be read ({error.strerror}): correct models.default in config.yaml"
        ) from error
    except _Malformed as error:
        raise ModelUnavailable(
            f"model file {path} is not usable: {error}. Name a GGUF file in models.default, or fetch it again"
        ) from error
    if needed > size:
        raise ModelUnavailable(
            f"model file {path} is truncated: {size} bytes of the {needed} it describes. Fetch it again"
        )
    return header.context_length


class _Malformed(Exception):
    """What is wrong with the header."""


class _Header:
    """A reader that walks the header once, never past the end of the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self.context_length: int | None = None

    def end_of_data(self) -> int:
        """Bytes the file must have for the last of its tensors to be whole."""
        if self._take(4) != _MAGIC:
            raise _Malformed("it does not begin with GGUF")
        version, tensor_count, metadata_count = self._unpack("<IQQ")
        if version not in _VERSIONS:
            raise _Malformed(f"GGUF version {version} is unknown (versions 2 and 3, little-endian, are read)")
        alignment = _DEFAULT_ALIGNMENT
        for _ in range(metadata_count):
            key, value = self._string(), self._value(self._integer("<I"))
            if key == b"general.alignment":
                alignment = int.from_bytes(value, "little")
            elif key.endswith(b".context_length"):
                self.context_length = int.from_bytes(value, "little")
        if tensor_count == 0 or alignment == 0:
            raise _Malformed("it holds no tensors")
        end = max(self._tensor_end() for _ in range(tensor_count))
        return math.ceil(self._file.tell() / alignment) * alignment + end

    def _tensor_end(self) -> int:
        """Where one tensor ends, in bytes from the beginning of the data."""
        name = self._string()
        dimensions = self._integer("<I")
        elements = math.prod(self._integer("<Q") for _ in range(min(dimensions, 5)))
        kind, offset = self._unpack("<IQ")
        return int(offset) + _bytes_of(name, kind, elements)

    def _value(self, kind: int) -> bytes:
        """The raw bytes of one metadata value; arrays are skipped."""
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._take(_scalar_size(kind))
        item, count = self._unpack("<IQ")
        if item == _STRING:
            for _ in range(count):
                self._string()
        elif item == _ARRAY:
            raise _Malformed("it nests metadata arrays")
        else:
            self._skip(_scalar_size(item) * count)
        return b""

    def _string(self) -> bytes:
        return self._take(self._integer("<Q"))

    def _integer(self, layout: str) -> int:
        return int(self._unpack(layout)[0])

    def _unpack(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))

    def _take(self, count: int) -> bytes:
        # A hostile length must not allocate: nothing longer than the file is read.
        data = self._file.read(count) if count <= self._size else b""
        if len(data) != count:
            raise _Malformed(f"its header ends early, at byte {self._size}")
        return data

    def _skip(self, count: int) -> None:
        if self._file.tell() + count > self._size:
            raise _Malformed(f"its header ends early, at byte {self._size}")
        self._file.seek(count, 1)


def _scalar_size(kind: int) -> int:
    if kind not in _SCALAR_SIZES:
        raise _Malformed(f"metadata type {kind} is unknown")
    return _SCALAR_SIZES[kind]


def _bytes_of(name: bytes, kind: int, elements: int) -> int:
    # Imported here: it costs a fifth of a second, and only opening a model needs it.
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except ValueError as error:
        raise _Malformed(f"tensor {name!r} has the unknown type {kind}: update the gguf package") from error
    return math.ceil(elements / block) * size
