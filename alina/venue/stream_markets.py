"""The market streams of one connection: what it watches, and what of that is due.

A stream tells what changed since it told last, so that a market that stands still says nothing twice.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

from alina.venue import market_routes
from alina.venue import stream_events as events
from alina.venue.candles_csv import INTERVALS
from alina.venue.local_exchange import LocalExchange
from alina.venue.markets import ListedMarket
from alina.venue.orders import VenueFill
from alina.venue.params import Params
from alina.venue.refusal import Refusal
from alina.venue.stream_events import Event
from alina.venue.wire import number

#: what a stream says at market time `now`, when these trades were made since
Stream = Callable[[int, Iterable[VenueFill]], Iterable[Event]]
#: prices of one market that are remembered, far more than are shown between two events of a stream
_MOST_SHOWN = 100_000
_NAME = re.compile(r"([a-z0-9]+)@(\w+?)(?:_(\w+))?(?:@(100|1000)ms)?", re.ASCII)


class ShownBooks:
    """The prices that GET depth showed lately: a level that a snapshot holds must be told when it is gone."""

    def __init__(self) -> None:
        self._prices: dict[str, dict[Decimal, int]] = {}

    def depth(self, exchange: LocalExchange, params: Params, now: int) -> object:
        """GET depth, remembered."""
        answer = market_routes.depth(exchange, params, now)
        shown = self._prices.setdefault(params.text("symbol"), {})
        if len(shown) > _MOST_SHOWN:
            shown.clear()
        shown.update({Decimal(price): now for side in ("bids", "asks") for price, _ in answer[side]})
        return answer

    def take(self, symbol: str, since: int) -> set[Decimal]:
        """What was shown at market time `since` or later."""
        shown = self._prices.get(symbol, {})
        return {price for price, when in shown.items() if when >= since}


class Subscriptions:
    """The streams of one connection, by their names."""

    def __init__(self, exchange: LocalExchange, shown: ShownBooks) -> None:
        self._exchange = exchange
        self._shown = shown
        self._streams: dict[str, Stream] = {}

    def names(self) -> list[str]:
        return list(self._streams)

    def add(self, name: str, now: int) -> None:
        """Raises Refusal for a stream that there is not."""
        self._streams.setdefault(name, self._stream(name, now))

    def remove(self, name: str) -> None:
        self._streams.pop(name, None)

    def due(self, now: int, fills: Iterable[VenueFill]) -> Iterator[Event]:
        """What the streams have to say now."""
        for stream in list(self._streams.values()):
            yield from stream(now, fills)

    def _stream(self, name: str, now: int) -> Stream:
        found = _NAME.fullmatch(name)
        market = self._exchange.markets.get(found[1].upper()) if found else None
        if found is None or market is None:
            raise Refusal(2, "Invalid request: invalid stream")
        symbol = market.rules.symbol
        match found[2], found[3]:
            case "ticker", None:
                return _unless_repeated(lambda now: events.ticker(self._day(symbol, now), now))
            case "miniTicker", None:
                return _unless_repeated(lambda now: events.mini_ticker(self._day(symbol, now), now))
            case "bookTicker", None:
                return _unless_repeated(lambda now: _best(market, now))
            case "kline", interval if interval in INTERVALS:
                return _klines(market, interval)
            case "depth", None:
                return _depth(market, self._shown, now)
            case "trade", None:
                return _trades(symbol, events.trade)
            case "aggTrade", None:
                return _trades(symbol, events.aggregate_trade)
        raise Refusal(2, "Invalid request: invalid stream")

    def _day(self, symbol: str, now: int) -> Event:
        day: Event = market_routes.ticker_24hr(self._exchange, Params({"symbol": symbol}), now)
        return day


def _unless_repeated(tell: Callable[[int], Event]) -> Stream:
    last: Event | None = None

    def stream(now: int, _fills: Iterable[VenueFill]) -> Iterable[Event]:
        nonlocal last
        event = tell(now)
        if event == last:
            return ()
        last = event
        return (event,)

    return stream


def _trades(symbol: str, tell: Callable[[VenueFill, int], Event]) -> Stream:
    return lambda now, fills: [tell(fill, now) for fill in fills if fill.symbol == symbol]


def _best(market: ListedMarket, now: int) -> Event:
    book = market.book(now)
    return events.book_ticker(market.rules.symbol, book.bids[0], book.asks[0], now)


def _klines(market: ListedMarket, interval: str) -> Stream:
    """Every candle once more when it is closed, and the forming one as it moves."""
    length, symbol = INTERVALS[interval], market.rules.symbol
    if length % market.replay.interval_ms:
        raise Refusal(2, "Invalid request: invalid stream")
    since: int | None = None
    last: list[Event] = []

    def stream(now: int, _fills: Iterable[VenueFill]) -> Iterable[Event]:
        nonlocal since, last
        bars = market.candles(length, now, start_ms=since, end_ms=None, limit=1 if since is None else 1000)
        if bars:
            since = bars[-1].open_ms
        told = [events.kline(symbol, interval, length, bar, now) for bar in bars]
        fresh = [event for event in told if event not in last]
        last = told
        return fresh

    return stream


def _depth(market: ListedMarket, shown: ShownBooks, last: int) -> Stream:
    """All levels of the book as they are, and those that are gone of all that anybody may still hold.

    `last` is when it was subscribed: who then asks for a snapshot finds it among the first event's updates.
    """
    told: tuple[set[Decimal], set[Decimal]] = (set(), set())

    def stream(now: int, _fills: Iterable[VenueFill]) -> Iterable[Event]:
        nonlocal last, told
        if now == last:
            return ()
        book = market.book(now)
        sides = [{level.price: level.quantity for level in side} for side in (book.bids, book.asks)]
        seen = shown.take(market.rules.symbol, last)
        gone = [(before | seen) - side.keys() for before, side in zip(told, sides, strict=True)]
        bids, asks = (
            [[number(price), number(side.get(price, Decimal(0)))] for price in (*side, *away)]
            for side, away in zip(sides, gone, strict=True)
        )
        first, last, told = last + 1, now, (set(sides[0]), set(sides[1]))
        return (events.depth(market.rules.symbol, first, now, bids, asks),)

    return stream
