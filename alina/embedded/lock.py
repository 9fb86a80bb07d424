"""A lock that names its holder: how a second start finds the first."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path


class PidLock:
    """A file whose lock says that its holder lives, and whose text says which process that is.

    The kernel frees the lock when the last process that inherited the descriptor dies, however it dies, so
    neither a stale file nor a reused pid is ever taken for a holder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def acquire(self) -> int | None:
        """A descriptor that holds the lock, on an empty file for the pid; None while another holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        for _ in range(5):  # `holder`, in another process, takes the lock for an instant to look at it
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(descriptor, 0)
                return descriptor
            time.sleep(0.02)
        os.close(descriptor)
        return None

    def holder(self) -> int | None:
        """The pid of the process that holds the lock; None if it is free, or about to be named."""
        with suppress(FileNotFoundError, ValueError), self._path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read())
        return None
