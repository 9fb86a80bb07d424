"""The venue in this process: what acts when, and on whose terms."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

import pytest

from alina.domain.orders import Fill, Order, OrderSide, OrderState, OrderType
from alina.domain.records import utc_from_ms
from alina.errors import ExchangeRefused, OrderRejected
from alina.market_data.bars import Bar, BarColumns
from alina.venue.candles_csv import Gap, Series
from alina.venue.fees import Fees
from alina.venue.in_process import InProcessExchange
from alina.venue.markets import list_market
from alina.venue.spec import Listing

SYMBOL, HOUR = "BTC/USDT", 3_600_000
NO_FEES = Fees(Decimal(0), Decimal(0))


def exchange_on(*hours: tuple[str, str, str, str, str] | None) -> InProcessExchange:
    """Open, high, low, close, volume of each hour from the first on; None: an outage. It is the second."""
    bars = [
        Bar(number * HOUR, *(Decimal(one) for one in hour))
        for number, hour in enumerate(hours, start=1)
        if hour is not None
    ]
    gaps = tuple(
        Gap(one.open_ms + HOUR, two.open_ms)
        for one, two in pairwise(bars)
        if two.open_ms > one.open_ms + HOUR
    )
    series = Series("test", HOUR, BarColumns.of(bars), gaps)
    return InProcessExchange(
        [list_market(Listing(SYMBOL, tick_size=Decimal("0.01")), series, Decimal(0))],
        balances={"BTC": Decimal(1000), "USDT": Decimal(100_000)},
        fees=NO_FEES,
        now=hour(2),
    )


def hour(number: float) -> datetime:
    return utc_from_ms(int(number * HOUR))


def still(volume: str = "100") -> tuple[str, str, str, str, str]:
    return ("100", "100", "100", "100", volume)


def order(name: str, side: OrderSide, quantity: str, price: str | None = None) -> Order:
    return Order(
        client_order_id=name,
        account="main",
        symbol=SYMBOL,
        side=side,
        order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
        quantity=Decimal(quantity),
        limit_price=None if price is None else Decimal(price),
    )


def stop(name: str, quantity: str, trigger: str, price: str) -> Order:
    wish = order(name, OrderSide.SELL, quantity, price)
    return replace(wish, order_type=OrderType.STOP_LIMIT, trigger_price=Decimal(trigger))


def told(fills: list[Fill]) -> list[tuple[str, str, str]]:
    return [(one.exchange_order_id, f"{one.quantity.normalize():f}", f"{one.price:.2f}") for one in fills]


def test_an_order_at_the_close_of_a_candle_trades_at_the_next_open() -> None:
    exchange = exchange_on(still(), ("110", "110", "110", "110", "100"))
    exchange.submit(order("buy", OrderSide.BUY, "1"))
    [fill] = exchange.fills(SYMBOL)
    assert (fill.price, fill.executed_at) == (Decimal("110.01"), hour(2))


def test_at_the_close_before_an_outage_nobody_trades() -> None:
    exchange = exchange_on(still(), still(), None, still())
    exchange.advance(hour(3))
    with pytest.raises(OrderRejected, match="Market is closed"):
        exchange.submit(order("buy", OrderSide.BUY, "1"))
    exchange.advance(hour(4))
    assert exchange.submit(order("buy", OrderSide.BUY, "1")).state is OrderState.FILLED


def test_a_time_that_is_past_moves_nothing_and_a_market_without_data_is_named() -> None:
    exchange = exchange_on(still(), still())
    assert exchange.advance(hour(1)) == []
    assert exchange.now() == hour(2)
    with pytest.raises(ExchangeRefused, match="ETH/USDT"):
        exchange.ticker("ETH/USDT")
    with pytest.raises(ExchangeRefused, match="30m"):
        exchange.candles(SYMBOL, "30m", since=hour(1), limit=5)


def test_of_a_stop_and_a_target_in_one_candle_the_stop_comes_first() -> None:
    exchange = exchange_on(still(), ("100", "110", "90", "95", "100"))
    exchange.submit(order("target", OrderSide.SELL, "1", "109"))
    exchange.submit(stop("stop", "1", "92", "91"))
    fills = exchange.advance(hour(3))
    assert [one.exchange_order_id for one in fills] == ["2", "1"]
    assert fills[0].executed_at < fills[1].executed_at


def test_at_one_moment_the_better_price_and_then_the_older_order_comes_first() -> None:
    exchange = exchange_on(still(), still(), ("80", "80", "80", "80", "100"))
    for name, price in (("1", "90"), ("2", "95"), ("3", "95"), ("4", "99")):
        exchange.submit(order(name, OrderSide.BUY, "1", price))
    assert [one.exchange_order_id for one in exchange.advance(hour(4))] == ["4", "2", "3", "1"]


def test_the_resting_orders_of_a_side_share_what_the_book_holds_in_a_candle() -> None:
    """Of a volume of 100, twenty levels of one each."""
    fall = ("90", "90", "90", "90", "100")
    exchange = exchange_on(still(), still(), fall, fall, fall)
    exchange.submit(order("1", OrderSide.BUY, "30", "95"))
    exchange.submit(order("2", OrderSide.BUY, "15", "94"))
    assert exchange.next_moment(hour(9)) == hour(3)
    assert told(exchange.advance(hour(3.9))) == [("1", "20", "95.00")]
    assert exchange.find(SYMBOL, "1").state is OrderState.PARTIALLY_FILLED
    assert exchange.advance(hour(3.95)) == []
    assert told(exchange.advance(hour(4.5))) == [("1", "10", "95.00"), ("2", "10", "94.00")]
    assert told(exchange.advance(hour(6))) == [("2", "5", "94.00")]
    assert exchange.open_orders(SYMBOL) == []


def test_an_order_that_took_from_the_book_waits_for_the_next_candle_with_its_rest() -> None:
    exchange = exchange_on(still(), still(), still())
    placed = exchange.submit(order("1", OrderSide.BUY, "3", "100.01"))
    assert (placed.state, placed.filled_quantity) == (OrderState.PARTIALLY_FILLED, 1)
    assert exchange.next_moment(hour(9)) == hour(3)
    assert told(exchange.advance(hour(3))) == [("1", "2", "100.01")]


def test_an_order_that_is_cancelled_or_unknown_is_so_in_its_own_market_only() -> None:
    exchange = exchange_on(still(), still())
    exchange.submit(order("1", OrderSide.BUY, "1", "90"))
    assert exchange.cancel(SYMBOL, "2") is False
    assert exchange.cancel(SYMBOL, "1") is True
    assert exchange.cancel(SYMBOL, "1") is False
    assert exchange.find(SYMBOL, "2") is None
    assert exchange.balances()["USDT"].locked == 0
