"""Is this file a whole GGUF model? Answered from its header alone, before an engine maps it.

Layout, from the GGUF specification: magic, version, tensor count, metadata count; then the
metadata (key, type, value); then one description a tensor (name, shape, type, offset); then,
aligned, the tensors' data. All integers little-endian; strings are a u64 length and bytes.
"""

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from alina.errors import ModelUnavailable

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
#: bytes of each scalar metadata type: u8 i8 u16 i16 u32 i32 f32 bool, u64 i64 f64
_SCALAR_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_DEFAULT_ALIGNMENT = 32
#: tokens of a context that a header may claim
_LONGEST = 2**31 - 1
#: the one array that is read: layers may differ in how many heads they keep
_HEADS = b".attention.head_count_kv"
#: of one key or value in the cache, a 16-bit float
_CACHED_BYTES = 2


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What the header says of the model."""

    size_bytes: int
    #: the type of most of its weights, as llama.cpp writes it: "Q4_1"
    quantisation: str | None
    #: its chat template, in Jinja
    template: str | None
    licence: str | None
    #: tokens it was trained for
    context_length: int | None
    #: of the keys and values that a context keeps of one token, at most; 0: the header does not tell
    cache_bytes_a_token: int


def check_gguf(path: Path) -> GgufFacts:
    """What the header says, once it is certain that the rest of the file is there.

    Raises ModelUnavailable unless `path` is a GGUF file that holds all the tensors it describes.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = _Header(file, size)
            needed = header.end_of_data()
            facts = _facts(header.metadata, size)
    except OSError as error:
        raise ModelUnavailable(
            f"model file {path} cannot be read ({error.strerror}): correct its rights or its path"
        ) from error
    except _Malformed as error:
        raise ModelUnavailable(
            f"model file {path} is not usable: {error}. Name a GGUF file, or fetch it again"
        ) from error
    if needed > size:
        raise ModelUnavailable(
            f"model file {path} is truncated: {size} bytes of the {needed} it describes. Fetch it again"
        )
    return facts


def _facts(metadata: Mapping[bytes, bytes | list[int]], size: int) -> GgufFacts:
    def text(key: str) -> str | None:
        value = metadata.get(key.encode())
        return value.decode(errors="replace").replace("\0", "") if isinstance(value, bytes) else None

    def number(key: str) -> int:
        value = metadata.get(key.encode(), b"")
        return int.from_bytes(value, "little") if isinstance(value, bytes) else 0

    family = text("general.architecture")
    if number(f"{family}.context_length") > _LONGEST:
        raise _Malformed(f"it claims a context of {number(f'{family}.context_length')} tokens")
    return GgufFacts(
        size_bytes=size,
        quantisation=_quantisation(number("general.file_type")) if b"general.file_type" in metadata else None,
        template=text("tokenizer.chat_template"),
        licence=text("general.license"),
        context_length=number(f"{family}.context_length") or None,
        cache_bytes_a_token=_cache_bytes(metadata, family, number),
    )


def _cache_bytes(
    metadata: Mapping[bytes, bytes | list[int]], family: str | None, number: Callable[[str], int]
) -> int:
    """As if every layer kept every token: an upper bound for those that slide a window."""
    heads = metadata.get(f"{family}".encode() + _HEADS)
    in_all = (
        sum(heads)
        if isinstance(heads, list)
        else number(f"{family}.block_count")
        * (number(f"{family}.attention.head_count_kv") or number(f"{family}.attention.head_count"))
    )
    width = number(f"{family}.embedding_length") // (number(f"{family}.attention.head_count") or 1)
    key = number(f"{family}.attention.key_length") or width
    value = number(f"{family}.attention.value_length") or width
    return in_all * (key + value) * _CACHED_BYTES


def _quantisation(kind: int) -> str:
    # Imported here: it costs a fifth of a second, and only looking at a model needs it.
    from gguf.constants import LlamaFileType

    try:
        return LlamaFileType(kind).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except ValueError:
        return f"type {kind}"


class _Malformed(Exception):
    """What is wrong with the header."""


class _Header:
    """A reader that walks the header once, never past the end of the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        #: scalars as their bytes, texts without quotes; of arrays only the heads
        self.metadata: dict[bytes, bytes | list[int]] = {}

    def end_of_data(self) -> int:
        """Bytes the file must have for the last of its tensors to be whole."""
        if self._take(4) != _MAGIC:
            raise _Malformed("it does not begin with GGUF")
        version, tensor_count, metadata_count = self._unpack("<IQQ")
        if version not in _VERSIONS:
            raise _Malformed(f"GGUF version {version} is unknown (versions 2 and 3, little-endian, are read)")
        for _ in range(metadata_count):
            key = self._string()
            self.metadata[key] = self._value(key, self._integer("<I"))
        aligned = self.metadata.get(b"general.alignment")
        alignment = int.from_bytes(aligned, "little") if isinstance(aligned, bytes) else _DEFAULT_ALIGNMENT
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

    def _value(self, key: bytes, kind: int) -> bytes | list[int]:
        """The raw bytes of one metadata value; arrays are skipped, but for the one that is needed."""
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
        elif key.endswith(_HEADS):
            size = _scalar_size(item)
            data = self._take(size * count)
            return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]
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
