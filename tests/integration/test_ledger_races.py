"""Two sessions at once: whoever is second finds the first one's row, and nobody waits in a circle."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TypeVar

import pytest
from ledger_cases import (
    MARKET,
    NOON,
    SYMBOL,
    approve,
    approved,
    claim,
    empty,
    fill,
    order_for,
    placed,
    proposal,
    run,
    with_agent,
)
from sqlalchemy import Engine, NullPool, text
from sqlalchemy.orm import Session, sessionmaker

from alina.db.engine import make_engine, session_factory, transaction
from alina.domain.activity import ActivityQuery
from alina.domain.orders import OrderState
from alina.domain.portfolio import TradingState
from alina.errors import ConfigError, DatabaseUnavailable, TransientError
from alina.ledger import Ledger
from alina.ledger.exposure import Standing

T = TypeVar("T")
Factory = sessionmaker[Session]


@pytest.fixture
def factory(engine: Engine) -> Factory:
    empty(engine)
    factory = session_factory(engine)
    with transaction(factory) as session:
        with_agent(Ledger(session))
    return factory


def at_once(factory: Factory, work: Callable[[Ledger], T], sessions: int = 4) -> list[T]:
    """The work in several transactions that begin together; what each one answered."""
    barrier = Barrier(sessions)

    def in_one_transaction(_: int) -> T:
        with transaction(factory) as session:
            session.connection()
            barrier.wait(timeout=200)
            return work(Ledger(session))

    with ThreadPoolExecutor(sessions) as pool:
        return list(pool.map(in_one_transaction, range(sessions)))


def test_racing_decisions_are_one_decision_with_one_reservation(factory: Factory) -> None:
    wish = proposal()
    with transaction(factory) as session:
        Ledger(session).save_proposal(wish)
    decisions = at_once(
        factory,
        lambda ledger: ledger.save_decision(wish, approved(wish), snapshot={}, decided_at=NOON),
    )
    assert len({decision.id for decision in decisions}) == 1
    with transaction(factory) as session:
        assert Ledger(session).reserved("main", "USDT") == 101


def test_racing_claims_have_exactly_one_winner(factory: Factory) -> None:
    wish = proposal()
    with transaction(factory) as session:
        decision = approve(Ledger(session), wish)
    order = order_for(wish, decision)
    won = at_once(factory, lambda ledger: ledger.claim_order(decision, order))
    assert sorted(won) == [False, False, False, True]


def test_racing_records_of_the_same_fills_move_the_position_once(factory: Factory) -> None:
    with transaction(factory) as session:
        order = claim(Ledger(session), proposal())
        Ledger(session).record_placed(placed(order, OrderState.FILLED, "1"))
    fills = [fill(order, "0.4", "1"), fill(order, "0.6", "2")]
    new = at_once(factory, lambda ledger: ledger.record_fills(order.client_order_id, fills, market=MARKET))
    assert sorted(new) == [0, 0, 0, 2]
    with transaction(factory) as session:
        position = Ledger(session).open_position("main", SYMBOL)
        assert position is not None
        assert position.quantity == 1


def test_racing_starts_of_one_key_are_one_run(factory: Factory) -> None:
    runs = at_once(factory, lambda ledger: ledger.start_run(run("k")))
    assert len({started.id for started in runs}) == 1


def test_racing_first_revisions_get_their_own_numbers(factory: Factory) -> None:
    words = iter("abcd")
    revisions = at_once(
        factory,
        lambda ledger: ledger.ensure_revision("p", system=next(words), template="", author="person"),
    )
    assert sorted(revision.number for revision in revisions) == [1, 2, 3, 4]


def test_nothing_is_stored_after_an_error(factory: Factory) -> None:
    def die_after_storing() -> None:
        with transaction(factory) as session:
            Ledger(session).save_proposal(proposal())
            raise RuntimeError("died")

    with pytest.raises(RuntimeError, match="died"):
        die_after_storing()
    with transaction(factory) as session:
        assert Ledger(session).counts()["proposals"] == 0


def test_a_proposal_can_be_stored_while_the_account_is_locked(factory: Factory) -> None:
    with transaction(factory) as holder:
        Ledger(holder).lock_account("main")
        with transaction(factory) as other:
            other.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert Ledger(other).save_proposal(proposal())


def test_a_lock_that_is_not_given_is_worth_a_repeat(factory: Factory) -> None:
    def lock_impatiently() -> None:
        with transaction(factory) as session:
            session.execute(text("SET LOCAL lock_timeout = '50ms'"))
            Ledger(session).lock_account("main")

    with transaction(factory) as holder:
        Ledger(holder).lock_account("main")
        with pytest.raises(TransientError, match="stayed locked"):
            lock_impatiently()


def test_a_connection_that_breaks_is_a_database_that_is_unavailable(factory: Factory) -> None:
    def lose_the_connection() -> None:
        with transaction(factory) as session:
            pid = session.scalar(text("SELECT pg_backend_pid()"))
            with transaction(factory) as killer:
                killer.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            session.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable, match="alina up"):
        lose_the_connection()
    with transaction(factory) as session:  # the pool does not hand out the broken one again
        assert session.scalar(text("SELECT 1")) == 1


def test_a_connection_that_broke_while_it_was_idle_is_not_used_again(engine: Engine) -> None:
    pooled = make_engine(engine.url.render_as_string(hide_password=False), trusted_seconds=0)
    with pooled.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
    with engine.begin() as killer:
        assert killer.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    with pooled.connect() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != pid
    pooled.dispose()


def test_times_are_utc_whatever_the_server_prefers(factory: Factory) -> None:
    with transaction(factory) as session:
        assert session.scalar(text("SHOW timezone")) == "UTC"
        order = claim(Ledger(session), proposal())
        assert Ledger(session).order(order.client_order_id).created_at.utcoffset() is not None


def test_an_unreachable_server_is_named_with_its_remedy() -> None:
    engine = make_engine("postgresql://alina@127.0.0.1:1/alina", poolclass=NullPool)
    with (
        pytest.raises(DatabaseUnavailable, match="ALINA_DATABASE_URL"),
        transaction(session_factory(engine)) as session,
    ):
        session.connection()


@pytest.mark.parametrize("url", ["sqlite://", "mysql://host/db", "not a url"])
def test_another_database_is_refused_with_the_form_to_write(url: str) -> None:
    with pytest.raises(ConfigError, match="postgresql://"):
        make_engine(url)


def test_what_waits_for_the_lock_counts_what_was_reserved_meanwhile(factory: Factory) -> None:
    query = ActivityQuery(
        account="main",
        agent="trading",
        symbol=SYMBOL,
        side="buy",
        now=NOON,
        lookback=timedelta(hours=1),
        recent=timedelta(hours=1),
    )

    def count() -> Standing:
        with transaction(factory) as session:
            return Ledger(session).locked_standing(query, proposal().id)

    with ThreadPoolExecutor(1) as pool:
        with transaction(factory) as holder:
            Ledger(holder).lock_account("main")
            counted = pool.submit(count)
            wait_until_somebody_waits(factory)
            approve(Ledger(holder), proposal())
            Ledger(holder).lower_system_state(TradingState.HALTED, reason="a drill", at=NOON)
        standing = counted.result()
    assert standing.activity.reserved_quote == 101
    assert standing.account.trading_state is TradingState.HALTED


def wait_until_somebody_waits(factory: Factory) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        with transaction(factory) as session:
            if session.scalar(waiting):
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")
