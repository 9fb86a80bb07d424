"""Recorded candles as the cycle asks for them: the candle store's reading side, without a database."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

import numpy as np
from sqlalchemy.orm import Session

from alina.backtest.equity import Times
from alina.domain.market import Candle
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.errors import DataError
from alina.exchange.candle_store import CandleStore
from alina.tools.indicators import Bars
from alina.venue.candles_csv import INTERVALS, Series

#: candles kept as records at once; the windows of neighbouring runs overlap
_KEPT = 20_000


class History(CandleStore):
    """The candles of several symbols of one timeframe. Like every store it tells nothing after `until`."""

    def __init__(self, series: Mapping[str, Series]) -> None:
        """`series` by symbol. Raises DataError where their candles differ in length."""
        lengths = {one.interval_ms for one in series.values()}
        if len(lengths) != 1:
            raise DataError("the files hold candles of several lengths: give those of one timeframe")
        (self.interval_ms,) = lengths
        self.timeframe = next(name for name, length in INTERVALS.items() if length == self.interval_ms)
        self._series = dict(series)
        self._opens = {symbol: [bar.open_ms for bar in one.bars] for symbol, one in series.items()}
        self._bars = {symbol: _arrays(one) for symbol, one in series.items()}
        self._candle = lru_cache(_KEPT)(self._made)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._series)

    def closes_at(self, symbol: str) -> Times:
        """When its candles close, ms, shape (bars,)."""
        return np.array(self._opens[symbol], dtype=np.int64) + self.interval_ms

    def bars(self, symbol: str) -> Bars:
        """Its candles as arrays."""
        return self._bars[symbol]

    def next_open(self, symbol: str, after: int) -> int | None:
        """When its first candle after this time opens, ms; None: there is none."""
        opens = self._opens[symbol]
        index = bisect_right(opens, after)
        return opens[index] if index < len(opens) else None

    def latest(self, symbol: str, timeframe: str) -> Candle | None:
        return self._candle(symbol, len(self._opens[symbol]) - 1)

    def history(self, symbol: str, timeframe: str, *, until: datetime, limit: int) -> list[Candle]:
        end = self._closed_by(symbol, until)
        return [self._candle(symbol, index) for index in range(max(end - limit, 0), end)]

    def after(
        self, symbol: str, timeframe: str, *, since: datetime, until: datetime, limit: int
    ) -> list[Candle]:
        start, end = bisect_left(self._opens[symbol], ms_from_utc(since)), self._closed_by(symbol, until)
        return [self._candle(symbol, index) for index in range(start, min(end, start + limit))]

    def _closed_by(self, symbol: str, until: datetime) -> int:
        return bisect_right(self._opens[symbol], ms_from_utc(until) - self.interval_ms)

    def _made(self, symbol: str, index: int) -> Candle:
        bar = self._series[symbol].bars[index]
        return Candle(
            symbol=symbol,
            timeframe=self.timeframe,
            open_time=utc_from_ms(bar.open_ms),
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
        )

    @property
    def _session(self) -> Session:  # type: ignore[override]  # what is not overridden ends here
        raise DataError("the history of a backtest is only read")


def _arrays(series: Series) -> Bars:
    """High, low, close and volume."""
    figures = [np.array([float(bar[column]) for bar in series.bars]) for column in range(2, 6)]
    return Bars(*figures)
