"""What becomes of an order when the exchange, or the world between decision and order, misbehaves."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from system import HOUR, NOW, RunningVenue, System, empty, proposal, system

from alina.domain.decisions import Approved, Decision, Proposal, ReasonCode, content_hash
from alina.domain.orders import LedgerOrder, Order, OrderSide, OrderState
from alina.domain.portfolio import TradingState
from alina.errors import ExchangeUnavailable
from alina.orchestrator import execution, reconciliation, sweeping

Make = Callable[..., System]
ORDER = ("POST", "/api/v3/order")


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(system, venue, ledger_url)


class Counting:
    """The exchange, counting what it is asked."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self._exchange, name)


class StoppedClock:
    """A clock that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time


def order_of(one: System, decision: Decision) -> LedgerOrder:
    with one.work() as uow:
        order = uow.ledger.order_of(decision.id)
    assert order is not None
    return order


def reserved(one: System) -> Decimal:
    with one.work() as uow:
        return uow.ledger.reserved(one.runtime.account, "USDT")


def bought(one: System) -> Decimal:
    with one.work() as uow:
        return sum(
            (held.bought_quantity for held in uow.ledger.open_positions(one.runtime.account)), Decimal(0)
        )


def set_state(one: System, state: TradingState) -> None:
    with one.work() as uow:
        uow.ledger.set_trading_state(one.runtime.account, state, reason="a drill", at=NOW)


def approved_only(one: System, wish: Proposal, decided_at: datetime = NOW) -> Decision:
    """The decision as a process leaves it that dies before it claims the order."""
    verdict = Approved(content_hash=content_hash(wish), reserve_asset="USDT", reserve_amount=Decimal(200))
    with one.work() as uow:
        return uow.ledger.save_decision(wish, verdict, snapshot={}, decided_at=decided_at)


def test_an_order_whose_answer_was_lost_is_found_and_not_sent_again(make: Make, venue: RunningVenue) -> None:
    one = make()
    one = one.with_parts(exchange=Counting(one.exchange))
    venue.fail("accept_then_drop", *ORDER)
    order = order_of(one, one.execute(proposal(one).id))
    assert (order.state, order.settled) == (OrderState.FILLED, True)
    assert one.exchange.asked.count("submit") == 1
    assert one.on_venue() == 1
    assert reconciliation.reconcile(one.runtime) == []


def test_an_order_that_never_arrived_is_rejected_and_its_money_is_free_again(
    make: Make, venue: RunningVenue
) -> None:
    one = make()
    venue.fail("error_before", *ORDER)
    order = order_of(one, one.execute(proposal(one).id))
    assert (order.state, order.settled) == (OrderState.REJECTED, True)
    assert "never arrived" in order.message
    assert (reserved(one), one.on_venue()) == (0, 0)
    assert reconciliation.reconcile(one.runtime) == []


def test_an_unknown_order_is_left_alone_until_settle_after(make: Make, venue: RunningVenue) -> None:
    one = make(execution={"settle_after": "1h"})
    venue.fail("error_before", *ORDER)
    wish = proposal(one)
    order = order_of(one, one.execute(wish.id))
    assert (order.state, order.settled) == (OrderState.SUBMITTING, False)
    assert reserved(one) > 0
    one.execute(wish.id)
    reconciliation.reconcile(one.runtime)
    assert order_of(one, one.execute(wish.id)).state is OrderState.SUBMITTING
    assert one.on_venue() == 0


def test_an_exchange_that_is_away_leaves_the_proposal_undecided(make: Make, venue: RunningVenue) -> None:
    one = make()
    wish = proposal(one)
    venue.fail("error_before", "GET", "/api/v3/ticker/24hr")
    with pytest.raises(ExchangeUnavailable):
        one.execute(wish.id)
    with one.work() as uow:
        assert uow.ledger.decision_of(wish.id) is None
    assert one.execute(wish.id).verdict == "approved"
    assert one.on_venue() == 1


def test_fills_that_cannot_be_read_are_recorded_later(make: Make, venue: RunningVenue) -> None:
    one = make()
    wish = proposal(one)
    venue.fail("error_before", "GET", "/api/v3/myTrades")
    with pytest.raises(ExchangeUnavailable):
        one.execute(wish.id)
    with one.work() as uow:
        (pending,) = uow.ledger.unsettled_orders()
    assert (pending.state, pending.settled) == (OrderState.FILLED, False)
    assert reconciliation.reconcile(one.runtime) == []
    assert order_of(one, one.execute(wish.id)).settled
    assert one.on_venue() == 1


def test_an_order_whose_trades_are_listed_late_is_settled_with_them_and_not_before(
    make: Make, venue: RunningVenue
) -> None:
    one = make()
    venue.fail("delayed_trades", *ORDER, hidden_seconds="1")
    decision = one.execute(proposal(one).id)
    deadline = time.monotonic() + 200
    while not (order := order_of(one, decision)).settled:
        assert (order.state, bought(one)) == (OrderState.FILLED, 0)
        assert time.monotonic() < deadline
        assert reconciliation.reconcile(one.runtime) == []
    assert bought(one) == order.filled_quantity * Decimal("0.999")  # less the fee
    assert one.on_venue() == 1


def test_an_order_the_exchange_refuses_is_final_and_frees_its_money(make: Make) -> None:
    one = make()

    class Refusing(Counting):
        """Whatever is ordered, the venue is asked for less than it takes."""

        def submit(self, order: Order, **more: Any) -> Any:
            return self._exchange.submit(replace(order, quantity=Decimal("0.00001")), **more)

    one = one.with_parts(exchange=Refusing(one.exchange))
    order = order_of(one, one.execute(proposal(one).id))
    assert (order.state, order.settled, reserved(one), one.on_venue()) == (OrderState.REJECTED, True, 0, 0)


def test_a_late_approval_is_carried_out_while_it_stands(make: Make) -> None:
    one = make()
    wish = proposal(one)
    approved_only(one, wish)
    sweeping.sweep(one.runtime)
    assert ("trading.execute_proposal", str(wish.id)) in one.sent
    one.deliver()
    assert one.on_venue() == 1


def test_an_approval_older_than_its_price_is_not_carried_out(make: Make) -> None:
    one = make()
    wish = proposal(one)
    decision = approved_only(one, wish, decided_at=NOW - one.runtime.settings.risk.max_price_age * 2)
    one.execute(wish.id)
    order = order_of(one, decision)
    assert (order.state, order.settled) == (OrderState.REJECTED, True)
    assert order.message.startswith("not sent: approved")
    assert (reserved(one), one.on_venue()) == (0, 0)


@pytest.mark.parametrize("state", [TradingState.HALTED, TradingState.REDUCING])
def test_an_entry_approved_before_trading_was_stopped_is_not_sent_after_it(
    make: Make, state: TradingState
) -> None:
    one = make()
    wish = proposal(one)
    decision = approved_only(one, wish)
    set_state(one, state)
    one.execute(wish.id)
    assert order_of(one, decision).message == f"not sent: trading state is {state.value}"
    assert one.on_venue() == 0


def test_an_exit_approved_before_reducing_is_still_sent(make: Make) -> None:
    one = make()
    one.execute(proposal(one).id)
    with one.work() as uow:
        position = uow.ledger.open_position(one.runtime.account, one.symbol)
    assert position is not None
    sale = proposal(one, OrderSide.SELL, quantity=f"{position.quantity:f}")
    verdict = Approved(
        content_hash=content_hash(sale),
        reserve_asset=one.symbol.split("/")[0],
        reserve_amount=sale.quantity,
    )
    with one.work() as uow:
        uow.ledger.save_decision(sale, verdict, snapshot={}, decided_at=NOW)
    set_state(one, TradingState.REDUCING)
    one.execute(sale.id)
    assert one.on_venue() == 2


def test_halted_denies_and_a_stale_market_denies(make: Make) -> None:
    one = make()
    set_state(one, TradingState.HALTED)
    assert one.execute(proposal(one).id).reason is ReasonCode.TRADING_HALTED
    set_state(one, TradingState.ACTIVE)
    late = one.with_parts(clock=StoppedClock(NOW + HOUR))
    stale = late.execute(proposal(one, expires_at=NOW + 2 * HOUR).id)
    assert stale.reason is ReasonCode.STALE_PRICE
    assert late.execute(proposal(one, expires_at=NOW).id).reason is ReasonCode.PROPOSAL_EXPIRED
    assert one.on_venue() == 0


def test_a_second_entry_within_the_cooldown_and_a_second_position_are_denied(make: Make) -> None:
    one = make(risk={"cooldown": "1h"})
    assert one.execute(proposal(one).id).verdict == "approved"
    again = one.execute(proposal(one).id)
    assert again.reason is ReasonCode.POSITION_ALREADY_OPEN
    other = make(risk={"cooldown": "1h"})
    wish = proposal(other)
    approved_only(other, wish)  # not filled, but an entry all the same
    assert other.execute(proposal(other).id).reason is ReasonCode.COOLDOWN


def test_what_is_reserved_cannot_be_spent_twice(make: Make) -> None:
    one = make(risk={"max_trade_amount": "10000000", "cooldown": "1ms"}, execution={"settle_after": "1h"})
    wish = proposal(one)
    free = one.exchange.balances()["USDT"].free
    verdict = Approved(content_hash=content_hash(wish), reserve_asset="USDT", reserve_amount=free - 50)
    with one.work() as uow:
        uow.ledger.save_decision(wish, verdict, snapshot={}, decided_at=NOW - HOUR)
    assert one.execute(proposal(one).id).reason is ReasonCode.INSUFFICIENT_BALANCE


def test_a_contradiction_is_reported_and_stops_no_other_settlement(make: Make, venue: RunningVenue) -> None:
    one = make(execution={"settle_after": "1h"}).with_parts(checks=())
    for _ in range(2):
        venue.fail("error_before", "GET", "/api/v3/myTrades")
        with pytest.raises(ExchangeUnavailable):
            one.execute(proposal(one).id)
    with one.work() as uow:
        first, _ = uow.ledger.unsettled_orders()

    class Lying(Counting):
        """Says that the first order's trades are twice as large as they were."""

        def fills(self, symbol: str, **more: Any) -> Any:
            found = self._exchange.fills(symbol, **more)
            return [
                replace(fill, quantity=fill.quantity * 2)
                if fill.exchange_order_id == first.exchange_order_id
                else fill
                for fill in found
            ]

    lied_to = one.with_parts(exchange=Lying(one.exchange))
    differences = reconciliation.reconcile(lied_to.runtime)
    assert any("its fills add up to" in line for line in differences)
    assert one.trading_state() is TradingState.REDUCING
    with one.work() as uow:
        (left,) = uow.ledger.unsettled_orders()
    assert left.order == first.order
    execution.settle_all(one.runtime)
    with one.work() as uow:
        assert uow.ledger.unsettled_orders() == []


def test_an_executor_settles_the_orders_of_its_own_account_only(make: Make, venue: RunningVenue) -> None:
    one, other = make(), make()
    venue.fail("error_before", "GET", "/api/v3/myTrades")
    with pytest.raises(ExchangeUnavailable):
        other.execute(proposal(other).id)
    execution.settle_all(one.runtime)
    with one.work() as uow:
        (left,) = uow.ledger.unsettled_orders()
    assert left.order.account == other.runtime.account
