"""Exits that no model decides, when the kernel, the exchange or a second poll is in the way."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from system import HOLD, NOW, RunningVenue, System, empty, proposal, system

from alina.domain.decisions import ReasonCode
from alina.domain.orders import Order, OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason, TradingState, WindDown
from alina.orchestrator import polling, protection, reconciliation, winding_down

Make = Callable[..., System]


@pytest.fixture
def due(venue: RunningVenue, ledger_url: str) -> Callable[[], System]:
    """A system whose position's stop is reached."""
    empty(ledger_url)

    def make() -> System:
        one = system(venue, ledger_url, HOLD)
        one.execute(proposal(one, stop_price=Decimal(1000)).id)
        return one

    return make


def set_state(one: System, state: TradingState) -> None:
    with one.work() as uow:
        uow.ledger.set_trading_state(one.runtime.account, state, reason="a drill", at=NOW)


def is_closed(one: System) -> bool:
    with one.work() as uow:
        return uow.ledger.open_position(one.runtime.account, one.symbol) is None


def test_a_denied_exit_is_proposed_again_at_a_later_poll(due: Callable[[], System]) -> None:
    one = due()
    set_state(one, TradingState.HALTED)
    polling.poll(one.runtime)
    one.deliver()
    with one.work() as uow:
        assert (
            uow.ledger.decisions(limit=1, symbol=one.symbol)[0].decision.reason is ReasonCode.TRADING_HALTED
        )
    assert not is_closed(one)
    set_state(one, TradingState.REDUCING)
    polling.poll(one.runtime)
    one.deliver()
    assert is_closed(one)


def test_while_an_exit_is_on_its_way_no_second_one_is_proposed(due: Callable[[], System]) -> None:
    one = due()
    for _ in range(3):
        protection.propose_exits(one.runtime, one.symbol)
    assert len(one.sent) == 1


def test_two_exits_of_two_polls_at_once_sell_once(due: Callable[[], System]) -> None:
    one = due()
    protection.propose_exits(one.runtime, one.symbol)
    with one.work() as uow:
        wish = uow.ledger.proposal(uow.ledger.undecided_proposals(older_than=NOW - NOW)[0])
    twin = proposal(one, wish.side, str(wish.quantity), close_reason=CloseReason.STOP_LOSS)
    assert [one.execute(wish.id).verdict, one.execute(twin.id).verdict] == ["approved", "denied"]
    assert one.on_venue() == 2
    assert reconciliation.reconcile(one.runtime) == []


def test_an_exit_is_proposed_while_candles_cannot_be_had(
    due: Callable[[], System], venue: RunningVenue
) -> None:
    one = due()
    venue.fail("error_before", "GET", "/api/v3/klines")
    assert polling.poll(one.runtime) == 0
    one.deliver()
    assert is_closed(one)


def test_an_agents_exit_keeps_no_stop_waiting_while_the_book_cannot_be_had(
    due: Callable[[], System], venue: RunningVenue
) -> None:
    one = due()
    with one.work() as uow:
        held = uow.ledger.open_position(one.runtime.account, one.symbol)
    assert held is not None
    wish = proposal(one, OrderSide.SELL, str(held.quantity), close_reason=CloseReason.AGENT)
    venue.fail("error_before", "GET", "/api/v3/depth")
    assert one.execute(wish.id).reason is ReasonCode.UNKNOWN_BOOK
    protection.propose_exits(one.runtime, one.symbol)
    one.deliver()
    assert is_closed(one)


def test_an_exit_that_the_exchange_refused_is_proposed_again(
    due: Callable[[], System], venue: RunningVenue
) -> None:
    one = due()
    venue.fail("error_before", "POST", "/api/v3/order")
    protection.propose_exits(one.runtime, one.symbol)
    one.deliver()
    with one.work() as uow:
        order = uow.ledger.decisions(limit=1, symbol=one.symbol)[0].order
    assert order is not None
    assert order.state is OrderState.REJECTED
    assert not is_closed(one)
    protection.propose_exits(one.runtime, one.symbol)
    one.deliver()
    assert is_closed(one)
    assert one.on_venue() == 2


class Ruling:
    """The exchange with other rules of its markets."""

    def __init__(self, exchange: Any, **rules: Decimal) -> None:
        self._exchange, self._rules = exchange, rules

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def market(self, symbol: str) -> Any:
        return replace(self._exchange.market(symbol), **self._rules)


def test_what_one_order_may_not_sell_any_more_is_sold_by_several(due: Callable[[], System]) -> None:
    one = due()
    one = one.with_parts(exchange=Ruling(one.exchange, max_quantity=Decimal("0.4")))
    for _ in range(3):
        assert not is_closed(one)
        protection.propose_exits(one.runtime, one.symbol)
        one.deliver()
    assert is_closed(one)
    assert one.on_venue() == 4
    assert reconciliation.reconcile(one.runtime) == []


def test_what_is_too_small_to_be_sold_is_closed_once_it_is_due_and_not_proposed_for_ever(
    due: Callable[[], System],
) -> None:
    one = due()
    one = one.with_parts(exchange=Ruling(one.exchange, min_notional=Decimal(10) ** 6))
    protection.propose_exits(one.runtime, one.symbol)
    assert one.sent == []
    assert reconciliation.reconcile(one.runtime) == []
    assert is_closed(one)
    with one.work() as uow:
        (trade,) = uow.ledger.closed_trades(account=one.runtime.account)
        assert [each.id for each in uow.ledger.unevaluated_trades()] == [trade.id]
    assert (trade.close_reason, trade.proceeds) == (CloseReason.STOP_LOSS, 0)
    assert trade.cost > 0
    assert reconciliation.reconcile(one.runtime) == []  # what is left is in the balance, and accounted for


def test_a_due_position_that_can_be_sold_is_no_dust(due: Callable[[], System]) -> None:
    one = due()
    assert protection.close_dust(one.runtime) == []
    assert not is_closed(one)


def sell_by_hand(one: System, quantity: str) -> None:
    """Somebody sells on the exchange itself; the books say so once they are reconciled."""
    order = Order(
        client_order_id=f"by-hand-{uuid4().hex[:12]}",
        account=one.runtime.account,
        symbol=one.symbol,
        side=OrderSide.SELL,
        order_type=OrderType.MARKET,
        quantity=Decimal(quantity),
    )
    one.exchange.submit(order)
    assert reconciliation.reconcile(one.runtime) != []


def left(one: System) -> Decimal:
    """Of the base, on the exchange."""
    return one.exchange.balances()[one.symbol.split("/")[0]].total


def test_of_what_is_partly_gone_the_rest_is_sold(due: Callable[[], System]) -> None:
    one = due()
    sell_by_hand(one, "0.4")
    protection.propose_exits(one.runtime, one.symbol)
    one.deliver()
    assert left(one) < one.exchange.market(one.symbol).lot_size
    assert one.on_venue() == 3


def test_of_what_is_partly_gone_a_flatten_sells_the_rest(due: Callable[[], System]) -> None:
    one = due()
    sell_by_hand(one, "0.4")
    with one.work() as uow:
        uow.ledger.ask_wind_down(one.runtime.account, WindDown.FLATTEN)
    for _ in range(2):
        (line,) = winding_down.wind_down(one.runtime)
        assert line == f"0.40000000 {one.symbol} is held"
    assert left(one) < one.exchange.market(one.symbol).lot_size
    assert one.on_venue() == 3
