"""A cancel that races a fill, orders that end with a part filled, and fees in a third asset."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from system import HOLD, HOUR, NOW, SELL, RunningVenue, System, empty, proposal, running_venue, system

from alina.domain.orders import LedgerOrder, OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason, TradingState
from alina.errors import ExchangeError
from alina.orchestrator import reconciliation, winding_down

Make = Callable[..., System]


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(system, venue, ledger_url)


@pytest.fixture(scope="module")
def moving_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVenue]:
    """Ten hours of market a second: the price falls to its lowest every four seconds."""
    home = tmp_path_factory.mktemp("moving")
    with running_venue(home, symbols=3, hours=20_000, speed=36_000) as venue:
        yield venue


@pytest.fixture(scope="module")
def bnb_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningVenue]:
    """Fees are paid in BNB while there is some."""
    with running_venue(tmp_path_factory.mktemp("bnb"), symbols=4, fees_in_bnb=True) as venue:
        yield venue


def order_of(one: System, proposal_id: Any) -> LedgerOrder:
    with one.work() as uow:
        decision = uow.ledger.decision_of(proposal_id)
        assert decision is not None
        order = uow.ledger.order_of(decision.id)
    assert order is not None
    return order


def in_balance(one: System) -> None:
    """Nothing differs, nothing is held back, nothing is open."""
    assert reconciliation.reconcile(one.runtime) == []
    assert one.exchange.open_orders(one.symbol) == []
    with one.work() as uow:
        assert uow.ledger.fills(one.runtime.account, one.symbol) == one.exchange.fills(one.symbol)
        assert uow.ledger.reserved(one.runtime.account, "USDT") == 0
        assert uow.ledger.reserved(one.runtime.account, one.symbol.split("/")[0]) == 0
        assert uow.ledger.account(one.runtime.account).trading_state is TradingState.ACTIVE


def partly_filled_limit(one: System, venue: RunningVenue) -> LedgerOrder:
    """A buy that took half of what it asked for, and whose rest waits on the exchange."""
    venue.fail("partial_fill_then_drop", "POST", "/api/v3/order")
    wish = proposal(one, order_type=OrderType.LIMIT, limit_price=Decimal("106.00"), quantity="2")
    one.execute(wish.id)
    order = order_of(one, wish.id)
    assert (order.state, order.filled_quantity) == (OrderState.PARTIALLY_FILLED, 1)
    return order


def test_a_resting_part_is_compared_and_not_settled(make: Make, venue: RunningVenue) -> None:
    one = make(HOLD)
    order = partly_filled_limit(one, venue)
    assert reconciliation.reconcile(one.runtime) == []
    with one.work() as uow:
        (resting,) = uow.ledger.unsettled_orders()
        assert uow.ledger.reserved(one.runtime.account, "USDT") > 0
    assert resting.order == order.order
    stranger = replace(order.order, client_order_id="by-hand", order_type=OrderType.MARKET, limit_price=None)
    one.exchange.submit(stranger)
    (line,) = reconciliation.reconcile(one.runtime)  # what rests does not hide what others do
    assert line.endswith("is on the exchange only")


@pytest.mark.parametrize("answer", ["", "accept_then_rst", "timeout_after", "html_200"])
def test_a_part_is_filled_and_the_rest_is_cancelled(make: Make, venue: RunningVenue, answer: str) -> None:
    one = make(HOLD)
    order = partly_filled_limit(one, venue)
    if answer:
        venue.fail(answer, "DELETE", "/api/v3/order")
    deadline = time.monotonic() + 200
    while not order.settled:
        assert time.monotonic() < deadline
        try:
            winding_down.cancel_open_orders(one.runtime)
        except ExchangeError:  # the answer to the cancel was lost: the task is repeated
            continue
        with one.work() as uow:
            order = uow.ledger.order(order.order.client_order_id)
    assert (order.state, order.filled_quantity) == (OrderState.CANCELED, 1)
    with one.work() as uow:
        position = uow.ledger.open_position(one.runtime.account, one.symbol)
    assert position is not None
    assert position.quantity == Decimal("0.999")
    in_balance(one)


class FilledFirst:
    """The exchange, on which an order is filled after its cancel was asked for and before that is done."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange
        self.cancelled: list[bool] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def cancel(self, symbol: str, client_order_id: str, *, exchange_order_id: str | None = None) -> bool:
        deadline = time.monotonic() + 200
        while not self._exchange.find(symbol, client_order_id).state.is_final:
            assert time.monotonic() < deadline, "the price falls to the order's limit"
            time.sleep(0.05)
        self.cancelled.append(self._exchange.cancel(symbol, client_order_id))
        return self.cancelled[-1]


def test_a_fill_that_is_faster_than_the_cancel_is_booked(moving_venue: RunningVenue, ledger_url: str) -> None:
    empty(ledger_url)
    one = system(moving_venue, ledger_url, HOLD, risk={"max_price_age": "100d"}).with_parts(checks=())
    limit = {"order_type": OrderType.LIMIT, "limit_price": Decimal("99.10")}
    wish = proposal(one, expires_at=NOW + 20_000 * HOUR, **limit)
    one.execute(wish.id)
    racing = FilledFirst(one.exchange)
    winding_down.cancel_open_orders(one.with_parts(exchange=racing).runtime)
    assert racing.cancelled == [False]
    order = order_of(one, wish.id)
    assert (order.state, order.settled, order.filled_quantity) == (OrderState.FILLED, True, 1)
    with one.work() as uow:
        position = uow.ledger.open_position(one.runtime.account, one.symbol)
    assert position is not None
    assert position.quantity == Decimal("0.999")
    in_balance(one)


def test_an_entry_that_expires_with_a_part_filled_is_held_and_sold(make: Make, venue: RunningVenue) -> None:
    one = make()
    venue.fail("partial_fill_then_drop", "POST", "/api/v3/order")
    one.run()
    one.deliver()
    with one.work() as uow:
        (trail,) = uow.ledger.decisions(limit=2, symbol=one.symbol)
        position = uow.ledger.open_position(one.runtime.account, one.symbol)
    order = trail.order
    assert order is not None
    assert (order.state, order.settled) == (OrderState.EXPIRED, True)
    assert 0 < order.filled_quantity < order.order.quantity
    assert position is not None
    assert position.quantity == order.filled_quantity * Decimal("0.999")
    in_balance(one)
    one.answering(SELL).run("the-sale")
    one.deliver()
    with one.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
    assert closed.close_reason is CloseReason.AGENT
    in_balance(one)


def test_a_fee_in_a_third_asset_is_part_of_cost_and_proceeds_and_the_books_are_equal(
    bnb_venue: RunningVenue, ledger_url: str
) -> None:
    empty(ledger_url)
    one = system(bnb_venue, ledger_url, HOLD)
    rate = one.exchange.ticker("BNB/USDT").last
    one.execute(proposal(one).id)
    (bought,) = one.exchange.fills(one.symbol)
    assert bought.fee_asset == "BNB"
    with one.work() as uow:
        position = uow.ledger.open_position(one.runtime.account, one.symbol)
    assert position is not None
    assert position.quantity == bought.quantity  # nothing of it went to the fee
    assert position.cost == bought.notional + bought.fee * rate
    in_balance(one)
    one.execute(proposal(one, OrderSide.SELL, f"{position.quantity:f}").id)
    with one.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
    sold = one.exchange.fills(one.symbol)[-1]
    assert closed.proceeds == sold.notional - sold.fee * rate
    in_balance(one)


def test_a_sale_of_the_very_asset_that_fees_are_paid_in_is_booked(
    bnb_venue: RunningVenue, ledger_url: str
) -> None:
    empty(ledger_url)
    bnb_venue.unused.append("BNB/USDT")
    one = system(bnb_venue, ledger_url, HOLD)
    one.execute(proposal(one).id)
    (bought,) = one.exchange.fills(one.symbol)
    held = one.held()
    assert held is not None
    assert held.quantity == bought.quantity - bought.fee
    quantity = one.exchange.market(one.symbol).quantity_down(held.quantity)
    one.execute(proposal(one, OrderSide.SELL, f"{quantity:f}").id)
    with one.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
    sold = one.exchange.fills(one.symbol)[-1]
    beside = sold.quantity + sold.fee - held.quantity
    assert 0 < beside <= sold.fee
    assert (sold.fee_asset, closed.proceeds) == ("BNB", sold.notional - beside * sold.price)
    in_balance(one)
