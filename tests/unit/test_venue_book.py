"""The book around a price is deterministic and never crossed."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.domain.market import BookLevel, OrderBook
from alina.errors import InvalidRecord
from alina.venue.book import LEVELS, Quotes
from alina.venue.filters import default_min_notional, default_tick_size

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CENTS = st.integers(100, 10_000_000).map(lambda ticks: Decimal(ticks) / 100)
QUOTES = st.decimals("0", "0.1", places=5).map(lambda spread: Quotes(Decimal("0.01"), spread))


@given(QUOTES, CENTS)
def test_the_best_ask_is_above_the_best_bid_and_both_are_on_the_grid(quotes: Quotes, price: Decimal) -> None:
    assert quotes.bid(price) < quotes.ask(price)
    assert quotes.bid(price) % quotes.tick_size == quotes.ask(price) % quotes.tick_size == 0


@given(QUOTES, CENTS)
def test_a_limit_is_reached_exactly_when_the_best_quote_comes_to_it(quotes: Quotes, limit: Decimal) -> None:
    highest, lowest = quotes.price_where_ask_is(limit), quotes.price_where_bid_is(limit)
    assert quotes.ask(highest) <= limit < quotes.ask(highest + quotes.tick_size)
    assert quotes.bid(lowest) >= limit > quotes.bid(lowest - quotes.tick_size)


def test_the_spread_lies_around_the_price() -> None:
    quotes = Quotes(Decimal("0.01"), Decimal("0.0002"))
    assert (quotes.bid(Decimal(10_000)), quotes.ask(Decimal(10_000))) == (Decimal(9999), Decimal(10_001))


def test_levels_get_worse_step_by_step_and_hold_a_share_of_the_volume() -> None:
    quotes = Quotes(Decimal("0.01"), Decimal("0.0002"))
    book = quotes.book(Decimal(10_000), volume=Decimal("123.4567"), lot_size=Decimal("0.001"))
    assert len(book.bids) == len(book.asks) == LEVELS
    assert [level.price for level in book.asks[:2]] == [Decimal("10001"), Decimal("10002")]
    assert [level.price for level in book.bids[:2]] == [Decimal("9999"), Decimal("9998")]
    assert {level.quantity for level in (*book.bids, *book.asks)} == {Decimal("1.234")}


def test_a_side_of_the_book_equals_the_levels_that_it_stands_for() -> None:
    book = Quotes(Decimal("0.01"), Decimal("0.0002")).book(
        Decimal(10_000), volume=Decimal(123), lot_size=Decimal("0.001")
    )
    levels = tuple(BookLevel(Decimal(9999 - step), Decimal("1.23")) for step in range(LEVELS))
    assert book.bids == levels
    assert hash(book.bids) == hash(levels)
    assert (book.bids[-1], book.bids[:2]) == (levels[-1], levels[:2])
    assert OrderBook(symbol="BTC/USDT", bids=book.bids, asks=book.asks, as_of=NOW).bids == levels


def test_a_book_whose_sides_run_the_wrong_way_is_refused() -> None:
    book = Quotes(Decimal("0.01"), Decimal(0)).book(Decimal(9), volume=Decimal(9), lot_size=Decimal(1))
    with pytest.raises(InvalidRecord, match="out of order"):
        OrderBook(symbol="BTC/USDT", bids=book.asks, asks=book.bids, as_of=NOW)


def test_a_quiet_market_still_offers_a_lot() -> None:
    book = Quotes(Decimal("0.01"), Decimal(0)).book(Decimal(1), volume=Decimal(0), lot_size=Decimal("0.1"))
    assert book.bids[0].quantity == Decimal("0.1")


def test_a_bid_is_never_at_or_below_zero() -> None:
    book = Quotes(Decimal("0.01"), Decimal(0)).book(Decimal("0.05"), volume=Decimal(9), lot_size=Decimal(1))
    assert [level.price for level in book.bids] == [Decimal(cents) / 100 for cents in (5, 4, 3, 2, 1)]


def test_the_tick_follows_the_prices_of_the_file() -> None:
    assert [default_tick_size(decimals) for decimals in (0, 2, 8)] == [
        Decimal("0.01"),
        Decimal("0.01"),
        Decimal("1e-8"),
    ]
    assert (default_min_notional("USDT"), default_min_notional("BTC")) == (10, Decimal("0.0001"))
