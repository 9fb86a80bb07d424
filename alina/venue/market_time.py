"""The replay's clock: market time runs at `speed` from where it stopped, up to the end of the data."""

import time
from collections.abc import Callable
from decimal import Decimal


class MarketTime:
    """Market time in ms. `monotonic_ns` is steady: correcting the wall clock moves no market."""

    def __init__(self, anchor_ms: int, end_ms: int, speed: Decimal, monotonic_ns: Callable[[], int]) -> None:
        self.end_ms = end_ms
        self.speed = speed
        self._anchor_ms = anchor_ms
        self._monotonic_ns = monotonic_ns
        self._anchor_ns = monotonic_ns()

    def now(self) -> int:
        """Never falls, never exceeds the end."""
        passed = (self._monotonic_ns() - self._anchor_ns) * self.speed // 1_000_000
        return min(self._anchor_ms + int(passed), self.end_ms)

    def not_before(self, anchor_ms: int) -> None:
        """Nobody may be told a time before this one."""
        self._anchor_ms += max(0, anchor_ms - self.now())

    def passing_in(self, milliseconds: int) -> int:
        """How much market time passes in so much wall time."""
        return int(milliseconds * self.speed)


def wall_ms() -> int:
    """The wall clock in ms since the epoch."""
    return time.time_ns() // 1_000_000
