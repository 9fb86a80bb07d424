"""The data folder: everything of one running system that lasts, owned by one user."""

import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alina.embedded.lock import PidLock
from alina.errors import SystemStateError

# Below the range the kernel hands to outgoing connections, so a kept port is rarely taken meanwhile.
_PORTS = range(20_000, 32_000)


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace the file by `text`: a reader, or a crash, sees the old text or the new, never a part."""
    temporary = _write_beside(path, text, mode)
    os.replace(temporary, path)
    _sync_directory(path.parent)


class DataFolder:
    """The folder of one system: its lock, its secrets, its ports. Made on first use, for its owner only.

    Raises SystemStateError where the folder cannot be made or used.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().resolve()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error.strerror) from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise self._unusable("it belongs to another user")
        self._lock = PidLock(self.path / "alina.lock")

    def subfolder(self, name: str) -> Path:
        """A folder inside, for the owner only."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder while running. Raises SystemStateError when another process holds it."""
        descriptor = self._lock.acquire()
        if descriptor is None:
            raise SystemStateError(
                f"ALINA in {self.path} is already running (pid {self.holder() or 'unknown'}): "
                "use `alina status`, or `alina down` to stop it"
            )
        try:
            os.write(descriptor, f"{os.getpid()}\n".encode())
            yield
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The pid of the process that holds the lock, or None."""
        return self._lock.holder()

    def secret(self, name: str) -> str:
        """The password of that name, made at the first call and kept in a file of mode 0600.

        48 hex digits, which are base64 too: some exchanges' secrets are.
        """
        path = self.subfolder("secrets") / name
        if not path.exists():
            temporary = _write_beside(path, secrets.token_hex(24), 0o600)
            with suppress(FileExistsError):  # another process made it first: use that one
                os.link(temporary, path)
            temporary.unlink()
            _sync_directory(path.parent)
        return path.read_text(encoding="utf-8").strip()

    def port(self, name: str) -> int:
        """A loopback TCP port for a server that is about to listen: the kept one, or a new one if taken."""
        ports = self._ports()
        kept = ports.pop(name, None)
        if kept is not None and _is_free(kept):
            return kept
        chosen = _choose_port(set(ports.values()))
        write_atomically(self._ports_path, json.dumps(ports | {name: chosen}, indent=1))
        return chosen

    def known_port(self, name: str) -> int | None:
        """The port kept under that name, whether or not its server runs; None before the first start."""
        return self._ports().get(name)

    def ensure_free_space(self, needed: int) -> None:
        """Raise SystemStateError when the disk has fewer than `needed` bytes left."""
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise SystemStateError(
                f"{self.path} has {free / 1e6:.0f} MB left and needs {needed / 1e6:.0f} MB: "
                "free some space, or set system.data_folder to another disk"
            )

    def write(self, name: str, text: str) -> Path:
        """Replace a small file inside, atomically. `name` may name a file in a subfolder, made on the way."""
        path = self.path / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, text)
        return path

    def _unusable(self, reason: str | None) -> SystemStateError:
        return SystemStateError(
            f"cannot use {self.path} as data folder ({reason}): "
            "set system.data_folder to a folder that this user may write"
        )

    @property
    def _ports_path(self) -> Path:
        return self.path / "ports.json"

    def _ports(self) -> dict[str, int]:
        with suppress(FileNotFoundError):
            return {name: int(port) for name, port in json.loads(self._ports_path.read_text()).items()}
        return {}


def _write_beside(path: Path, text: str, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    return Path(name)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ignores TIME_WAIT
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _choose_port(used: set[int]) -> int:
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        if port not in used and _is_free(port):
            return port
    raise SystemStateError(f"no free port from {_PORTS.start} to {_PORTS.stop}: set the port in config.yaml")
