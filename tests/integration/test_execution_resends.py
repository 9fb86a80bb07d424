"""When an order is sent again: once the exchange proves that it never had it, and never otherwise."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from system import HOUR, NOW, RunningVenue, System, empty, proposal, system

from alina.domain.orders import LedgerOrder, Order, OrderState, PlacedOrder
from alina.domain.portfolio import TradingState
from alina.errors import LedgerError, OrderFateUnknown
from alina.orchestrator import execution, reconciliation, review

Make = Callable[..., System]
STOP = Decimal(50)


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(system, venue, ledger_url)


class Losing:
    """The exchange, but the first so many orders never reach it; what they were signed as is kept."""

    def __init__(self, exchange: Any, lost: int) -> None:
        self._exchange, self._left = exchange, lost
        self.requests: list[tuple[Order, datetime]] = []
        #: called after every answer to the question for an order
        self.after_find: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def submit(self, order: Order, *, signed_at: datetime) -> PlacedOrder:
        self.requests.append((order, signed_at))
        if len(self.requests) <= self._left:
            raise OrderFateUnknown("lost on the way")
        return self._exchange.submit(order, signed_at=signed_at)

    def find(self, *arguments: Any) -> PlacedOrder | None:
        answer = self._exchange.find(*arguments)
        self.after_find()
        return answer


def losing(one: System, lost: int) -> tuple[System, Losing]:
    exchange = Losing(one.exchange, lost)
    return one.with_parts(exchange=exchange), exchange


def order_of(one: System, name: Any) -> LedgerOrder:
    with one.work() as uow:
        decision = uow.ledger.decision_of(name)
        assert decision is not None
        order = uow.ledger.order_of(decision.id)
    assert order is not None
    return order


def reserved(one: System) -> Any:
    with one.work() as uow:
        return uow.ledger.reserved(one.runtime.account, "USDT")


def test_an_order_that_the_exchange_never_had_is_sent_again_under_its_own_name(make: Make) -> None:
    one, exchange = losing(make().resending(), lost=1)
    wish = proposal(one)
    one.execute(wish.id)
    order = order_of(one, wish.id)
    assert (order.state, order.settled, order.attempts) == (OrderState.FILLED, True, 2)
    (first, signed), (second, signed_again) = exchange.requests
    assert first == second
    assert signed < signed_again
    assert one.on_venue() == 1
    assert reconciliation.reconcile(one.runtime) == []


def test_an_order_is_given_up_after_its_last_attempt(make: Make) -> None:
    one, exchange = losing(make().resending(2), lost=9)
    wish = proposal(one)
    one.execute(wish.id)
    execution.settle_all(one.runtime)
    order = order_of(one, wish.id)
    assert (order.state, order.settled, order.attempts) == (OrderState.REJECTED, True, 3)
    assert "never arrived" in order.message
    assert (len(exchange.requests), one.on_venue(), reserved(one)) == (3, 0, 0)


def test_a_request_that_stood_still_is_refused_by_the_exchange_however_late_it_wakes(make: Make) -> None:
    one = make()
    wish = proposal(one)
    late = datetime.now(UTC) - one.runtime.settings.execution.receive_window - timedelta(seconds=1)

    class Sleeping(Losing):
        def submit(self, order: Order, *, signed_at: datetime) -> PlacedOrder:
            return super().submit(order, signed_at=late)

    one = one.with_parts(exchange=Sleeping(one.exchange, 0))
    one.execute(wish.id)
    assert (order_of(one, wish.id).state, one.on_venue()) == (OrderState.REJECTED, 0)


@pytest.mark.parametrize("state", [TradingState.HALTED, TradingState.REDUCING])
def test_an_entry_is_not_sent_again_once_trading_is_stopped(make: Make, state: TradingState) -> None:
    one, exchange = losing(make().resending(), lost=1)

    def stop() -> None:
        with one.work() as uow:
            uow.ledger.set_trading_state(one.runtime.account, state, reason="a drill", at=NOW)

    exchange.after_find = stop
    wish = proposal(one)
    one.execute(wish.id)
    assert order_of(one, wish.id).state is OrderState.REJECTED
    assert (len(exchange.requests), one.on_venue(), reserved(one)) == (1, 0, 0)


class LaterClock:
    def now(self) -> datetime:
        return NOW + HOUR


@pytest.mark.parametrize("limit", ["1m", "24h"], ids=["the price is old", "the proposal expired"])
def test_an_order_is_not_sent_again_once_its_approval_is_stale(make: Make, limit: str) -> None:
    one, exchange = losing(make(risk={"max_price_age": limit}).resending(), lost=1)
    wish = proposal(one)
    execution._claim(one.runtime, review.decide(one.runtime, review.read(one.runtime, wish.id)))
    late = one.with_parts(clock=LaterClock())
    execution.settle(late.runtime, order_of(one, wish.id).order.client_order_id)
    assert order_of(one, wish.id).state is OrderState.REJECTED
    assert exchange.requests == []


def test_of_two_who_learn_of_an_absence_one_sends_again(make: Make) -> None:
    one, exchange = losing(make().resending(), lost=1)
    wish = proposal(one)
    other = one.with_parts(exchange=exchange._exchange)

    def let_the_other_be_faster() -> None:
        exchange.after_find = lambda: None
        execution.settle(other.runtime, order_of(one, wish.id).order.client_order_id)

    exchange.after_find = let_the_other_be_faster
    one.execute(wish.id)
    order = order_of(one, wish.id)
    assert (order.state, order.attempts, one.on_venue()) == (OrderState.FILLED, 2, 1)
    assert len(exchange.requests) == 1  # the second request is the other's
    assert reconciliation.reconcile(one.runtime) == []


def test_an_absence_seen_too_early_proves_nothing(make: Make) -> None:
    one, exchange = losing(make(execution={"settle_after": "1h"}).resending(), lost=1)
    wish = proposal(one)
    one.execute(wish.id)
    execution.settle_all(one.runtime)
    assert order_of(one, wish.id).state is OrderState.SUBMITTING
    assert len(exchange.requests) == 1


def test_an_order_given_up_that_turns_up_after_all_is_adopted_and_trading_steps_back(make: Make) -> None:
    one, exchange = losing(make(), lost=1)
    wish = proposal(one, stop_price=STOP)
    one.execute(wish.id)
    assert order_of(one, wish.id).state is OrderState.REJECTED
    (order, _) = exchange.requests[0]
    exchange._exchange.submit(order)  # the request that was believed lost
    differences = reconciliation.reconcile(one.runtime)
    assert any("turned up after all" in line for line in differences)
    adopted = order_of(one, wish.id)
    assert (adopted.state, adopted.settled, reserved(one)) == (OrderState.FILLED, True, 0)
    with one.work() as uow:
        position = uow.ledger.open_position(one.runtime.account, one.symbol)
        assert uow.ledger.account(one.runtime.account).trading_state is TradingState.REDUCING
    assert position is not None
    assert position.stop_price == STOP
    assert reconciliation.reconcile(one.runtime) == []


def test_an_adoption_cut_short_is_finished_by_the_next_reconciliation(make: Make) -> None:
    one, exchange = losing(make(), lost=1)
    wish = proposal(one)
    one.execute(wish.id)
    (order, _) = exchange.requests[0]
    placed = exchange._exchange.submit(order)
    with one.work() as uow:
        uow.ledger.adopt(placed)
    assert reserved(one) > 0
    assert reconciliation.reconcile(one.runtime) == []
    assert (order_of(one, wish.id).settled, reserved(one)) == (True, 0)
    with pytest.raises(LedgerError, match="was not given up"), one.work() as uow:
        uow.ledger.adopt(placed)


def test_two_orders_of_one_name_are_seen_and_step_trading_back(make: Make) -> None:
    one, exchange = losing(make().resending(), lost=1)
    wish = proposal(one)
    one.execute(wish.id)
    exchange._exchange.submit(exchange.requests[0][0])  # a name is free again once its order is filled
    differences = reconciliation.reconcile(one.runtime)
    assert any("is on the exchange only" in line for line in differences)
    with one.work() as uow:
        assert uow.ledger.account(one.runtime.account).trading_state is TradingState.REDUCING
