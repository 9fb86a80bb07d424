"""Fills and positions: built from fills only, whatever order and however often they arrive."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from ledger_cases import (
    HOUR,
    MARKET,
    NOON,
    SYMBOL,
    claim,
    closed_position,
    fill,
    placed,
    proposal,
    trade,
    with_agent,
)
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from alina.db.engine import session_factory, transaction
from alina.domain.market import Balance, Market
from alina.domain.orders import Fill, Order, OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason, Position
from alina.errors import LedgerError
from alina.ledger import Ledger

D = Decimal


def held(ledger: Ledger) -> Position:
    position = ledger.open_position("main", SYMBOL)
    assert position is not None
    return position


def test_a_buy_opens_a_position_protected_as_proposed(ledger: Ledger) -> None:
    wish = proposal(stop_price=D(95), take_profit_price=D(110), close_after=NOON + 24 * HOUR)
    trade(ledger, wish, price="100", fee=D("0.1"))
    position = held(ledger)
    assert (position.quantity, position.cost, position.proceeds) == (D(1), D("100.1"), D(0))
    assert (position.stop_price, position.take_profit_price) == (D(95), D(110))
    assert (position.close_after, position.opened_at) == (NOON + 24 * HOUR, NOON)
    assert position.agent == "trading"
    assert ledger.position_proposal(position.id) == wish
    assert ledger.open_positions("main") == [position] == [ledger.position(position.id)]
    assert ledger.open_positions("other") == []


def test_a_fee_in_base_is_not_held_and_a_fee_in_a_third_asset_only_noted(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    ledger.record_placed(placed(order, OrderState.FILLED, "1"))
    fills = [
        fill(order, "0.6", "1", fee=D("0.0006"), fee_asset="BTC"),
        fill(order, "0.4", "2", fee=D("0.001"), fee_asset="BNB"),
    ]
    assert ledger.record_fills(order.client_order_id, fills, market=MARKET) == 2
    position = held(ledger)
    assert (position.quantity, position.bought_quantity, position.cost) == (D("0.9994"), D("0.9994"), D(100))
    assert ledger.fills("main", SYMBOL) == fills


def test_a_fee_in_a_third_asset_with_a_price_is_part_of_the_cost_and_the_proceeds(ledger: Ledger) -> None:
    bnb = {"BNB": D(600), "USDT": D(9)}  # of quote and base the rate does not matter
    bought = claim(ledger, proposal())
    ledger.record_placed(placed(bought, OrderState.FILLED, "1"))
    pieces = [fill(bought, "1", "1", fee=D("0.001"), fee_asset="BNB")]
    for _ in range(2):  # the second time changes nothing
        ledger.record_fills(bought.client_order_id, pieces, market=MARKET, fee_rates=bnb)
    assert held(ledger).cost == D("100.6")
    sold = claim(ledger, proposal(OrderSide.SELL, reduce_only=True))
    ledger.record_placed(placed(sold, OrderState.FILLED, "1"))
    pieces = [fill(sold, "1", "2", fee=D("0.001"), fee_asset="BNB")]
    ledger.record_fills(sold.client_order_id, pieces, market=MARKET, fee_rates=bnb)
    (closed,) = ledger.closed_trades()
    assert closed.proceeds == D("99.4")


def test_recording_fills_again_changes_nothing(ledger: Ledger) -> None:
    order = trade(ledger, proposal())
    before = held(ledger)
    assert ledger.record_fills(order.client_order_id, ledger.fills("main", SYMBOL), market=MARKET) == 0
    assert held(ledger) == before


def test_a_sale_closes_the_position_at_its_last_fill_for_the_proposed_reason(ledger: Ledger) -> None:
    trade(ledger, proposal(), price="100", fee=D("0.1"))
    position = held(ledger)
    sale = proposal(OrderSide.SELL, close_reason=CloseReason.STOP_LOSS)
    trade(ledger, sale, price="110", at=NOON + HOUR, fee=D("0.11"))
    assert ledger.open_position("main", SYMBOL) is None
    closed = ledger.position(position.id)
    assert (closed.closed_at, closed.close_reason) == (NOON + HOUR, CloseReason.STOP_LOSS)
    assert (closed.quantity, closed.sold_quantity, closed.proceeds) == (D(0), D(1), D("109.89"))
    assert closed.realised_pnl == D("9.79")
    assert ledger.closed_trades() == ledger.closed_trades(account="main") == [closed]
    assert ledger.closed_trades(account="other") == []


def test_a_sale_without_a_reason_was_the_agents(ledger: Ledger) -> None:
    assert ledger.position(closed_position(ledger)).close_reason is CloseReason.AGENT


def test_closed_trades_come_newest_first(ledger: Ledger) -> None:
    first, second = closed_position(ledger), closed_position(ledger, opened=NOON + 5 * HOUR)
    assert [trade.id for trade in ledger.closed_trades()] == [second, first]
    assert [trade.id for trade in ledger.closed_trades(limit=1)] == [second]
    assert [trade.id for trade in ledger.unevaluated_trades()] == [first, second]


def test_a_part_that_can_still_be_sold_stays_open(ledger: Ledger) -> None:
    trade(ledger, proposal())
    trade(ledger, proposal(OrderSide.SELL, "0.9"), at=NOON + HOUR)
    assert held(ledger).quantity == D("0.1")


@pytest.mark.parametrize(
    ("sold", "what"),
    [
        ("0.99995", "below the least quantity of 0.0001"),
        ("0.9600", "0.04 at 100 is 4 quote, below the least notional of 5"),
    ],
)
def test_a_rest_that_no_exchange_takes_does_not_keep_the_position_open(
    ledger: Ledger, sold: str, what: str
) -> None:
    trade(ledger, proposal())
    position = held(ledger)
    trade(ledger, proposal(OrderSide.SELL, sold), at=NOON + HOUR)
    closed = ledger.position(position.id)
    assert closed.closed_at == NOON + HOUR, what
    assert closed.quantity == 1 - D(sold)


def test_a_rest_that_can_just_be_sold_stays_open(ledger: Ledger) -> None:
    trade(ledger, proposal())
    trade(ledger, proposal(OrderSide.SELL, "0.95"), at=NOON + HOUR)
    assert held(ledger).quantity * 100 == MARKET.min_notional


def test_accounts_and_symbols_have_orders_trades_and_positions_of_their_own(ledger: Ledger) -> None:
    """Trades of two symbols, or accounts, may have the same number."""
    with_agent(ledger, "other")
    ether = replace(MARKET, symbol="ETH/USDT", base="ETH")

    def carry_out(market: Market, side: OrderSide, quantity: str, account: str, number: str) -> None:
        order = claim(ledger, proposal(side, quantity, account=account, symbol=market.symbol))
        ledger.record_placed(placed(order, OrderState.FILLED, quantity))
        assert ledger.record_fills(order.client_order_id, [fill(order, quantity, number)], market=market) == 1

    others = ((MARKET, "2", "other"), (ether, "3", "main"))
    carry_out(MARKET, OrderSide.BUY, "1", "main", "7")
    for market, quantity, account in others:
        carry_out(market, OrderSide.BUY, quantity, account, "7")
        claim(ledger, proposal(account=account, symbol=market.symbol))
        resting = {"order_type": OrderType.LIMIT, "limit_price": D(110)}
        claim(ledger, proposal(OrderSide.SELL, account=account, symbol=market.symbol, **resting))
    assert not ledger.is_entering("main", SYMBOL)
    assert ledger.resting_sales("main", SYMBOL) == []
    carry_out(MARKET, OrderSide.SELL, "1", "main", "8")
    assert ledger.open_position("main", SYMBOL) is None
    for market, quantity, account in others:
        position = ledger.open_position(account, market.symbol)
        assert position is not None
        assert position.quantity == D(quantity)
        assert ledger.is_entering(account, market.symbol)
        assert len(ledger.resting_sales(account, market.symbol)) == 1
    assert [one.symbol for one in ledger.open_positions("main")] == ["ETH/USDT"]
    assert [one.quantity for one in ledger.fills("other", SYMBOL)] == [D(2)]


def test_a_position_stays_open_while_an_order_of_its_symbol_is_under_way(ledger: Ledger) -> None:
    buy = claim(ledger, proposal(quantity="2"))
    ledger.record_placed(placed(buy, OrderState.PARTIALLY_FILLED, "1"))
    ledger.record_fills(buy.client_order_id, [fill(buy, "1", "1")], market=MARKET)
    trade(ledger, proposal(OrderSide.SELL), at=NOON + HOUR)
    assert held(ledger).quantity == 0
    ledger.record_placed(placed(buy, OrderState.CANCELED, "1"))
    assert ledger.open_position("main", SYMBOL) is None


def test_a_fill_of_another_order_side_or_symbol_is_refused(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    own = fill(order, "1", "1")
    with pytest.raises(LedgerError, match="record the placed order first"):
        ledger.record_fills(order.client_order_id, [own], market=MARKET)
    ledger.record_placed(placed(order, OrderState.FILLED, "1"))
    for foreign in (
        replace(own, exchange_order_id="another"),
        replace(own, side=OrderSide.SELL),
        replace(own, symbol="ETH/USDT"),
    ):
        with pytest.raises(LedgerError, match="is not one of order"):
            ledger.record_fills(order.client_order_id, [foreign], market=MARKET)
    with pytest.raises(LedgerError, match="is not one of order"):
        ledger.record_fills(order.client_order_id, [own], market=replace(MARKET, symbol="ETH/USDT"))


def test_one_trade_cannot_belong_to_two_orders(ledger: Ledger) -> None:
    trade(ledger, proposal())
    taken = ledger.fills("main", SYMBOL)[0].trade_id
    other = claim(ledger, proposal())
    ledger.record_placed(placed(other, OrderState.OPEN))
    with pytest.raises(LedgerError, match="is recorded for order"):
        ledger.record_fills(other.client_order_id, [fill(other, "1", taken)], market=MARKET)


def test_selling_more_than_is_held_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    trade(ledger, proposal())
    order = claim(ledger, proposal(OrderSide.SELL, "2"))
    ledger.record_placed(placed(order, OrderState.FILLED, "2"))
    with pytest.raises(LedgerError, match="sells 2 of 1 BTC held"):
        ledger.record_fills(order.client_order_id, [fill(order, "2")], market=MARKET)


def test_selling_more_than_earlier_sales_have_left_is_refused(ledger: Ledger) -> None:
    trade(ledger, proposal())
    trade(ledger, proposal(OrderSide.SELL, "0.6"), at=NOON + HOUR)
    with pytest.raises(LedgerError, match=r"sells 0\.5 of 0\.4"):
        trade(ledger, proposal(OrderSide.SELL, "0.5"), at=NOON + HOUR)


def test_a_new_position_opens_after_the_last_one_closed(ledger: Ledger) -> None:
    first = closed_position(ledger)
    trade(ledger, proposal(), at=NOON + 3 * HOUR)
    assert held(ledger).id != first
    assert held(ledger).quantity == 1


@pytest.mark.parametrize("together", [True, False])
def test_a_fee_in_base_on_a_sale_of_everything_was_paid_from_beside_the_position(
    ledger: Ledger, together: bool
) -> None:
    trade(ledger, proposal(), fee=D("0.001"), fee_asset="BTC")
    order = claim(ledger, proposal(OrderSide.SELL, "0.999"))
    fills = [
        fill(order, quantity, trade_id, price=D(110), fee=D("0.0005"), fee_asset="BTC")
        for quantity, trade_id in (("0.5", "1"), ("0.499", "2"))
    ]
    ledger.record_placed(placed(order, OrderState.FILLED, "0.999"))
    for some in [fills] if together else [fills[:1], fills]:
        ledger.record_fills(order.client_order_id, some, market=MARKET)
    (closed,) = ledger.closed_trades(account="main")
    assert (closed.quantity, closed.sold_quantity, closed.proceeds) == (0, D("0.999"), D("109.78"))


def test_a_fee_in_base_on_a_sale_of_a_part_is_taken_off_what_is_held(ledger: Ledger) -> None:
    trade(ledger, proposal())
    trade(ledger, proposal(OrderSide.SELL, "0.5"), fee=D("0.001"), fee_asset="BTC")
    assert (held(ledger).quantity, held(ledger).proceeds) == (D("0.499"), 50)


def test_balances_tell_of_a_position_what_was_said_since_its_newest_fill(ledger: Ledger) -> None:
    some = {"BTC": Balance(asset="BTC", free=D("0.2"), locked=D("0.4"))}
    trade(ledger, proposal(), at=NOON + HOUR)
    assert ledger.told_of(held(ledger)) is None
    ledger.record_balances("main", some, at=NOON)
    assert ledger.told_of(held(ledger)) is None
    ledger.record_balances("main", some, at=NOON + HOUR)
    assert ledger.told_of(held(ledger)) == D("0.6")
    trade(ledger, proposal(), at=NOON + 2 * HOUR)
    assert ledger.told_of(held(ledger)) is None


# -- whatever the order and the repetition -----------------------------------------------------------

_quantities = st.integers(1, 10**12).map(lambda n: D(n) * D("0.00000001"))
_prices = st.integers(1, 10**14).map(lambda n: D(n) * D("0.00000001"))
_thousandths = st.integers(0, 10).map(lambda n: D(n) / 1000)
_fee_assets = st.sampled_from(["BTC", "USDT", "BNB"])
_buys = st.lists(st.tuples(_quantities, _prices, _thousandths, _fee_assets), min_size=1, max_size=4)
_sales = st.lists(st.tuples(st.integers(1, 33), _prices, _thousandths), min_size=1, max_size=3)
#: which order, and which of its fills, in what order, some of them again
_deliveries = st.lists(
    st.tuples(st.sampled_from(OrderSide), st.lists(st.integers(0, 3), max_size=5)), max_size=6
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(buys=_buys, sales=_sales, deliveries=_deliveries, is_reported_late=st.booleans())
def test_any_interleaving_and_repetition_of_fills_gives_the_same_position_to_the_last_digit(
    engine: Engine,
    buys: list[tuple[Decimal, Decimal, Decimal, str]],
    sales: list[tuple[int, Decimal, Decimal]],
    deliveries: list[tuple[OrderSide, list[int]]],
    is_reported_late: bool,
) -> None:
    with localcontext(prec=100):
        bought = [_piece(n, *buy) for n, buy in enumerate(buys)]
        held_in_all = sum((q - _fee(f, "BTC") for q, f in bought), D(0))
        sold = [_sale(10 + n, held_in_all, *sale) for n, sale in enumerate(sales)]
        cost = sum((q * f["price"] + _fee(f, "USDT") for q, f in bought), D(0))
        proceeds = sum((q * f["price"] - _fee(f, "USDT") for q, f in sold), D(0))
        left = held_in_all - sum((q for q, _ in sold), D(0))
    assume(all(quantity > 0 for quantity, _ in sold))

    with transaction(session_factory(engine)) as session:
        straight = _carry_out(session, bought, sold, deliveries=[], is_reported_late=False)
        scattered = _carry_out(session, bought, sold, deliveries, is_reported_late=is_reported_late)
        session.rollback()

    assert (straight.quantity, straight.cost, straight.proceeds) == (left, cost, proceeds)
    assert replace(scattered, id=straight.id, account=straight.account) == straight


def _piece(number: int, quantity: Decimal, price: Decimal, rate: Decimal, asset: str) -> tuple[Decimal, Any]:
    """A fill's quantity, and what else is to say of it."""
    fee = quantity * rate if asset == "BTC" else quantity * price * rate
    moment = NOON + timedelta(minutes=number)
    return quantity, {
        "trade_id": str(number),
        "price": price,
        "fee": fee,
        "fee_asset": asset,
        "executed_at": moment,
    }


def _sale(
    number: int, held_in_all: Decimal, percent: int, price: Decimal, rate: Decimal
) -> tuple[Decimal, Any]:
    quantity = (held_in_all * percent / 100).quantize(D("0.00000001"), ROUND_DOWN)
    return _piece(number, quantity, price, rate, "USDT")


def _fee(details: dict[str, Any], asset: str) -> Decimal:
    fee: Decimal = details["fee"]
    return fee if details["fee_asset"] == asset else D(0)


def _carry_out(
    session: Session,
    bought: list[tuple[Decimal, Any]],
    sold: list[tuple[Decimal, Any]],
    deliveries: list[tuple[OrderSide, list[int]]],
    *,
    is_reported_late: bool,
) -> Position:
    """Deliver the fills as told, then all of each order, as reconciliation does; the resulting position."""
    ledger, account = Ledger(session), uuid4().hex
    with_agent(ledger, account)
    orders: dict[OrderSide, tuple[Order, list[Fill]]] = {}
    for side, pieces in ((OrderSide.BUY, bought), (OrderSide.SELL, sold)):
        whole = sum((quantity for quantity, _ in pieces), D(0))
        order = claim(ledger, proposal(side, str(whole), account=account))
        ledger.record_placed(placed(order, OrderState.OPEN))
        orders[side] = order, [fill(order, quantity, **details) for quantity, details in pieces]

    def report(side: OrderSide) -> None:
        order, _ = orders[side]
        ledger.record_placed(placed(order, OrderState.FILLED, order.quantity))

    def deliver(side: OrderSide, fills: Sequence[Fill]) -> None:
        with suppress(LedgerError), session.begin_nested():  # a sale told before its buy is told again
            ledger.record_fills(orders[side][0].client_order_id, fills, market=MARKET)

    if not is_reported_late:
        report(OrderSide.SELL)
        report(OrderSide.BUY)
    for side, picks in deliveries:
        deliver(side, [orders[side][1][n] for n in picks if n < len(orders[side][1])])
    for side in OrderSide:
        deliver(side, orders[side][1])
    if is_reported_late:
        report(OrderSide.SELL)
        report(OrderSide.BUY)
    assert ledger.unsettled_orders() == []
    return ledger.open_position(account, SYMBOL) or ledger.closed_trades(account=account)[0]
