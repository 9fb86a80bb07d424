"""What is wrong with recorded candles: computed over all of them at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from alina.market_data.arrays import CandleArrays, time_at

#: weeks begin on Mondays, the epoch was a Thursday
_FIRST_MONDAY_MS = 4 * 86_400_000

#: what no store takes; gaps and candles without trades are the market's own
REFUSED = frozenset({"duplicate", "off the grid", "impossible"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One kind of fault in the candles of one market."""

    #: gap, duplicate, off the grid, impossible or no volume
    kind: str
    #: candles that lack, or that are wrong
    count: int
    #: open times of the first and the last of them
    first: datetime
    last: datetime


def faults(candles: CandleArrays) -> list[Fault]:
    """The faults of candles that are sorted by time, one entry a kind. Empty: nothing is wrong."""
    return list(_faults(candles))


def _faults(candles: CandleArrays) -> Iterator[Fault]:
    times, length = candles.open_time, candles.interval_ms
    steps = np.diff(times)
    holes = np.flatnonzero(steps >= 2 * length)
    if len(holes):
        missing = int((steps[holes] // length - 1).sum())
        first, last = times[holes[0]] + length, times[holes[-1] + 1] - length
        yield Fault(kind="gap", count=missing, first=time_at(first), last=time_at(last))
    start = _FIRST_MONDAY_MS if candles.timeframe.endswith("w") else 0
    yield from _fault("duplicate", times[1:][steps == 0])
    yield from _fault("off the grid", times[(times - start) % length != 0])
    yield from _fault("impossible", times[_impossible(candles)])
    yield from _fault("no volume", times[candles.volume == 0])


def _fault(kind: str, times: NDArray[np.int64]) -> Iterator[Fault]:
    if len(times):
        yield Fault(kind=kind, count=len(times), first=time_at(times[0]), last=time_at(times[-1]))


def _impossible(candles: CandleArrays) -> NDArray[np.bool_]:
    """As domain.market.Candle has it. What is no number compares as false: ask what is possible."""
    highest = np.maximum(candles.open, candles.close)
    lowest = np.minimum(candles.open, candles.close)
    possible = (candles.low > 0) & (candles.low <= lowest) & (candles.high >= highest) & (candles.volume >= 0)
    return ~(possible & np.isfinite(candles.high) & np.isfinite(candles.volume))
