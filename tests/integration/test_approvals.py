"""A large entry waits for a person, and is reviewed again before any order."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID, uuid5

import pytest
from cli_command import InProcess, Said
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import IntegrityError
from system import (
    NOW,
    RunningVenue,
    System,
    empty,
    proposal,
    settings_for,
    system,
)

from alina.domain.decisions import ReasonCode, content_hash
from alina.domain.orders import OrderSide
from alina.domain.portfolio import TradingState
from alina.errors import LedgerError
from alina.orchestrator import sweeping

Command = Callable[..., Said]
MINUTE = timedelta(minutes=1)
TINY = {"approval_above": "0.01"}
LARGE = {"approval_above": "150", "approval_ttl": "10m"}


@pytest.fixture
def one(venue: RunningVenue, ledger_url: str) -> System:
    empty(ledger_url)
    return system(venue, ledger_url, risk=LARGE)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: datetime) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time


def answer(one: System, decision_id: UUID, word: str = "approved", by: str = "dana") -> None:
    with one.work() as uow:
        uow.ledger.answer_approval(decision_id, word, by=by)


def test_an_entry_above_the_threshold_waits_and_is_ordered_only_once_somebody_agreed(one: System) -> None:
    wish = proposal(one, quantity="2")
    asked = one.execute(wish.id)
    assert (asked.verdict, asked.content_hash) == ("needs_approval", None)
    assert one.execute(wish.id) == asked
    with one.work() as uow:
        (waiting,) = uow.ledger.open_approvals()
        assert uow.ledger.reserved(one.runtime.account, "USDT") == 0
    assert waiting.content_hash == content_hash(wish)
    assert waiting.expires_at == NOW + 10 * MINUTE
    assert one.on_venue() == 0

    answer(one, asked.id)
    agreed = one.execute(wish.id)
    assert (agreed.id, agreed.verdict) == (asked.id, "approved")
    assert agreed.content_hash == content_hash(wish)
    assert one.execute(wish.id) == agreed
    assert one.on_venue() == 1
    with one.work() as uow:
        assert uow.ledger.open_approvals() == []


def test_small_entries_and_every_exit_pass_without_anybody(one: System) -> None:
    assert one.execute(proposal(one, quantity="1").id).verdict == "approved"
    cautious = settings_for(one.runtime.settings.data_folder, one.symbol, one.runtime.account, risk=TINY)
    one = one.with_parts(settings=cautious)
    assert one.execute(proposal(one, OrderSide.SELL, quantity="0.9").id).verdict == "approved"


def test_a_refusal_is_final(one: System) -> None:
    asked = one.execute(proposal(one, quantity="2").id)
    answer(one, asked.id, "denied")
    decision = one.execute(asked.proposal_id)
    assert (decision.verdict, decision.reason) == ("denied", ReasonCode.APPROVAL_REFUSED)
    assert "dana" in decision.message
    with pytest.raises(LedgerError, match="final"):
        answer(one, asked.id, "approved")
    assert one.on_venue() == 0


@pytest.mark.parametrize("answered", [True, False])
def test_an_answer_that_comes_too_late_or_never_is_a_denial(one: System, answered: bool) -> None:
    clock = Clock(NOW)
    one = one.with_parts(clock=clock)
    asked = one.execute(proposal(one, quantity="2").id)
    if answered:
        answer(one, asked.id)
    clock.time = NOW + 10 * MINUTE + timedelta(microseconds=1)
    decision = one.execute(asked.proposal_id)
    assert (decision.verdict, decision.reason) == ("denied", ReasonCode.APPROVAL_EXPIRED)
    assert one.on_venue() == 0


def test_what_was_agreed_to_meets_every_check_again(one: System) -> None:
    asked = one.execute(proposal(one, quantity="2").id)
    answer(one, asked.id)
    with one.work() as uow:
        uow.ledger.set_trading_state(one.runtime.account, TradingState.REDUCING, reason="a drill", at=NOW)
    decision = one.execute(asked.proposal_id)
    assert (decision.verdict, decision.reason) == ("denied", ReasonCode.TRADING_REDUCING)
    assert one.on_venue() == 0


def test_the_sweeper_finds_what_was_answered_while_the_broker_was_away(one: System) -> None:
    asked = one.execute(proposal(one, quantity="2").id)
    answer(one, asked.id)
    sweeping.sweep(one.runtime)
    assert ("trading.execute_proposal", str(asked.proposal_id)) in one.sent


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decisions SET verdict = 'approved', content_hash = '{hash}' WHERE id = '{id}'",
        "UPDATE approvals SET content_hash = repeat('0', 64)",
        "UPDATE approvals SET expires_at = 'infinity'",
        "UPDATE approvals SET answer = 'approved'",
    ],
)
def test_sql_alone_cannot_agree(one: System, ledger_url: str, statement: str) -> None:
    wish = proposal(one, quantity="2")
    asked = one.execute(wish.id)
    with (
        create_engine(ledger_url, poolclass=NullPool).connect() as connection,
        pytest.raises(IntegrityError),
    ):
        connection.execute(text(statement.format(hash=content_hash(wish), id=asked.id)))


def test_an_answer_never_changes(one: System, ledger_url: str) -> None:
    asked = one.execute(proposal(one, quantity="2").id)
    answer(one, asked.id, "denied")
    with (
        create_engine(ledger_url, poolclass=NullPool).connect() as connection,
        pytest.raises(IntegrityError, match="answered once"),
    ):
        connection.execute(text("UPDATE approvals SET answer = 'approved'"))


@pytest.fixture
def command(
    one: System,
    ledger_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    """A person's commands for the account, without a broker."""
    (tmp_path / "config.yaml").write_text(json.dumps({"system": {"account": one.runtime.account}}))
    servers = {"ALINA_DATABASE_URL": ledger_url, "ALINA_REDIS_URL": "redis://127.0.0.1:1/0"}
    return partial(InProcess(tmp_path, monkeypatch, capsys), env=servers)


def test_a_person_lists_and_answers_by_the_command(one: System, command: Command) -> None:
    asked = one.execute(proposal(one, quantity="2").id)
    short = str(asked.id)[:8]
    assert short in command("approvals").out
    (listed,) = command("approvals", "list", "--json").json
    assert listed["proposal"]["symbol"] == one.symbol

    refused = command("approvals", "approve", short, "--by", "d" * 201)
    assert (refused.code, "at most 200 characters" in refused.err) == (2, True)
    said = command("approvals", "approve", short, "--by", "dana", "--json")
    assert (said.json["approval"]["answer"], said.json["approval"]["answered_by"]) == ("approved", "dana")
    assert said.json["sent"] is False  # no broker: the sweeper will
    assert one.execute(asked.proposal_id).verdict == "approved"
    again = command("approvals", "deny", short)
    assert again.code == 2
    assert "an answer is final" in again.err
    unknown = command("approvals", "deny", "000000")
    assert (unknown.code, "`alina approvals` shows" in unknown.err) == (2, True)


def test_digits_that_a_person_read_do_not_approve_what_took_their_place(
    one: System, command: Command
) -> None:
    shown, forged = _alike()
    first = one.execute(proposal(one, quantity="2", id=shown).id)
    answer(one, first.id, "denied")
    assert one.execute(shown).verdict == "denied"
    second = one.execute(proposal(one, quantity="3", id=forged).id)
    assert second.verdict == "needs_approval"

    refused = command("approvals", "approve", str(first.id)[:6])
    assert (refused.code, "begins 2 decisions" in refused.err) == (2, True)
    assert command("approvals", "approve", str(second.id)).code == 0


def _alike() -> tuple[UUID, UUID]:
    """Two proposals whose decisions' ids begin alike, as an agent finds them."""
    seen: dict[str, UUID] = {}
    for number in range(100_000):
        digits = str(uuid5(UUID(int=number), "decision"))[:6]
        if digits in seen:
            return seen[digits], UUID(int=number)
        seen[digits] = UUID(int=number)
    raise AssertionError("no two of 100,000 begin alike")
