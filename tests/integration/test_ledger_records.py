"""Accounts, prompts, runs and experiments in the ledger."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from ledger_cases import HOUR, IN_POSTGRES, NOON, closed_position, proposal, run

from alina.domain.evaluation import CasePart, Evaluation, Experiment, ExperimentCase, ExperimentState
from alina.domain.market import Balance
from alina.domain.portfolio import AccountState, Equity, TradingState
from alina.domain.runs import (
    Completion,
    CompletionRequest,
    Message,
    ModelCall,
    ModelIdentity,
    Run,
    RunState,
)
from alina.errors import LedgerError
from alina.ledger import Ledger

NOW = timedelta(0)


def call(attempt: int = 1, **request: Any) -> ModelCall:
    identity = ModelIdentity(
        name="smol", backend="llama_cpp", sha256="a" * 64, build="1", context_length=2048, threads=1
    )
    # keys in an order that jsonb would change
    schema = {"type": "object", "properties": {"zeta": {"enum": ["buy"]}, "a": {"type": "integer"}}}
    values: dict[str, Any] = {
        "messages": (Message("system", "Trade."), Message("user", "Now \u20ac?")),
        "json_schema": schema,
        "max_tokens": 160,
        "temperature": Decimal("0.7"),
        "seed": 2**40,
        "deadline_seconds": Decimal("60.5"),
    }
    return ModelCall(
        attempt=attempt,
        request=CompletionRequest(**values | request),
        completion=Completion(
            text='{"zeta": "buy"}',
            model=identity,
            prompt_tokens=100,
            completion_tokens=20,
            elapsed_ms=400,
            finish_reason="stop",
        ),
    )


def ended(ledger: Ledger, started: Run, **changes: Any) -> Run:
    end: dict[str, Any] = {
        "state": RunState.HELD,
        "summary": "nothing to do",
        "prompt_revision_id": ledger.active_revision("trading").id,
        "context": {"rsi": "55", "actions": ["buy", "hold"], "a": {"z": 1, "b": 2}},
        "fact_ids": (uuid4(), uuid4()),
        "calls": (call(1), call(2, json_schema=None)),
    }
    return replace(started, **end | changes)


def test_an_account_begins_active_and_ensuring_it_again_changes_nothing(ledger: Ledger) -> None:
    ledger.set_trading_state("main", TradingState.HALTED, reason="by hand", at=NOON)
    ledger.ensure_account("main")
    ledger.ensure_account("other")
    halted = AccountState(name="main", trading_state=TradingState.HALTED, reason="by hand")
    assert ledger.account("main") == ledger.lock_account("main") == halted
    assert ledger.account("other").trading_state is TradingState.ACTIVE


def test_an_unknown_account_is_an_error_and_not_a_default(ledger: Ledger) -> None:
    for ask in (ledger.account, ledger.lock_account):
        with pytest.raises(LedgerError, match="account 'ghost' is not in the ledger"):
            ask("ghost")
    with pytest.raises(LedgerError):
        ledger.set_trading_state("ghost", TradingState.ACTIVE, reason="", at=NOON)


def test_balances_are_replaced_and_their_opening_is_kept(ledger: Ledger) -> None:
    def balance(asset: str, free: str, locked: str = "0") -> Balance:
        return Balance(asset=asset, free=Decimal(free), locked=Decimal(locked))

    assert ledger.balances("main") == {}
    ledger.record_balances("main", {"USDT": balance("USDT", "900", "100")}, at=NOON)
    later = {"BTC": balance("BTC", "1.5"), "USDT": balance("USDT", "850")}
    ledger.record_balances("main", later, at=NOON + HOUR)
    assert ledger.balances("main") == later
    opening = ledger.opening_balances("main")
    assert {asset: held.total for asset, held in opening.items()} == {"BTC": 0, "USDT": 1000}

    ledger.record_balances("main", {"USDT": balance("USDT", "1000")}, at=NOON + HOUR)
    assert ledger.balances("main")["BTC"].total == 0


def test_the_last_equity_of_a_moment_stays_and_the_curve_is_oldest_first(ledger: Ledger) -> None:
    first = Equity(account="main", as_of=NOON, cash=Decimal(1), holdings=Decimal(2))
    later = replace(first, as_of=NOON + HOUR)
    for equity in (later, first, replace(first, cash=Decimal("1.10"))):
        ledger.record_equity(equity)
    assert ledger.equity_curve("main") == [replace(first, cash=Decimal("1.10")), later]
    assert ledger.equity_curve("main", since=NOON + HOUR) == [later]


def test_the_first_revision_of_a_prompt_is_active_and_later_ones_wait(ledger: Ledger) -> None:
    first = ledger.active_revision("trading")
    second = ledger.ensure_revision(
        "trading", system="Better.", template="x", author="optimizer", parent_id=first.id
    )
    assert (first.number, second.number, second.parent_id) == (1, 2, first.id)
    assert ledger.active_revision("trading") == first
    assert ledger.revisions("trading") == [second, first]

    ledger.activate_revision("trading", second.id)
    assert ledger.active_revision("trading") == second == ledger.revision(second.id)


def test_the_same_words_are_the_same_revision_whoever_writes_them(ledger: Ledger) -> None:
    first = ledger.active_revision("trading")
    again = ledger.ensure_revision(
        "trading", system=first.system, template=first.template, author="optimizer"
    )
    assert again == first


def test_a_revision_of_another_prompt_cannot_be_activated(ledger: Ledger) -> None:
    foreign = ledger.ensure_revision("other", system="", template="", author="person")
    with pytest.raises(LedgerError, match="not of prompt 'trading'"):
        ledger.activate_revision("trading", foreign.id)
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.active_revision("ghost")
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.revision(uuid4())


def test_an_agent_may_come_before_its_prompt_has_a_revision(ledger: Ledger) -> None:
    ledger.ensure_agent("scout", kind="MonitoringAgent", prompt="scouting")
    ledger.ensure_agent("scout", kind="TradingAgent", prompt="trading")
    assert ledger.start_run(run("k", agent="scout")).agent == "scout"


def test_starting_a_key_again_gives_the_stored_run(ledger: Ledger) -> None:
    started = ledger.start_run(run("k"))
    assert started.state is RunState.STARTED
    assert ledger.has_run("k")
    assert not ledger.has_run("other")
    assert ledger.start_run(run("k", as_of=NOON + HOUR)) == started
    with pytest.raises(LedgerError, match="derive ids from keys"):
        ledger.start_run(replace(started, key="another"))
    with pytest.raises(LedgerError, match="start it as started"):
        ledger.start_run(run("j", state=RunState.HELD))


def test_a_finished_run_is_read_back_to_the_letter(ledger: Ledger) -> None:
    end = ended(ledger, ledger.start_run(run("k")))
    ledger.finish_run(end)
    stored = ledger.run(end.id)
    assert stored == end == ledger.lock_run(end.id)
    schema = stored.calls[0].request.json_schema
    assert schema is not None
    assert list(schema["properties"]) == ["zeta", "a"]
    assert list(stored.context) == ["rsi", "actions", "a"]
    assert list(stored.context["a"]) == ["z", "b"]


def test_finishing_a_run_again_is_allowed_with_the_same_content_only(ledger: Ledger) -> None:
    end = ended(ledger, ledger.start_run(run("k")), context={"times": (NOON, Decimal("1.0"))})
    ledger.finish_run(end)
    ledger.finish_run(end)
    with pytest.raises(LedgerError, match="another state, summary"):
        ledger.finish_run(replace(end, state=RunState.FAILED, summary="timed out"))
    with pytest.raises(LedgerError, match="another calls"):
        ledger.finish_run(replace(end, calls=end.calls[:1]))


def test_a_run_cannot_end_as_started_or_as_another_run(ledger: Ledger) -> None:
    started = ledger.start_run(run("k"))
    with pytest.raises(LedgerError, match="cannot end as started"):
        ledger.finish_run(started)
    with pytest.raises(LedgerError, match="was started as k"):
        ledger.finish_run(ended(ledger, started, symbol="ETH/USDT"))
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.finish_run(ended(ledger, run("unknown")))


def test_runs_are_found_by_agent_symbol_time_and_state_newest_first(ledger: Ledger) -> None:
    old = ledger.start_run(run("1"))
    new = ledger.start_run(run("2", as_of=NOON + HOUR))
    ether = ledger.start_run(run("3", symbol="ETH/USDT", as_of=NOON + 2 * HOUR))
    ledger.finish_run(ended(ledger, ether, state=RunState.FAILED))
    assert [found.key for found in ledger.runs()] == ["3", "2", "1"]
    assert ledger.runs(symbol="BTC/USDT") == [new, old]
    assert ledger.runs(since=NOON + HOUR, until=NOON + HOUR) == [new]
    assert ledger.runs(states=(RunState.STARTED,), limit=1) == [new]
    assert ledger.runs(agent="ghost") == []


@IN_POSTGRES
def test_unfinished_and_failed_runs_are_counted_by_the_databases_clock(ledger: Ledger) -> None:
    stuck = ledger.start_run(run("stuck", as_of=NOON - 100 * HOUR))
    failed = ledger.start_run(run("failed"))
    ledger.finish_run(ended(ledger, failed, state=RunState.FAILED))
    assert ledger.unfinished_runs(older_than=NOW) == [stuck]
    assert ledger.unfinished_runs(older_than=HOUR) == []
    assert ledger.failed_runs(within=HOUR) == 1
    assert ledger.failed_runs(within=NOW) == 0


def experiment(ledger: Ledger, **changes: Any) -> Experiment:
    champion = ledger.active_revision("trading")
    challenger = ledger.ensure_revision("trading", system="Better.", template="x", author="optimizer")
    values: dict[str, Any] = {
        "id": uuid4(),
        "key": "trading:1",
        "prompt": "trading",
        "champion_id": champion.id,
        "challenger_id": challenger.id,
        "state": ExperimentState.RUNNING,
        "split_at": NOON,
        "cases": 12,
    }
    return Experiment(**values | changes)


@IN_POSTGRES
def test_an_experiment_changes_while_it_runs_and_never_after(ledger: Ledger) -> None:
    begun = experiment(ledger)
    assert ledger.experiment(begun.key) is None
    ledger.save_experiment(begun)
    ledger.save_experiment(replace(begun, cases=13))
    result = replace(begun, state=ExperimentState.REJECTED, confidence=Decimal("0.5"), conclusion="no better")
    ledger.save_experiment(result)
    ledger.save_experiment(result)
    assert ledger.experiment(begun.key) == result
    with pytest.raises(LedgerError, match="another state"):
        ledger.save_experiment(replace(result, state=ExperimentState.PROMOTED))
    with pytest.raises(LedgerError, match="stored apart"):
        ledger.save_experiment(experiment(ledger))
    assert ledger.experiments(limit=5) == [result]


@IN_POSTGRES
def test_a_case_waits_for_the_challengers_score_and_keeps_the_first(ledger: Ledger) -> None:
    begun = experiment(ledger)
    ledger.save_experiment(begun)
    case = ExperimentCase(
        experiment_id=begun.id,
        run_id=ledger.start_run(run("k")).id,
        part=CasePart.HELD_OUT,
        champion_score=Decimal("-0.01"),
        challenger_score=None,
    )
    ledger.save_case(case)
    scored = replace(case, challenger_score=Decimal("0.5"))
    for again in (scored, case, replace(case, challenger_score=Decimal("0.9"))):
        ledger.save_case(again)
    assert ledger.cases(begun.id) == [scored]
    assert ledger.cases(uuid4()) == []


def test_a_closed_trade_is_evaluated_once_and_leaves_the_queue(ledger: Ledger) -> None:
    position_id = closed_position(ledger)
    assert [trade.id for trade in ledger.unevaluated_trades()] == [position_id]
    evaluation = Evaluation(
        position_id=position_id,
        run_id=None,
        score=Decimal("0.6"),
        pnl=Decimal(10),
        return_fraction=Decimal("0.1"),
        explanation="closed by agent",
        evaluated_at=NOON + HOUR,
    )
    ledger.save_evaluation(evaluation)
    ledger.save_evaluation(replace(evaluation, score=Decimal(0)))
    assert ledger.unevaluated_trades() == []
    assert ledger.evaluations() == ledger.evaluations(agent="trading", since=NOON) == [evaluation]
    assert ledger.evaluations(agent="ghost") == ledger.evaluations(since=NOON + 2 * HOUR) == []
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.save_evaluation(replace(evaluation, position_id=uuid4()))


@IN_POSTGRES
def test_counts_name_every_label_and_latencies_run_to_the_acknowledgement(ledger: Ledger) -> None:
    ledger.finish_run(ended(ledger, ledger.start_run(run("k"))))
    closed_position(ledger)
    ledger.save_proposal(proposal())
    counts = ledger.counts()
    expected = {
        "runs:held": 1,
        "runs:failed": 0,
        "proposals": 3,
        "decisions:approved": 2,
        "decisions:denied": 0,
        "denials:COOLDOWN": 0,
        "orders:filled": 2,
        "fills": 2,
        "open_positions": 0,
        "closed_trades": 1,
        "evaluations": 0,
        "trading_state:system": 0,
        "trading_state:account main": 0,
        "tokens:prompt": 200,
        "tokens:completion": 40,
    }
    assert {name: counts[name] for name in expected} == expected
    latencies = ledger.latencies_ms()
    assert len(latencies) == 2
    assert all(isinstance(latency, Decimal) and latency >= 0 for latency in latencies)
    assert len(ledger.latencies_ms(limit=1)) == 1
