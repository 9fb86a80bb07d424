"""What SQL alone cannot store: the promises hold even against a writer that is not the ledger."""

from collections.abc import Iterator
from decimal import Decimal
from uuid import uuid4

import pytest
from ledger_cases import (
    MARKET,
    NOON,
    SYMBOL,
    approve,
    claim,
    fill,
    order_for,
    placed,
    proposal,
    run,
    trade,
    with_agent,
)
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from alina.db.engine import session_factory, transaction
from alina.domain.decisions import Denied, ReasonCode
from alina.domain.orders import OrderSide, OrderState
from alina.ledger import Ledger

_ORDER = """
    INSERT INTO orders (client_order_id, account, decision_id, verdict, content_hash, symbol, side,
                        order_type, quantity, state)
    VALUES (:id, 'main', :decision, :verdict, :hash, 'BTC/USDT', 'buy', 'market', :quantity, 'submitting')
"""
_POSITION = """
    INSERT INTO positions (id, account, symbol, quantity, bought_quantity, sold_quantity, cost, proceeds,
                           opened_at, opened_by, agent)
    VALUES (:id, 'main', 'BTC/USDT', :left, :bought, 0, 100, 0, now(), :order, 'trading')
"""


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with transaction(session_factory(engine)) as session:
        with_agent(Ledger(session))
        yield session
        session.rollback()


def refused(session: Session, statement: str, **values: object) -> None:
    """The statement must break a constraint; what was there before stays."""
    with pytest.raises(IntegrityError), session.begin_nested():
        session.execute(text(statement), values)


def test_an_order_without_a_decision_cannot_be_stored(session: Session) -> None:
    values = {"id": "al-1", "verdict": "approved", "hash": "0" * 64, "quantity": 1}
    refused(session, _ORDER, decision=uuid4(), **values)


def test_an_order_of_a_denied_proposal_cannot_be_stored(session: Session) -> None:
    ledger, wish = Ledger(session), proposal()
    ledger.save_proposal(wish)
    no = Denied(reason=ReasonCode.COOLDOWN, message="too soon")
    decision = ledger.save_decision(wish, no, snapshot={}, decided_at=NOON)
    for verdict in ("approved", "denied"):
        refused(session, _ORDER, id="al-1", decision=decision.id, verdict=verdict, hash="0" * 64, quantity=1)


def test_an_order_with_another_hash_than_the_approved_one_cannot_be_stored(session: Session) -> None:
    decision = approve(Ledger(session), proposal())
    refused(session, _ORDER, id="al-1", decision=decision.id, verdict="approved", hash="0" * 64, quantity=1)


def test_a_second_order_of_a_decision_cannot_be_stored(session: Session) -> None:
    wish = proposal()
    decision = approve(Ledger(session), wish)
    Ledger(session).claim_order(decision, order_for(wish, decision))
    approval = {"decision": decision.id, "verdict": "approved", "hash": decision.content_hash}
    refused(session, _ORDER, id="al-2", quantity=1, **approval)


@pytest.mark.parametrize("quantity", ["0", "-1", "NaN", "Infinity"])
def test_an_impossible_quantity_cannot_be_stored(session: Session, quantity: str) -> None:
    decision = approve(Ledger(session), proposal())
    approval = {"decision": decision.id, "verdict": "approved", "hash": decision.content_hash}
    refused(session, _ORDER, id="al-1", quantity=Decimal(quantity), **approval)


def test_a_second_decision_of_a_proposal_cannot_be_stored(session: Session) -> None:
    decision = approve(Ledger(session), proposal())
    refused(
        session,
        "INSERT INTO decisions (id, proposal_id, verdict, reason, message, snapshot, decided_at) "
        "VALUES (:id, :proposal, 'denied', 501, '', '{}', now())",
        id=uuid4(),
        proposal=decision.proposal_id,
    )


@pytest.mark.parametrize(
    ("verdict", "reason", "digest"),
    [("approved", None, None), ("denied", None, None), ("approved", None, "1" * 64), ("perhaps", None, None)],
)
def test_a_verdict_that_contradicts_itself_or_its_proposal_cannot_be_stored(
    session: Session, verdict: str, reason: int | None, digest: str | None
) -> None:
    wish = proposal()
    Ledger(session).save_proposal(wish)
    refused(
        session,
        "INSERT INTO decisions (id, proposal_id, verdict, reason, message, content_hash, snapshot, "
        "decided_at) VALUES (:id, :proposal, :verdict, :reason, '', :hash, '{}', now())",
        id=uuid4(),
        proposal=wish.id,
        verdict=verdict,
        reason=reason,
        hash=digest,
    )


@pytest.mark.parametrize(
    "change",
    [
        "filled_quantity = 2",
        "filled_quantity = -1",
        "state = 'vanished'",
        "settled = true",
        "verdict = 'denied'",
        "quantity = 'NaN'",
        "order_type = 'limit'",
    ],
)
def test_an_order_cannot_be_changed_into_nonsense(session: Session, change: str) -> None:
    claim(Ledger(session), proposal())
    refused(session, f"UPDATE orders SET {change}")  # noqa: S608  # a literal of this file


@pytest.mark.parametrize("change", ["quantity = -1", "price = 0", "fee = 'NaN'", "side = 'sell'"])
def test_a_fill_cannot_be_changed_into_nonsense(session: Session, change: str) -> None:
    trade(Ledger(session), proposal())
    refused(session, f"UPDATE fills SET {change}")  # noqa: S608  # a literal of this file


def test_a_trade_of_the_exchange_cannot_be_stored_twice(session: Session) -> None:
    trade(Ledger(session), proposal())
    refused(session, "INSERT INTO fills SELECT * FROM fills")


def test_a_second_open_position_in_a_symbol_cannot_be_stored(session: Session) -> None:
    trade(Ledger(session), proposal())
    other = claim(Ledger(session), proposal())
    refused(session, _POSITION, id=uuid4(), left=1, bought=1, order=other.client_order_id)


def test_a_position_that_does_not_add_up_cannot_be_stored(session: Session) -> None:
    order = claim(Ledger(session), proposal())
    for left, bought in ((2, 1), (-1, -1), (0, 0)):
        refused(session, _POSITION, id=uuid4(), left=left, bought=bought, order=order.client_order_id)


def test_a_position_cannot_be_opened_by_a_sale(session: Session) -> None:
    ledger = Ledger(session)
    trade(ledger, proposal())
    sale = trade(ledger, proposal(OrderSide.SELL), price="90")
    refused(session, _POSITION, id=uuid4(), left=1, bought=1, order=sale.client_order_id)


def test_a_limit_price_without_a_limit_order_cannot_be_stored(session: Session) -> None:
    Ledger(session).save_proposal(proposal())
    refused(session, "UPDATE proposals SET limit_price = 5")
    refused(session, "UPDATE proposals SET confidence = 101")
    refused(session, "UPDATE proposals SET quantity = 0")


def test_a_prompt_cannot_use_another_prompts_revision(session: Session) -> None:
    foreign = Ledger(session).ensure_revision("other", system="", template="", author="person")
    refused(session, "UPDATE prompts SET active_revision_id = :id WHERE name = 'trading'", id=foreign.id)


def test_an_ended_run_has_an_end_time(session: Session) -> None:
    Ledger(session).start_run(run())
    refused(session, "UPDATE runs SET state = 'held'")


def test_an_approved_decision_with_an_order_cannot_be_taken_back(session: Session) -> None:
    order = claim(Ledger(session), proposal())
    Ledger(session).record_placed(placed(order, OrderState.OPEN))
    refused(session, "UPDATE decisions SET verdict = 'denied', reason = 501, content_hash = NULL")
    refused(session, "DELETE FROM decisions")
    assert Ledger(session).record_fills(order.client_order_id, [fill(order, "1")], market=MARKET) == 1
    assert Ledger(session).open_position("main", SYMBOL) is not None
