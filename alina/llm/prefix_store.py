"""What contexts held after a prefix, kept so that agents who take turns in one process need not evaluate
theirs again: in memory first, then in files that all processes of a data folder share.

A file is written beside and moved into its place, so that a reader sees all of it or nothing; it begins with
the hash of what follows, so that a torn or foreign one is found out, ignored and removed.
"""

import hashlib
import os
import tempfile
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import structlog

log = structlog.get_logger(__name__)
_MAGIC = b"ALINA prefix 1\n\0"
_HASH_BYTES = hashlib.sha256().digest_size


class PrefixStore:
    """States of every model of one process, the least recently used dropped first. Bounds are in bytes.

    `folder` is made on first use, for its owner only; without one, or of 0 bytes, there are no files.
    Whatever goes wrong with a file costs time, never an answer.
    """

    def __init__(self, folder: Path | None, *, ram_bytes: int, disk_bytes: int) -> None:
        self._folder = folder if disk_bytes else None
        self._ram_bytes, self._disk_bytes = ram_bytes, disk_bytes
        self._states: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    @property
    def held_bytes(self) -> int:
        """What is in memory."""
        with self._lock:
            return sum(map(len, self._states.values()))

    def of(self, layout: str) -> "Prefixes":
        """The prefixes of one model file, engine and context: `layout` names all that a state depends on."""
        return Prefixes(self, layout)

    def lacks(self, key: str) -> bool:
        """Whether a state of this key would be kept and is not yet."""
        if key in self._states or (self._folder is not None and self._file(self._folder, key).exists()):
            return False
        return self._ram_bytes > 0 or self._folder is not None

    def get(self, key: str) -> bytes | None:
        with self._lock:
            state = self._states.get(key)
            if state is not None:
                self._states.move_to_end(key)
                return state
            state = self._read(key)
            if state is not None:
                self._remember(key, state)
            return state

    def put(self, key: str, state: bytes) -> None:
        with self._lock:
            self._remember(key, state)
            if self._folder is not None and len(state) <= self._disk_bytes:
                try:
                    self._write(self._folder, key, state)
                except OSError as error:
                    log.warning("prefix not written", folder=str(self._folder), error=str(error))

    def drop(self, key: str) -> None:
        with self._lock:
            self._states.pop(key, None)
            if self._folder is not None:
                with suppress(OSError):
                    self._file(self._folder, key).unlink()

    def _remember(self, key: str, state: bytes) -> None:
        self._states[key] = state
        while sum(map(len, self._states.values())) > self._ram_bytes:
            self._states.popitem(last=False)

    def _read(self, key: str) -> bytes | None:
        if self._folder is None:
            return None
        path = self._file(self._folder, key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        with suppress(OSError):
            os.utime(path)  # used now: the bound drops the oldest
        start = len(_MAGIC) + _HASH_BYTES
        state = content[start:]
        if content[:start] == _MAGIC + hashlib.sha256(state).digest():
            return state
        log.warning("prefix file is damaged, removed", file=str(path))
        with suppress(OSError):
            path.unlink()
        return None

    def _write(self, folder: Path, key: str, state: bytes) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(dir=folder, prefix=".")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(state).digest())
                file.write(state)
            os.replace(beside, self._file(folder, key))
        except BaseException:
            with suppress(OSError):
                os.unlink(beside)
            raise
        self._make_room(folder)

    def _make_room(self, folder: Path) -> None:
        """Remove the files used longest ago, and what a process that died left half-written, to the bound."""
        found = []
        for path in folder.iterdir():
            with suppress(OSError):  # another process was faster
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        size = sum(each for _, each, _ in found)
        for _, each, path in sorted(found):
            if size <= self._disk_bytes:
                return
            with suppress(OSError):
                path.unlink()
            size -= each

    @staticmethod
    def _file(folder: Path, key: str) -> Path:
        return folder / f"{key}.state"


class Prefixes:
    """The states of one layout, by the tokens that they hold."""

    def __init__(self, store: PrefixStore, layout: str) -> None:
        self._store, self._layout = store, hashlib.sha256(layout.encode())

    def lacks(self, tokens: Sequence[int]) -> bool:
        """Whether it is worth telling what a context holds after these tokens."""
        return self._store.lacks(self._key(tokens))

    def get(self, tokens: Sequence[int]) -> bytes | None:
        """What a context holds after these tokens."""
        return self._store.get(self._key(tokens))

    def put(self, tokens: Sequence[int], state: bytes) -> None:
        self._store.put(self._key(tokens), state)

    def drop(self, tokens: Sequence[int]) -> None:
        """Forget a state that turned out not to fit."""
        self._store.drop(self._key(tokens))

    def _key(self, tokens: Sequence[int]) -> str:
        digest = self._layout.copy()
        digest.update(array("i", tokens).tobytes())
        return digest.hexdigest()


#: for a process that asks once: nothing is kept but what the context holds
NO_PREFIXES = PrefixStore(None, ram_bytes=0, disk_bytes=0)
