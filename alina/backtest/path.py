"""The price of a market at many moments at once: what `venue.replay` says of each, in float64."""

from bisect import bisect_right
from decimal import Decimal

import numpy as np

from alina.backtest.equity import Series, Times
from alina.venue.candles_csv import Series as Candles

#: values that are compared sooner one by one
_FEW = 64
#: candles whose extremes are looked for at once
_AROUND = 16


class Path:
    """Open, low, high, close inside a candle; its close in a gap and after the end. Times are market ms."""

    def __init__(self, candles: Candles, tick_size: Decimal) -> None:
        bars = candles.bars
        self._interval_ms = candles.interval_ms
        self._tick_size = float(tick_size)
        self._opens, self._times = bars.open_ms, bars.open_ms.data
        self._low, self._high = bars.low.floats, bars.high.floats
        self._around = 0, -1, (0.0, 0.0)
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

    def rough_bounds(self, since: int, until: int) -> tuple[float, float]:
        """Between which prices it stays in [since, until], or a little longer: quick to be asked again."""
        start, end, bounds = self._around
        if not start <= since <= until <= end:
            end = max(until, since + _AROUND * self._interval_ms)
            bounds = self.bounds(since, end)
            self._around = since, end, bounds
        return bounds

    def bounds(self, since: int, until: int) -> tuple[float, float]:
        """Between which prices it stays in [since, until]."""
        first = max(bisect_right(self._times, since) - 1, 0)
        last = max(bisect_right(self._times, until, first) - 1, 0)
        lows, highs = self._low[first : last + 1], self._high[first : last + 1]
        if len(lows) < _FEW:
            return min(lows.tolist()), max(highs.tolist())
        return float(lows.min()), float(highs.max())
