"""The price of a market at many moments at once: what `venue.replay` says of each, in float64."""

from decimal import Decimal

import numpy as np

from alina.backtest.equity import Series, Times
from alina.venue.candles_csv import Series as Candles


class Path:
    """Open, low, high, close inside a candle; its close in a gap and after the end. Times are market ms."""

    def __init__(self, candles: Candles, tick_size: Decimal) -> None:
        bars = candles.bars
        self._interval_ms = candles.interval_ms
        self._tick_size = float(tick_size)
        self._opens = bars.open_ms
        self._low, self._high = bars.low.floats, bars.high.floats
        self._corners = (bars.open.floats, self._low, self._high, bars.close.floats, bars.close.floats)

    def prices(self, moments: Times) -> Series:
        """The last price at each, shape of `moments`."""
        index = np.maximum(np.searchsorted(self._opens, moments, side="right") - 1, 0)
        passed = moments - self._opens[index]
        third = np.minimum(3 * passed // self._interval_ms, 3)
        start, end = (self._interval_ms * part // 3 for part in (third, third + 1))
        first, last = (np.choose(part, [one[index] for one in self._corners]) for part in (third, third + 1))
        price: Series = first + (last - first) * (passed - start) / (end - start)
        return np.round(price / self._tick_size) * self._tick_size

    def bounds(self, since: int, until: int) -> tuple[float, float]:
        """Between which prices it stays in [since, until]."""
        places = np.searchsorted(self._opens, (since, until), side="right") - 1
        first, last = np.maximum(places, 0).tolist()
        return float(self._low[first : last + 1].min()), float(self._high[first : last + 1].max())
