"""The price of a recorded market at any moment, and nothing of what comes after it.

Inside a candle the price runs in straight lines: open, low, high, close, a third of the interval each. In
a gap and after the end it stays at the last close and nobody trades. All times are market time in ms.

The real path is not recorded, so this one is the worst for who holds what a spot account can hold, base:
where a stop below and a target above lie in one candle, the stop comes first. It cannot be the worst for
every order at once: a purchase that rests below the market comes before a sale above it in the same candle.
Whoever decides only when a candle has closed, as a backtest does, never has those two in one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from alina.errors import DataError
from alina.market_data.bars import Bar, BarColumns
from alina.venue.candles_csv import Series

#: far more than a float can be off, and far less than a tick
_FLOAT_ERROR = 1e-12
#: candles that are looked at together
_BLOCK = 1024
#: candles kept as records at once: a day of minutes, and some
_KEPT = 2048


class Leg(NamedTuple):
    """One straight line of the path."""

    start_ms: int
    start: Decimal
    end_ms: int
    end: Decimal

    def at(self, ms: int) -> Decimal:
        """The price on this line, not yet on the tick grid."""
        return self.start + (self.end - self.start) * (ms - self.start_ms) / (self.end_ms - self.start_ms)


class Replay:
    """One market's path on the grid of `tick_size`."""

    def __init__(self, series: Series, tick_size: Decimal) -> None:
        self.interval_ms = series.interval_ms
        self.end_ms = series.end_ms
        self._tick_size = tick_size
        is_on_grid = not Decimal(1).scaleb(-series.price_decimals) % tick_size
        bars = series.bars if is_on_grid else BarColumns.of(map(self._on_grid, series.bars))
        self._bar = lru_cache(_KEPT)(bars.__getitem__)
        #: what the path runs through, in this order
        self._corners = (bars.open, bars.low, bars.high, bars.close)
        self._volumes = bars.volume
        self._opens = bars.open_ms.data  # of a view of memory an item is an int, and quick to get
        self._lows, self._highs = bars.low.floats, bars.high.floats
        #: the price that was asked for last, and of which moment: of one moment it is asked again and again
        self._newest = -1, Decimal(0)
        if not self._lows.min() > 0:
            raise DataError(
                f"{series.name}: a price rounds to zero with tick size {tick_size}: give a finer one"
            )

    def price(self, now: int) -> Decimal:
        """The last price, on the tick grid."""
        moment, price = self._newest
        if moment != now:
            price = self._price(now)
            self._newest = now, price
        return price

    def _price(self, now: int) -> Decimal:
        index = self._index(now)
        passed = now - self._opens[index]
        if passed >= self.interval_ms:
            return self._corners[-1][index]
        third = 3 * passed // self.interval_ms
        start_ms, end_ms = self.interval_ms * third // 3, self.interval_ms * (third + 1) // 3
        leg = Leg(start_ms, self._corners[third][index], end_ms, self._corners[third + 1][index])
        return self._round(leg.at(passed))

    def as_of(self, now: int) -> int:
        """The price is always that of now."""
        return now

    def is_trading(self, now: int) -> bool:
        """A candle runs now: neither an outage of the data nor its end."""
        return self._opens[0] <= now < self.candle_end(now)

    def candle_end(self, now: int) -> int:
        """When the newest candle that has opened closes, or closed."""
        return self._opens[self._index(now)] + self.interval_ms

    def last_volume(self, now: int) -> Decimal:
        """The volume (base) of the newest candle that is closed."""
        index = self._index(now)
        closed = now >= self._opens[index] + self.interval_ms
        return self._volumes[index if closed else max(index - 1, 0)]

    def first_at_or_below(self, price: Decimal, since: int, until: int) -> int | None:
        """The first moment in (since, until] at which the price is not above `price`."""
        return self._first(price, since, until, sign=1)

    def first_at_or_above(self, price: Decimal, since: int, until: int) -> int | None:
        """The first moment in (since, until] at which the price is not below `price`."""
        return self._first(price, since, until, sign=-1)

    def bars(self, first: int, last: int, now: int, *, most: int | None = None) -> list[Bar]:
        """The candles that open in [first, last], oldest first; a forming one only as far as it has come.

        No more than the first `most` of them.
        """
        start = bisect_left(self._opens, first)
        end = bisect_right(self._opens, min(last, now))
        known = [self._bar(index) for index in range(start, end if most is None else min(end, start + most))]
        if known and now < known[-1].open_ms + self.interval_ms:
            known[-1] = self._forming(known[-1], now)
        return known

    def newest_bars(self, count: int, last: int, now: int) -> list[Bar]:
        """The newest `count` candles that open until `last`, as `bars` gives them."""
        after = bisect_right(self._opens, min(last, now))
        return self.bars(self._opens[max(after - count, 0)], last, now)

    def _forming(self, bar: Bar, now: int) -> Bar:
        last = self.price(now)
        seen = [leg.start for leg in self._legs(bar) if leg.start_ms <= now] + [last]
        volume = (bar.volume * (now - bar.open_ms) / self.interval_ms).quantize(Decimal("1e-8"))
        return Bar(bar.open_ms, bar.open, max(seen), min(seen), last, volume)

    def _legs(self, bar: Bar) -> tuple[Leg, Leg, Leg]:
        times = [bar.open_ms + self.interval_ms * third // 3 for third in range(4)]
        return (
            Leg(times[0], bar.open, times[1], bar.low),
            Leg(times[1], bar.low, times[2], bar.high),
            Leg(times[2], bar.high, times[3], bar.close),
        )

    def _first(self, price: Decimal, since: int, until: int, *, sign: int) -> int | None:
        """`sign` 1: falling to `price`; -1: rising to it (the same, mirrored)."""
        for leg, first, last in self._walked(price, since, until, sign):

            def is_reached(ms: int, leg: Leg = leg) -> bool:
                return sign * self._round(leg.at(ms)) <= sign * price

            if is_reached(first):
                return first
            if is_reached(last):
                moments = range(first, last + 1)
                return moments[bisect_left(moments, True, key=is_reached)]
        return None

    def _walked(self, price: Decimal, since: int, until: int, sign: int) -> Iterator[tuple[Leg, int, int]]:
        """The lines of the path in (since, until] of the candles that come to `price`, in order.

        Each with the first and the last moment on it.
        """
        for index in self._coming_to(price, self._index(since), self._index(until) + 1, sign):
            for leg in self._legs(self._bar(index)):
                first, last = max(leg.start_ms, since + 1), min(leg.end_ms, until)
                if first <= last:
                    yield leg, first, last

    def _coming_to(self, price: Decimal, start: int, end: int, sign: int) -> Iterator[int]:
        """The candles of [start, end) whose range comes to `price`; a hair more, as floats are not exact."""
        extremes, bound = (self._lows, self._highs)[sign < 0], float(price) * (1 + sign * _FLOAT_ERROR)
        for first in range(start, end, _BLOCK):
            some = extremes[first : min(first + _BLOCK, end)]
            for offset in np.flatnonzero(some <= bound if sign > 0 else some >= bound):
                yield first + int(offset)

    def _index(self, now: int) -> int:
        """The newest candle that has opened."""
        return max(bisect_right(self._opens, now) - 1, 0)

    def _round(self, price: Decimal) -> Decimal:
        return (price / self._tick_size).to_integral_value() * self._tick_size

    def _on_grid(self, bar: Bar) -> Bar:
        return bar._replace(
            open=self._round(bar.open),
            high=self._round(bar.high),
            low=self._round(bar.low),
            close=self._round(bar.close),
        )
