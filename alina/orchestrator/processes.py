"""One supervised child process: its start, its log, its end and what it leaves behind."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import psutil

from alina.embedded.folder import DataFolder
from alina.orchestrator import tether

_LOG_LIMIT = 10_000_000  # bytes a log file; one older file is kept
# In the environment of every child and so of what it starts: whose they are, whatever became of their parent.
MARK = "SUPERVISED_BY_ALINA_IN"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process that should always run."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]  # the whole environment: a secret reaches only whom it is given to
    queue: str | None = None  # the queue it serves, for the watchdog
    grace: float = 30.0  # seconds between being asked to end and being killed


class Child:
    """One life after another of a ProcessSpec. Times in seconds of the monotonic clock."""

    def __init__(self, spec: ProcessSpec, folder: DataFolder) -> None:
        self.spec = spec
        self.started_at: datetime | None = None
        self.restarts = 0
        self.failures = 0
        self.start_due = 0.0
        self.kill_due: float | None = None
        self._folder = folder
        self._log = folder.subfolder("logs") / f"{spec.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    @property
    def pid(self) -> int | None:
        """The pid, from the start until the end was noticed."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it in a session of its own, so that its whole group can be killed."""
        with os.fdopen(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *self.spec.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.spec.env, MARK: str(self._folder.path)},
                start_new_session=True,
            )
        self._started, self.started_at = time.monotonic(), datetime.now(UTC)

    def lived(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._started

    @property
    def ending(self) -> bool:
        """Whether it was asked to end and has not yet."""
        return self.kill_due is not None

    def ask_to_end(self) -> None:
        """SIGTERM, to the process alone: a worker ends its own children in order."""
        if self._process and not self.ending:
            self._process.terminate()
            self.kill_due = time.monotonic() + self.spec.grace

    def kill_if_due(self) -> bool:
        """Kill the whole group, once, if it was asked to end and its grace is over."""
        if self._process is None or self.kill_due is None or time.monotonic() < self.kill_due:
            return False
        _kill_group(self._process.pid)
        self.kill_due = math.inf
        return True

    def ended(self) -> int | None:
        """The exit code if the process has ended, once; what it left in its group is killed."""
        if self._process is None or not _is_over(self._process.pid):
            return None
        _kill_group(self._process.pid)  # before the pid is free for others
        code = self._process.wait()
        self._process, self.kill_due = None, None
        return code

    def bound_log(self) -> None:
        """Move a long log aside. The file stays the same one, since the child holds it open to append."""
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            with suppress(OSError):  # a full disk: then the older lines go
                shutil.copyfile(self._log, self._log.with_suffix(".log.1"))
            os.truncate(self._log, 0)


def end_leftovers(folder: DataFolder, *, grace: float = 10.0) -> list[int]:
    """End the children of a supervisor of this folder that is no more, and return their pids.

    To be called with the folder's lock held: then no living supervisor owns them.
    """
    left = [process for process in psutil.process_iter() if is_child(process, folder)]
    for process in left:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=grace)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=grace)
    return [process.pid for process in left]


def is_child(process: psutil.Process, folder: DataFolder) -> bool:
    """Whether the living process was started by a supervisor of this folder, or by one of its children."""
    with suppress(psutil.Error):
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get(MARK) == str(folder.path)
    return False


def _is_over(pid: int) -> bool:
    """Whether our child has ended; it keeps its pid until it is waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
