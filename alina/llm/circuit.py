"""A circuit breaker: whoever fails several times in a row is left alone for a while.

closed: every call passes. open: none does, until the reset time is over. Then half open: exactly one call,
the probe, passes; its success closes the circuit, its failure opens it again. After M. Nygard, "Release It!".

Of one process: children learn of a failing provider each by itself, and a restart forgets it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock

#: no provider may silence itself for longer
_LONGEST = timedelta(hours=1)


class CircuitOpen(Exception):
    """The call was not made."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(f"left alone for another {max(wait.total_seconds(), 0):.0f} s")
        self.wait = wait


class Circuit:
    """Counts the failures of one thing that is called. Threads may share it."""

    def __init__(
        self, *, failures: int, reset: timedelta, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`failures` in a row open it for `reset`. `clock` in seconds."""
        self._most, self._reset, self._clock = failures, reset, clock
        self._lock = Lock()
        self._failures = 0
        self._open_until: float | None = None  # None: closed
        self._is_probing = False

    @contextmanager
    def call(self, wait_of: Callable[[BaseException], timedelta | None]) -> Iterator[None]:
        """One call. Raises CircuitOpen where it must not be made.

        `wait_of` judges what is raised in it: None says nothing about what was called; else it is a failure,
        and asks by itself to be left alone so long, or for zero.
        """
        is_probe = self._enter()
        try:
            yield
        except BaseException as error:
            self._fail(is_probe, wait_of(error))
            raise
        self._succeed(is_probe)

    def _enter(self) -> bool:
        """Whether this call is the probe."""
        with self._lock:
            if self._open_until is None:
                return False
            wait = self._open_until - self._clock()
            if wait > 0 or self._is_probing:
                raise CircuitOpen(timedelta(seconds=wait))
            self._is_probing = True
            return True

    def _fail(self, is_probe: bool, wait: timedelta | None) -> None:
        with self._lock:
            if is_probe:
                self._is_probing = False
            elif self._open_until is not None:
                return  # it began before the circuit opened: nothing new
            if wait is None:
                return
            self._failures += 1
            if is_probe or wait or self._failures >= self._most:
                rest = max(self._reset, min(wait, _LONGEST))
                self._open_until = self._clock() + rest.total_seconds()

    def _succeed(self, is_probe: bool) -> None:
        with self._lock:
            if is_probe or self._open_until is None:
                self._failures, self._open_until, self._is_probing = 0, None, False
