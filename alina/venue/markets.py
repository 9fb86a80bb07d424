"""One listed symbol: its rules, its price and how its book lies around it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Protocol

from alina.errors import DataError
from alina.market_data.bars import Bar
from alina.venue.book import Book, Quotes
from alina.venue.candles_csv import Series
from alina.venue.filters import Rules, default_min_notional, default_tick_size
from alina.venue.orders import Side, VenueOrder
from alina.venue.replay import Replay
from alina.venue.spec import Listing


class Feed(Protocol):
    """The price of one market as far as it has come. Times are market ms."""

    interval_ms: int
    end_ms: int

    def price(self, now: int) -> Decimal: ...

    def as_of(self, now: int) -> int:
        """Of which moment the price is."""
        ...

    def is_trading(self, now: int) -> bool: ...

    def candle_end(self, now: int) -> int: ...

    def last_volume(self, now: int) -> Decimal: ...

    def first_at_or_below(self, price: Decimal, since: int, until: int) -> int | None: ...

    def first_at_or_above(self, price: Decimal, since: int, until: int) -> int | None: ...

    def bars(self, first: int, last: int, now: int, *, most: int | None = None) -> list[Bar]: ...

    def newest_bars(self, count: int, last: int, now: int) -> list[Bar]: ...


@dataclass(frozen=True, slots=True)
class ListedMarket:
    """One symbol at any market time (ms). Answers hold nothing later than the `now` they are asked for."""

    rules: Rules
    replay: Feed
    quotes: Quotes

    def book(self, now: int) -> Book:
        return self.quotes.book(
            self.replay.price(now), volume=self.replay.last_volume(now), lot_size=self.rules.lot_size
        )

    def candles(
        self, interval_ms: int, now: int, *, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Bar]:
        """Up to `limit` candles of a multiple of the data's interval, oldest first.

        From `start_ms` on, else the newest; the last may be forming.
        """
        last = ((now if end_ms is None else end_ms) // interval_ms + 1) * interval_ms - 1
        if start_ms is None:
            count = limit * interval_ms // self.replay.interval_ms
            return _merged(self.replay.newest_bars(count, last, now), interval_ms)[-limit:]
        first = -(-start_ms // interval_ms) * interval_ms
        most = limit * (interval_ms // self.replay.interval_ms)
        return _merged(self.replay.bars(first, last, now, most=most), interval_ms)[:limit]

    def reached(self, order: VenueOrder, since: int, until: int) -> int | None:
        """When in (since, until] the market first came to the order's price.

        To the stop price of a waiting order comes the last price; to a limit price the other side of
        the book.
        """
        if order.is_waiting:
            return self._first(
                order.kind.triggers_on_a_fall(order.side), order.stop_price or Decimal(0), since, until
            )
        limit = order.limit_price or Decimal(0)
        if order.side is Side.BUY:
            return self._first(True, self.quotes.price_where_ask_is(limit), since, until)
        return self._first(False, self.quotes.price_where_bid_is(limit), since, until)

    def _first(self, on_a_fall: bool, price: Decimal, since: int, until: int) -> int | None:
        first = self.replay.first_at_or_below if on_a_fall else self.replay.first_at_or_above
        return first(price, since, until)


def list_market(listing: Listing, series: Series, spread: Decimal) -> ListedMarket:
    """The market of a listing on its data. Raises DataError where a price rounds to zero."""
    base, quote = listing.symbol.split("/")
    rules = Rules(
        symbol=base + quote,
        base=base,
        quote=quote,
        tick_size=listing.tick_size or default_tick_size(series.price_decimals),
        lot_size=listing.lot_size,
        min_notional=default_min_notional(quote) if listing.min_notional is None else listing.min_notional,
    )
    return ListedMarket(rules, Replay(series, rules.tick_size), Quotes(rules.tick_size, spread))


def common_time(series: Mapping[str, Series], warmup: int) -> tuple[int, int]:
    """Where the replay begins and ends (ms), so that every market has its warmup and its data."""
    begin = max(one.bars[warmup].open_ms for one in series.values())
    end = min(one.end_ms for one in series.values())
    if begin >= end:
        names = ", ".join(one.name for one in series.values())
        raise DataError(f"{names}: the files share no time after their warmup: list markets of one period")
    return begin, end


def _merged(bars: Iterable[Bar], interval_ms: int) -> list[Bar]:
    """Candles of a coarser interval."""
    groups = (list(group) for _, group in groupby(bars, key=lambda bar: bar.open_ms // interval_ms))
    return [
        group[0]
        if len(group) == 1 and group[0].open_ms % interval_ms == 0
        else Bar(
            group[0].open_ms // interval_ms * interval_ms,
            group[0].open,
            max(bar.high for bar in group),
            min(bar.low for bar in group),
            group[-1].close,
            sum((bar.volume for bar in group), Decimal(0)),
        )
        for group in groups
    ]
