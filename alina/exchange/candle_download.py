"""Fills the store with the candles of a time past: what lacks is asked for, page by page."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta

from alina.domain.market import Candle, timeframe_duration
from alina.domain.ports import Exchange
from alina.errors import ExchangeUnavailable
from alina.exchange.candle_store import CandleStore

_PAGE = 500
_ATTEMPTS = 4

Hole = tuple[datetime, datetime]


class Download:
    """The candles of one market that close in [since, until], and how far they are stored.

    Each page is a transaction of its own: what was interrupted goes on where it ended, since only what
    lacks is asked for. `store` opens a transaction. Holes that the exchange has itself stay holes.
    """

    def __init__(
        self,
        exchange: Exchange,
        store: Callable[[], AbstractContextManager[CandleStore]],
        symbol: str,
        timeframe: str,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._exchange = exchange
        self._store = store
        self._symbol, self._timeframe = symbol, timeframe
        self._length = timeframe_duration(timeframe)
        self._pause = pause

    def holes(self, since: datetime, until: datetime) -> list[Hole]:
        """What lacks in [since, until), oldest first.

        What lacks at the end begins with the last candle stored: the exchange may have corrected it.
        """
        market = self._symbol, self._timeframe
        with self._store() as store:
            first = store.after(*market, since=since, until=until, limit=1)
            last = store.history(*market, until=until, limit=1)
            if not first or not last:
                holes = [(since, until)]
            else:
                end = last[0].open_time if until - last[0].close_time >= self._length else until
                between = store.gaps(*market, since=first[0].open_time, until=last[0].open_time)
                holes = [(since, first[0].open_time), *between, (end, until)]
        return [(start, end) for start, end in holes if end - start >= self._length]

    def fill(self, hole: Hole, advanced: Callable[[timedelta], None]) -> int:
        """Ask for one hole and store what comes; `advanced` hears of every step in market time.

        Returns how many candles are new or differ. Raises ExchangeError after a few attempts.
        """
        (since, until), changed = hole, 0
        while since + self._length <= until:
            page = self._page(since)
            closed = [candle for candle in page if candle.close_time <= until]
            if closed:
                with self._store() as store:
                    changed += store.save(closed)
            # an exchange that answers for a window only may know of later candles
            reached = min(until, page[-1].close_time if page else since + _PAGE * self._length)
            advanced(reached - since)
            since = reached
        return changed

    def _page(self, since: datetime) -> list[Candle]:
        for attempt in range(1, _ATTEMPTS):
            try:
                return self._exchange.candles(self._symbol, self._timeframe, since=since, limit=_PAGE)
            except ExchangeUnavailable as error:
                wait = error.retry_after or timedelta(seconds=2**attempt)
                self._pause(wait.total_seconds())
        return self._exchange.candles(self._symbol, self._timeframe, since=since, limit=_PAGE)
