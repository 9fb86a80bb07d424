"""Brings the stored candles of one symbol up to date with the exchange."""

from collections.abc import Iterator
from datetime import datetime

from alina.domain.market import Candle, timeframe_duration
from alina.domain.ports import Exchange
from alina.exchange.candle_store import CandleStore

_PAGE = 500


def sync(
    exchange: Exchange, store: CandleStore, symbol: str, timeframe: str, *, now: datetime, history: int
) -> list[Candle]:
    """Store what has closed since the last stored candle and return it, oldest first.

    An empty store begins `history` candles before `now` (market time). The last stored candle is asked for
    again: exchanges correct what has just closed. A hole in what is new is asked for once more; one that
    remains is the exchange's own. Safe to repeat. Raises ExchangeError.
    """
    latest = store.latest(symbol, timeframe)
    start = latest.open_time if latest else now - history * timeframe_duration(timeframe)
    closed = _fetch_closed(exchange, symbol, timeframe, since=start, now=now)
    store.save(closed)
    fresh = [candle for candle in closed if latest is None or candle.open_time > latest.open_time]
    refilled = _refill(exchange, store, fresh, since=start)
    return sorted(fresh + refilled, key=lambda candle: candle.open_time)


def _refill(exchange: Exchange, store: CandleStore, fresh: list[Candle], *, since: datetime) -> list[Candle]:
    if not fresh:
        return []
    newest = fresh[-1]
    found = [
        candle
        for start, end in store.gaps(newest.symbol, newest.timeframe, since=since, until=newest.open_time)
        for candle in _fetch_closed(exchange, newest.symbol, newest.timeframe, since=start, now=end)
    ]
    store.save(found)
    return found


def _fetch_closed(
    exchange: Exchange, symbol: str, timeframe: str, *, since: datetime, now: datetime
) -> list[Candle]:
    pages = _pages(exchange, symbol, timeframe, since=since, now=now)
    return [candle for page in pages for candle in page if candle.close_time <= now]


def _pages(
    exchange: Exchange, symbol: str, timeframe: str, *, since: datetime, now: datetime
) -> Iterator[list[Candle]]:
    """Pages until one is empty or reaches `now`. A short page proves nothing: exchanges cap the limit."""
    while page := exchange.candles(symbol, timeframe, since=since, limit=_PAGE):
        yield page
        since = page[-1].close_time
        if since >= now:
            return
