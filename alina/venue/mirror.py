"""The market of a real exchange, looked at again and again: paper trading against live prices.

Only public data is asked for, through ccxt. Orders take from the book that was seen last, and rest until a
later look shows that the market came to them; between two looks nothing is known, so nothing is filled. When
the looks fail, the market is closed until one succeeds.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

from alina.domain.market import BookLevel
from alina.errors import ConfigError, SystemStateError
from alina.market_data.bars import Bar
from alina.venue.book import Book, Quotes
from alina.venue.candles_csv import INTERVALS
from alina.venue.filters import Rules, default_min_notional
from alina.venue.market_time import wall_ms
from alina.venue.markets import ListedMarket
from alina.venue.orders import Side, VenueOrder
from alina.venue.spec import MIRROR, Listing, VenueSpec

#: 31 December 9999: a mirror does not end
END_MS = 253_402_214_400_000
POLL_SECONDS = 1.0
#: nobody trades at a price that is older
STALE_MS = 30_000
_DEPTH = 20
_CANDLES = 1000
#: looks that are remembered; orders are matched every second
_LOOKS = 3600


class Look(NamedTuple):
    """What one look showed; `ms` is when it was over."""

    ms: int
    last: Decimal
    book: Book


class MirrorFeed:
    """One market as it was seen; see `markets.Feed`. `interval_ms`: that of its candles."""

    def __init__(self, interval_ms: int, candles: Iterable[Bar]) -> None:
        self.interval_ms = interval_ms
        self.end_ms = END_MS
        self._by_open = {bar.open_ms: bar for bar in candles}
        self._looks: deque[Look] = deque(maxlen=_LOOKS)

    def tell(self, look: Look, candles: Iterable[Bar]) -> None:
        """One more look, and the newest candles, of which the last is still forming."""
        self._looks.append(look)
        self._by_open |= {bar.open_ms: bar for bar in candles}

    @property
    def newest(self) -> Look:
        return self._looks[-1]

    def price(self, _now: int) -> Decimal:
        return self.newest.last

    def as_of(self, now: int) -> int:
        """Prices are as old as the newest look, so that nobody takes an old one for new."""
        return min(self.newest.ms, now)

    def is_trading(self, now: int) -> bool:
        return now - self.newest.ms <= STALE_MS

    def candle_end(self, now: int) -> int:
        return (now // self.interval_ms + 1) * self.interval_ms

    def last_volume(self, now: int) -> Decimal:
        known = [bar for bar in self._by_open.values() if bar.open_ms + self.interval_ms <= now]
        return max(known, key=lambda bar: bar.open_ms).volume if known else Decimal(0)

    def first_at_or_below(self, price: Decimal, since: int, until: int) -> int | None:
        return self.first(lambda look: look.last <= price, since, until)

    def first_at_or_above(self, price: Decimal, since: int, until: int) -> int | None:
        return self.first(lambda look: look.last >= price, since, until)

    def first(self, shows: Callable[[Look], bool], since: int, until: int) -> int | None:
        """The first look in (since, until] that shows it."""
        return next((one.ms for one in self._looks if since < one.ms <= until and shows(one)), None)

    def bars(self, first: int, last: int, now: int, *, most: int | None = None) -> list[Bar]:
        known = sorted(ms for ms in self._by_open if first <= ms <= min(last, now))
        return [self._by_open[ms] for ms in known[:most]]

    def newest_bars(self, count: int, last: int, now: int) -> list[Bar]:
        return self.bars(0, last, now)[-count:]


@dataclass(frozen=True, slots=True)
class MirroredMarket(ListedMarket):
    """One symbol of the real exchange, with the real one's rules and book."""

    replay: MirrorFeed

    def book(self, _now: int) -> Book:
        return self.replay.newest.book

    def reached(self, order: VenueOrder, since: int, until: int) -> int | None:
        """The first look in (since, until] that showed the market at the order's price."""
        limit = order.limit_price or Decimal(0)
        if order.is_waiting:
            price, falls = order.stop_price or Decimal(0), order.kind.triggers_on_a_fall(order.side)
            first = self.replay.first_at_or_below if falls else self.replay.first_at_or_above
            return first(price, since, until)
        if order.side is Side.BUY:
            return self.replay.first(lambda look: _has_ask(look.book, limit), since, until)
        return self.replay.first(lambda look: _has_bid(look.book, limit), since, until)


def _has_ask(book: Book, limit: Decimal) -> bool:
    return bool(book.asks) and book.asks[0].price <= limit


def _has_bid(book: Book, limit: Decimal) -> bool:
    return bool(book.bids) and book.bids[0].price >= limit


class Mirror:
    """The real exchange behind the markets of a venue.

    Raises ConfigError for an exchange or a symbol that ccxt does not know, SystemStateError where the
    exchange does not answer at the start.
    """

    def __init__(self, spec: VenueSpec) -> None:
        import ccxt  # a venue that replays needs none of it

        exchange_id, self._timeframe = _source(spec)
        if exchange_id not in ccxt.exchanges:
            raise ConfigError(f"mirror:{exchange_id}: ccxt knows no such exchange; see `alina exchanges`")
        self._error: type[Exception] = ccxt.BaseError
        self._places = ccxt.DECIMAL_PLACES
        options = {"number": str, "enableRateLimit": True, "timeout": 5000, **spec.mirror_options}
        self._api: Any = getattr(ccxt, exchange_id)(options)
        try:
            self._api.load_markets()
            self.markets = {one.symbol: self._market(one) for one in spec.listings}
        except ccxt.BaseError as error:
            raise SystemStateError(
                f"{exchange_id} does not show its markets ({type(error).__name__}): see that this machine "
                "reaches it, or replay recorded candles"
            ) from error

    async def follow(self) -> None:
        """Look every second, for ever. A look that fails is said once, and the next may succeed."""
        failed = False
        while True:
            try:
                for symbol, market in self.markets.items():
                    market.replay.tell(*await asyncio.to_thread(self._look, symbol, market.rules))
                failed = False
            except (self._error, ValueError, ArithmeticError, LookupError) as error:
                if not failed:
                    sys.stderr.write(f"the mirrored exchange cannot be seen: {type(error).__name__}\n")
                failed = True
            await asyncio.sleep(POLL_SECONDS)

    def close(self) -> None:
        """Give the connections back."""
        self._api.close()

    def _market(self, listing: Listing) -> MirroredMarket:
        if listing.symbol not in self._api.markets:
            raise ConfigError(f"{self._api.id} lists no {listing.symbol}: correct the symbol")
        raw = self._api.markets[listing.symbol]
        rules = Rules(
            symbol=raw["base"] + raw["quote"],
            base=raw["base"],
            quote=raw["quote"],
            tick_size=self._step(raw["precision"]["price"]),
            lot_size=self._step(raw["precision"]["amount"]),
            min_notional=Decimal(str(raw["limits"]["cost"]["min"] or default_min_notional(raw["quote"]))),
        )
        feed = MirrorFeed(INTERVALS[self._timeframe], self._candles(listing.symbol, _CANDLES))
        look, candles = self._look(listing.symbol, rules)
        feed.tell(look, candles)
        return MirroredMarket(rules, feed, Quotes(rules.tick_size, Decimal(0)))

    def _step(self, precision: object) -> Decimal:
        step = Decimal(str(precision))
        return Decimal(1).scaleb(-int(step)) if self._api.precisionMode == self._places else step

    def _look(self, symbol: str, rules: Rules) -> tuple[Look, list[Bar]]:
        raw = self._api.fetch_order_book(symbol, _DEPTH)
        last = Decimal(str(self._api.fetch_ticker(symbol)["last"]))
        candles = self._candles(symbol, 3)
        bids = sorted(_levels(raw["bids"], rules), key=lambda level: -level.price)
        asks = sorted(_levels(raw["asks"], rules), key=lambda level: level.price)
        return Look(wall_ms(), last, Book(tuple(bids), tuple(asks))), candles

    def _candles(self, symbol: str, count: int) -> list[Bar]:
        rows = self._api.fetch_ohlcv(symbol, self._timeframe, limit=count)
        return [Bar(int(row[0]), *_figures(row[1:6])) for row in rows]


def _source(spec: VenueSpec) -> tuple[str, str]:
    """The one exchange and timeframe of all listings."""
    sources = {listing.data for listing in spec.listings}
    exchange_id, _, timeframe = next(iter(sources)).removeprefix(MIRROR).partition(":")
    if len(sources) > 1 or spec.speed != 1 or (timeframe or "1m") not in INTERVALS:
        raise ConfigError(
            f"{', '.join(sorted(sources))}: a mirror shows one exchange in one timeframe and at speed 1; "
            "write e.g. BTC/USDT=mirror:kraken:1h"
        )
    return exchange_id, timeframe or "1m"


def _figures(row: Iterable[object]) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal]:
    opened, high, low, close, volume = (Decimal(str(value)) for value in row)
    return opened, high, low, close, volume


def _levels(rows: Iterable[Any], rules: Rules) -> Iterable[BookLevel]:
    """In whole lots, so that what is taken is what may be ordered."""
    for row in rows:
        lots = (Decimal(str(row[1])) / rules.lot_size).to_integral_value(ROUND_FLOOR)
        if lots:
            yield BookLevel(Decimal(str(row[0])), lots * rules.lot_size)


def is_mirror(spec: VenueSpec) -> bool:
    """Whether its markets are a real exchange's."""
    return any(listing.data.startswith(MIRROR) for listing in spec.listings)


def by_exchange_symbol(mirror: Mirror) -> Mapping[str, ListedMarket]:
    return {market.rules.symbol: market for market in mirror.markets.values()}
