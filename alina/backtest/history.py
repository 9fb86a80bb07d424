"""Recorded candles as the cycle asks for them: the candle store's reading side, without a database."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from datetime import datetime
from typing import overload

from sqlalchemy.orm import Session

from alina.backtest.equity import Series, Times
from alina.domain.market import Candle, CandleWindow, timeframe_duration
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.errors import DataError
from alina.exchange.candle_store import CandleStore
from alina.market_data.bars import BarColumns
from alina.market_data.decimals import DecimalColumn
from alina.tools.indicators import Bars
from alina.venue.candles_csv import INTERVALS
from alina.venue.candles_csv import Series as Recorded


class Window(CandleWindow):
    """The candles [start, end) of one symbol."""

    def __init__(self, symbol: str, timeframe: str, bars: BarColumns, start: int, end: int) -> None:
        self._symbol, self._timeframe = symbol, timeframe
        self._bars, self._start, self._end = bars, start, end

    @property
    def close_time(self) -> datetime:
        return utc_from_ms(self._bars.open_ms.data[self._end - 1]) + timeframe_duration(self._timeframe)

    def floats(self, figure: str) -> Series:
        """Shape (candles,)."""
        whole: DecimalColumn = getattr(self._bars, figure)
        return whole.floats[self._start : self._end]

    def __len__(self) -> int:
        return self._end - self._start

    @overload
    def __getitem__(self, index: int) -> Candle: ...
    @overload
    def __getitem__(self, index: slice) -> list[Candle]: ...
    def __getitem__(self, index: int | slice) -> Candle | list[Candle]:
        within = range(self._start, self._end)[index]
        return self._candle(within) if isinstance(within, int) else [self._candle(one) for one in within]

    def _candle(self, index: int) -> Candle:
        bar = self._bars[index]
        return Candle(
            symbol=self._symbol,
            timeframe=self._timeframe,
            open_time=utc_from_ms(bar.open_ms),
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
        )


class History(CandleStore):
    """The candles of several symbols of one timeframe. Like every store it tells nothing after `until`."""

    def __init__(self, series: Mapping[str, Recorded]) -> None:
        """`series` by symbol. Raises DataError where their candles differ in length."""
        lengths = {one.interval_ms for one in series.values()}
        if len(lengths) != 1:
            raise DataError("the files hold candles of several lengths: give those of one timeframe")
        (self.interval_ms,) = lengths
        self.timeframe = next(name for name, length in INTERVALS.items() if length == self.interval_ms)
        self._series = dict(series)
        self._opens = {symbol: one.bars.open_ms.data for symbol, one in series.items()}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(self._series)

    def closes_at(self, symbol: str) -> Times:
        """When its candles close, ms, shape (bars,)."""
        return self._series[symbol].bars.open_ms + self.interval_ms

    def bars(self, symbol: str) -> Bars:
        """Its candles as arrays."""
        bars = self._series[symbol].bars
        return Bars(bars.high.floats, bars.low.floats, bars.close.floats, bars.volume.floats)

    def series(self, symbol: str) -> Recorded:
        """Its candles as they were read."""
        return self._series[symbol]

    def next_open(self, symbol: str, after: int) -> int | None:
        """When its first candle after this time opens, ms; None: there is none."""
        opens = self._opens[symbol]
        index = bisect_right(opens, after)
        return opens[index] if index < len(opens) else None

    def latest(self, symbol: str, timeframe: str) -> Candle | None:
        return self._window(symbol, 0, len(self._opens[symbol]))[-1]

    def history(self, symbol: str, timeframe: str, *, until: datetime, limit: int) -> Window:
        end = self._closed_by(symbol, until)
        return self._window(symbol, max(end - limit, 0), end)

    def after(
        self, symbol: str, timeframe: str, *, since: datetime, until: datetime, limit: int
    ) -> list[Candle]:
        start, end = bisect_left(self._opens[symbol], ms_from_utc(since)), self._closed_by(symbol, until)
        return self._window(symbol, start, max(min(end, start + limit), start))[:]

    def _closed_by(self, symbol: str, until: datetime) -> int:
        return bisect_right(self._opens[symbol], ms_from_utc(until) - self.interval_ms)

    def _window(self, symbol: str, start: int, end: int) -> Window:
        return Window(symbol, self.timeframe, self._series[symbol].bars, start, end)

    @property
    def _session(self) -> Session:  # type: ignore[override]  # what is not overridden ends here
        raise DataError("the history of a backtest is only read")
