"""Server processes that outlive the one that started them and are taken over by the next start."""

import importlib.util
import os
import pwd
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from alina.embedded.folder import DataFolder
from alina.embedded.lock import PidLock
from alina.embedded.system_user import run_as
from alina.errors import SystemStateError

_KILLED_WITHIN = 10.0  # seconds
_NAMED_WITHIN = 10.0
# The lock is the server's standard input: the server names itself in it and holds it for as long as it lives.
_NAME_YOURSELF = ("/bin/sh", "-c", 'echo $$ >&0 && exec "$@"', "sh")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How to run a server."""

    argv: Sequence[str]
    cwd: Path
    environment: Mapping[str, str]
    user: pwd.struct_passwd | None = None  # None: as ourselves


class Server(ABC):
    """One server of a data folder: started once, found again, stopped. Raises SystemStateError.

    It runs in a session of its own, so neither Ctrl-C nor the death of its parent ends it.
    """

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._lock = PidLock(folder.subfolder("run") / f"{self.name}.pid")
        self._output = folder.subfolder("logs") / f"{self.name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the server is, password included: never for a log."""

    @property
    def pid(self) -> int | None:
        """The server's pid; None when it does not run."""
        running = self._running()
        return running.pid if running else None

    def start(self, *, timeout: float = 60.0) -> str:
        """Start the server, or take over the one that already runs here, and return its URL."""
        deadline = time.monotonic() + timeout
        launched = False
        while not (self._running() and self._answers()):
            lock = self._lock.acquire()
            if lock is not None:
                try:
                    if launched:
                        raise SystemStateError(
                            f"{self.name} did not start: {self._reason()}: see {self._output}"
                        )
                    self._launch(lock)
                    launched = True
                finally:
                    os.close(lock)
            if time.monotonic() > deadline:
                raise SystemStateError(
                    f"{self.name} does not answer after {timeout:.0f} s: see {self._output}"
                )
            time.sleep(0.02)
        return self.url

    def stop(self, *, grace: float = 30.0) -> None:
        """Ask the server to end; kill it after `grace` seconds. What it has promised to keep, it keeps.

        One whose start was cut short before it had named itself is waited for, and ended too.
        """
        deadline = time.monotonic() + _NAMED_WITHIN
        while not (running := self._running()) and self._is_starting() and time.monotonic() < deadline:
            time.sleep(0.02)
        if running:
            _end(running, self.stop_signal, grace)
        self._reap()

    @abstractmethod
    def _prepare(self) -> Command:
        """Make what the server needs before its start. Called only when none runs here."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the running server serves."""

    def _reason(self) -> str:
        """What a server that died at its start has said last."""
        said = self._output.read_text(encoding="utf-8", errors="replace").split("\n")
        return " | ".join(line for line in said[-4:] if line.strip()) or "it said nothing"

    def _running(self) -> psutil.Process | None:
        with suppress(psutil.Error):
            process = psutil.Process(pid) if (pid := self._lock.holder()) else None
            if process and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def _is_starting(self) -> bool:
        """Whether there is a process that holds the lock and has not named itself, or its zombie."""
        lock = self._lock.acquire()
        if lock is None:
            return True
        os.close(lock)
        return False

    def _launch(self, lock: int) -> None:
        self._reap()
        command = self._prepare()
        with os.fdopen(os.open(self._output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
            self._child = subprocess.Popen(
                [*_NAME_YOURSELF, *command.argv],
                stdin=lock,
                stdout=output,
                stderr=output,
                cwd=command.cwd,
                env=dict(command.environment),
                start_new_session=True,
                **run_as(command.user),
            )

    def _reap(self) -> None:
        if self._child:
            self._child.wait(_KILLED_WITHIN)
            self._child = None


def packaged(package: str, path: str) -> Path:
    """A binary that a wheel carries. The package is not imported: some start work when they are."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemStateError(
            f"{package} is not installed: install ALINA again, or use servers of your own "
            "(system.database and system.redis in config.yaml)"
        )
    return Path(spec.submodule_search_locations[0]).resolve() / path


def _end(process: psutil.Process, ask: signal.Signals, grace: float) -> None:
    with suppress(psutil.NoSuchProcess):  # psutil never signals a pid that was given to another process
        process.send_signal(ask)
        try:
            process.wait(grace)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_KILLED_WITHIN)
