"""Candles of one market as arrays: for what is computed over all of them at once."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from alina.domain.market import timeframe_duration

#: the figures of a candle, as files, tables and arrays have them
FIGURES = ("open", "high", "low", "close", "volume")
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CandleArrays:
    """One row a candle, oldest first. Floats, each the nearest to the exact value: never for money."""

    symbol: str
    timeframe: str
    #: ms since the epoch
    open_time: NDArray[np.int64]
    #: quote per base
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    #: base
    volume: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.open_time)

    @property
    def interval_ms(self) -> int:
        """The length of one candle."""
        return timeframe_duration(self.timeframe) // _MILLISECOND


def time_at(ms: int) -> datetime:
    """The moment that lies so many milliseconds after the epoch."""
    return datetime.fromtimestamp(0, UTC) + int(ms) * _MILLISECOND
