"""What an approval may spend is held from the decision on, and given back exactly once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, text
from system import NOW, RunningVenue, System, empty, proposal, system

from alina.domain.decisions import Approved, Decision, Proposal, content_hash
from alina.domain.orders import OrderState
from alina.errors import LedgerError
from alina.orchestrator import execution, reconciliation, sweeping

Make = Callable[..., System]


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(system, venue, ledger_url)


def approved(one: System, wish: Proposal, age: timedelta = timedelta(0)) -> Decision:
    """The decision as a process leaves it that dies before it claims the order."""
    verdict = Approved(content_hash=content_hash(wish), reserve_asset="USDT", reserve_amount=Decimal(200))
    with one.work() as uow:
        return uow.ledger.save_decision(wish, verdict, snapshot={}, decided_at=NOW - age)


def too_old(one: System) -> timedelta:
    return one.runtime.settings.risk.max_price_age * 2


def edited(one: System, url: str, wish: Proposal, quantity: str) -> None:
    """Past the trigger that forbids it, which only the owner can switch off."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        connection.execute(text("ALTER TABLE proposals DISABLE TRIGGER USER"))
        change = text("UPDATE proposals SET quantity = :quantity WHERE id = :id")
        connection.execute(change, {"quantity": quantity, "id": wish.id})
        connection.execute(text("ALTER TABLE proposals ENABLE TRIGGER USER"))


def reserved(one: System) -> Decimal:
    with one.work() as uow:
        return uow.ledger.reserved(one.runtime.account, "USDT")


def swept(one: System) -> list[Any]:
    sweeping.sweep(one.runtime)
    sent, one.sent[:] = [message for message in one.sent if message[0] == "trading.execute_proposal"], []
    return sent


def test_an_approval_that_nobody_claimed_in_time_ends_once_as_an_order_not_sent(make: Make) -> None:
    one = make()
    wish = proposal(one)
    decision = approved(one, wish, age=too_old(one))
    assert reserved(one) == 200
    for _ in range(3):
        one.execute(wish.id)
        with one.work() as uow:
            order = uow.ledger.order_of(decision.id)
        assert order is not None
        assert (order.state, order.settled, reserved(one)) == (OrderState.REJECTED, True, 0)
        assert order.message.startswith("not sent")
    assert (swept(one), one.on_venue()) == ([], 0)


def test_an_approval_of_what_was_edited_is_given_up_once_it_is_too_old(make: Make, ledger_url: str) -> None:
    one = make()
    wish = proposal(one)
    decision = approved(one, wish, age=too_old(one))
    edited(one, ledger_url, wish, "2")
    assert swept(one) == [("trading.execute_proposal", str(wish.id))]
    with pytest.raises(LedgerError, match="is not what decision"):
        one.execute(wish.id)
    assert (swept(one), reserved(one)) == ([], 0)
    edited(one, ledger_url, wish, f"{wish.quantity}")  # nor is it carried out later
    with pytest.raises(LedgerError, match="was given up"):
        one.execute(wish.id)
    with one.work() as uow:
        assert uow.ledger.order_of(decision.id) is None
    assert (one.on_venue(), reserved(one)) == (0, 0)


def test_until_then_it_is_held_and_carried_out_once_it_is_put_right(make: Make, ledger_url: str) -> None:
    one = make()
    wish = proposal(one)
    approved(one, wish)
    edited(one, ledger_url, wish, "2")
    with pytest.raises(LedgerError, match="is not what decision"):
        one.execute(wish.id)
    assert reserved(one) == 200
    edited(one, ledger_url, wish, f"{wish.quantity}")
    assert swept(one) == [("trading.execute_proposal", str(wish.id))]
    one.execute(wish.id)
    assert (one.on_venue(), reserved(one)) == (1, 0)


def test_of_many_who_give_an_approval_up_one_does(make: Make) -> None:
    one = make()
    decision = approved(one, proposal(one))

    def give_up(_: int) -> bool:
        with one.work() as uow:
            return uow.ledger.give_up_approval(decision.id)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(give_up, range(8))) == 1
    assert reserved(one) == 0


def test_what_was_claimed_cannot_be_given_up(make: Make) -> None:
    one = make()
    decision = one.execute(proposal(one).id)
    with one.work() as uow:
        assert not uow.ledger.give_up_approval(decision.id)


def test_a_settled_reservation_stays_settled_whatever_is_repeated(make: Make) -> None:
    one = make()
    wish = proposal(one)
    decision = one.execute(wish.id)
    for _ in range(2):
        one.execute(wish.id)
        execution.settle_all(one.runtime)
        assert reconciliation.reconcile(one.runtime) == []
        with one.work() as uow:
            states = uow.ledger._session.execute(
                text("SELECT state FROM reservations WHERE decision_id = :id"), {"id": decision.id}
            )
            assert states.scalars().all() == ["settled"]
    assert one.on_venue() == 1
