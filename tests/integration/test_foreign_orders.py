"""What somebody else does with the account: reported once, and left or adopted, by config."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from system import HOUR, RunningVenue, System, empty, proposal, system

from alina.domain.orders import ForeignOrder, Handling, Order, OrderSide, OrderType
from alina.domain.portfolio import CloseReason, TradingState
from alina.errors import LedgerError
from alina.orchestrator import protection, reconciliation, winding_down

Make = Callable[..., System]


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(system, venue, ledger_url)


def adopting(make: Make) -> System:
    return make(execution={"settle_after": "1ms", "resend_max": 0, "foreign_orders": "adopt"})


def order_by_hand(
    one: System, side: OrderSide = OrderSide.BUY, quantity: str = "1", price: str | None = None
) -> str:
    """Somebody trades the account on the exchange itself. The exchange's name of the order."""
    order = Order(
        client_order_id=f"by-hand-{uuid4().hex[:12]}",
        account=one.runtime.account,
        symbol=one.symbol,
        side=side,
        order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
        quantity=Decimal(quantity),
        limit_price=Decimal(price) if price is not None else None,
    )
    return one.exchange.submit(order).exchange_order_id


def counts(one: System) -> dict[str, int]:
    with one.work() as uow:
        return uow.ledger.counts()


def booked(one: System, name: str) -> None:
    """It is reported, then remembered, and then the books agree and alarm no more."""
    line = f"{one.symbol}: order {name} is on the exchange only"
    assert reconciliation.reconcile(one.runtime) == [line]
    assert one.trading_state() is TradingState.REDUCING
    assert reconciliation.reconcile(one.runtime) == [line]
    one.resume()
    assert reconciliation.reconcile(one.runtime) == []
    assert one.trading_state() is TradingState.ACTIVE


def test_an_open_order_of_somebody_else_is_reported_and_left(make: Make) -> None:
    one = make()
    name = order_by_hand(one, price="95")
    booked(one, name)
    assert [placed.exchange_order_id for placed in one.exchange.open_orders(one.symbol)] == [name]
    with one.work() as uow:
        (remembered,) = uow.ledger.foreign_orders(one.runtime.account, one.symbol)
    assert remembered.exchange_order_id == name
    assert str(remembered.client_order_id).startswith("by-hand")
    assert counts(one)["foreign_orders:leave"] == 1
    assert counts(one)["reconciliation_mismatches"] == 2
    winding_down.cancel_open_orders(one.runtime)
    assert one.exchange.open_orders(one.symbol) == []


def test_a_trade_left_alone_explains_the_balances_and_moves_no_position(make: Make) -> None:
    one = make()
    booked(one, order_by_hand(one))
    assert one.held() is None
    with one.work() as uow:
        assert uow.ledger.fills(one.runtime.account, one.symbol) == one.exchange.fills(one.symbol)


def test_a_foreign_order_that_fills_later_is_booked_without_another_alarm(make: Make) -> None:
    one = adopting(make)
    resting = order_by_hand(one, price="95")
    booked(one, resting)
    trade = one.exchange.fills(one.symbol)
    assert trade == []

    class Filling:
        """The exchange, on which the resting order has just been filled at its price."""

        def __init__(self, exchange: Any) -> None:
            self._exchange = exchange

        def __getattr__(self, name: str) -> Any:
            return getattr(self._exchange, name)

        def open_orders(self, symbol: str) -> Any:
            return []

        def fills(self, symbol: str, **more: Any) -> Any:
            return [
                replace(made, exchange_order_id=resting) if made.exchange_order_id == taken else made
                for made in self._exchange.fills(symbol, **more)
            ]

    taken = order_by_hand(one)
    filled = one.with_parts(exchange=Filling(one.exchange))
    assert reconciliation.reconcile(filled.runtime) == []
    assert reconciliation.reconcile(filled.runtime) == []
    assert one.held() is not None


@pytest.mark.parametrize("handling", Handling)
def test_what_was_traded_before_the_account_was_opened_is_in_its_opening_balance(
    make: Make, venue: RunningVenue, engine: Engine, handling: Handling
) -> None:
    before = make()
    order_by_hand(before)
    venue.unused.append(before.symbol)
    one = make(execution={"settle_after": "1ms", "resend_max": 0, "foreign_orders": handling})
    opened_at = one.runtime.clock.now()  # the market stands still: another time is given by hand
    for at, expected in ((opened_at + HOUR, 0), (opened_at, 1)):
        with one.work() as uow:
            assert uow.ledger.opened_at(one.runtime.account) is not None
        with engine.begin() as connection:
            said = text("UPDATE accounts SET opened_at = :at WHERE name = :name")
            connection.execute(said, {"at": at, "name": one.runtime.account})
        assert len(reconciliation.reconcile(one.runtime)) == expected
        assert one.held() is None


def test_an_adopted_buy_opens_a_position_under_the_exits_of_trading(make: Make) -> None:
    one = adopting(make)
    booked(one, order_by_hand(one))
    (trade,) = one.exchange.fills(one.symbol)
    position = one.held()
    assert position is not None
    assert position.quantity == trade.quantity - trade.fee
    assert position.agent == "manual"
    trading = one.runtime.settings.trading
    assert position.stop_price is not None
    assert abs(position.stop_price - trade.price * (1 - trading.stop_loss)) < Decimal("0.02")
    assert position.close_after == trade.executed_at + trading.max_holding
    assert counts(one)["foreign_orders:adopt"] == 1


def test_an_adopted_position_is_closed_by_its_exits_and_no_agent_is_scored_for_it(make: Make) -> None:
    one = make(
        execution={"settle_after": "1ms", "resend_max": 0, "foreign_orders": "adopt"},
        trading={"stop_loss": "0.0001"},
    )
    booked(one, order_by_hand(one))
    protection.propose_exits(one.runtime, one.symbol)
    one.deliver()
    assert one.held() is None
    with one.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
        assert uow.ledger.unevaluated_trades() == []
    assert closed.close_reason is CloseReason.STOP_LOSS
    assert reconciliation.reconcile(one.runtime) == []


def test_an_adopted_buy_extends_our_position_and_an_adopted_sale_closes_it(make: Make) -> None:
    one = adopting(make)
    one.execute(proposal(one).id)
    before = one.held()
    assert before is not None
    booked(one, order_by_hand(one))
    after = one.held()
    assert after is not None
    assert (after.id, after.quantity) == (before.id, before.quantity * 2)
    booked(one, order_by_hand(one, OrderSide.SELL, f"{after.quantity:f}"))
    assert one.held() is None
    with one.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
    assert closed.close_reason is CloseReason.MANUAL
    assert closed.sold_quantity == after.quantity


def test_a_sale_of_more_than_our_position_takes_all_of_it_and_its_part_of_the_proceeds(make: Make) -> None:
    one = make()
    booked(one, order_by_hand(one, quantity="2"))  # left: it is not ours
    one.execute(proposal(one).id)
    position = one.held()
    assert position is not None
    execution = one.runtime.settings.execution.model_copy(update={"foreign_orders": "adopt"})
    one = one.with_parts(settings=one.runtime.settings.model_copy(update={"execution": execution}))
    booked(one, order_by_hand(one, OrderSide.SELL, "2"))
    with one.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
    (sale,) = (made for made in one.exchange.fills(one.symbol) if made.side is OrderSide.SELL)
    assert closed.sold_quantity == position.quantity == Decimal("0.999")
    assert closed.proceeds == (sale.notional - sale.fee) * position.quantity / 2
    assert (closed.quantity, closed.close_reason) == (0, CloseReason.MANUAL)


def test_a_sale_by_hand_without_a_position_of_ours_moves_none(make: Make) -> None:
    one = make()
    booked(one, order_by_hand(one))
    execution = one.runtime.settings.execution.model_copy(update={"foreign_orders": "adopt"})
    one = one.with_parts(settings=one.runtime.settings.model_copy(update={"execution": execution}))
    booked(one, order_by_hand(one, OrderSide.SELL, "0.5"))
    assert one.held() is None


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        (
            "UPDATE fills SET handling = NULL, position_id = NULL",
            "ours_or_foreign|ours_moves_a_position",
        ),
        ("UPDATE fills SET handling = 'leave'", "left_moves_none|fk_fills"),
        ("UPDATE foreign_orders SET handling = 'leave'", "fk_fills"),
        ("UPDATE positions SET adopted_from = NULL", "opened_once"),
        ("UPDATE positions SET adopted_from = 'another'", "fk_positions_adopted_from"),
    ],
)
def test_sql_cannot_store_a_trade_that_is_neither_ours_nor_foreign(
    make: Make, statement: str, constraint: str
) -> None:
    one = adopting(make)
    booked(one, order_by_hand(one))
    with pytest.raises(DBAPIError, match=constraint), one.work() as uow:
        uow.ledger._session.execute(text(statement))


def test_an_order_of_ours_is_never_booked_as_foreign(make: Make) -> None:
    one = make()
    decision = one.execute(proposal(one).id)
    with one.work() as uow:
        known = uow.ledger.order_of(decision.id)
    assert known is not None
    assert known.exchange_order_id is not None
    with pytest.raises(LedgerError, match="is ours"), one.work() as uow:
        uow.ledger.record_foreign_order(
            one.runtime.account,
            ForeignOrder(
                symbol=one.symbol,
                exchange_order_id=known.exchange_order_id,
                side=OrderSide.BUY,
                client_order_id=None,
            ),
            Handling.LEAVE,
        )
