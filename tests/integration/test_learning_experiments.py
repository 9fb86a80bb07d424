"""Closed trades become scores and facts; prompts are replaced on held-out evidence only."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from system import (
    BUY,
    FIRST_OPEN,
    HOLD,
    HOUR,
    WARMUP,
    Died,
    RunningVenue,
    System,
    candle,
    empty,
    proposal,
    scripted,
    system,
)

from alina.agents.optimizer import LESSONS
from alina.domain.evaluation import CasePart, Experiment, ExperimentState
from alina.domain.orders import OrderSide
from alina.domain.runs import Completion, CompletionRequest, PromptRevision
from alina.errors import ModelError
from alina.orchestrator import learning, sweeping

Make = Callable[..., System]
FIRST_RUN, RUNS, HELD_OUT = 54, 12, 4
FALLING, RISING = "0.98", "1.02"


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(
        system,
        venue,
        ledger_url,
        BUY,
        trading={"proposal_ttl": "30d", "gate_always_ask": True},
        self_optimization={"horizon": 1, "min_cases": RUNS, "max_cases": RUNS, "confidence": "0.9"},
    )


class Challenger:
    """The champion's model, which answers the other prompt as told and counts what it is asked, by seed."""

    identity = scripted(BUY).identity

    def __init__(self, answer: Callable[[CompletionRequest], dict[str, Any]]) -> None:
        self._answer = answer
        self.answers_as = self.identity
        self.asked: Counter[int] = Counter()

    def complete(self, request: CompletionRequest) -> Completion:
        answer = self._answer(request)
        self.asked[request.seed] += 1
        return Completion(
            text=json.dumps(answer),
            model=self.answers_as,
            prompt_tokens=1,
            completion_tokens=1,
            elapsed_ms=0,
            finish_reason="stop",
        )


def answering(one: System, answer: dict[str, Any]) -> System:
    """The system whose model answers the challenger's prompt so."""
    model = Challenger(lambda _: answer)
    return one.with_parts(model=lambda: model)


def closed_trade(one: System) -> UUID:
    """Bought and sold at once: a small loss."""
    one.execute(proposal(one).id)
    with one.work() as uow:
        position = uow.ledger.open_position(one.runtime.account, one.symbol)
    assert position is not None
    one.execute(proposal(one, OrderSide.SELL, f"{position.quantity:f}").id)
    return position.id


def with_history(one: System, moves: Sequence[str] = (FALLING,) * RUNS) -> System:
    """A lost trade, and one run of the champion, which buys, before each candle that moves so."""
    learning.evaluate(one.runtime, closed_trade(one))
    quiet = ["1"] * FIRST_RUN + list(moves)
    with one.work() as uow:
        uow.candles.save(
            [
                candle(one.symbol, FIRST_OPEN + number * HOUR, "100", str(100 * Decimal(move)))
                for number, move in enumerate(quiet)
            ]
        )
    for number in range(FIRST_RUN, FIRST_RUN + RUNS):
        assert one.run(f"run-{number}", as_of=FIRST_OPEN + number * HOUR).calls
    return one


def advance(one: System, *, cases_at_once: int = 100) -> Experiment | None:
    return learning.advance(one.runtime, "trading", cases_at_once=cases_at_once)


def active(one: System) -> PromptRevision:
    with one.work() as uow:
        return uow.ledger.active_revision("trading")


def test_a_trade_is_evaluated_and_remembered_once(make: Make) -> None:
    one = make()
    position = closed_trade(one)
    first, again = (learning.evaluate(one.runtime, position) for _ in range(2))
    assert again.score == first.score < Decimal("0.5")
    with one.work() as uow:
        assert len(uow.ledger.evaluations()) == 1
        facts = uow.memory.recall(one.symbol, "trade", as_of=one.runtime.clock.now(), limit=9)
    assert [fact.source_id for fact in facts] == [position]
    assert one.symbol in facts[0].text


def test_a_challenger_that_is_better_on_the_held_out_part_is_promoted_and_can_be_undone(make: Make) -> None:
    one = with_history(make())
    champion = active(one)
    ended = advance(answering(one, HOLD))
    assert ended is not None
    assert (ended.state, ended.confidence, ended.cases) == (ExperimentState.PROMOTED, 1, RUNS)
    assert ended.challenger_score > ended.champion_score
    challenger = active(one)
    assert (challenger.id, challenger.parent_id, challenger.author) == (
        ended.challenger_id,
        champion.id,
        "optimizer",
    )
    assert challenger.system == f"{champion.system.rstrip()}\n{LESSONS[0].sentence}\n"
    with one.work() as uow:
        uow.ledger.activate_revision("trading", champion.id)
    assert active(one) == champion


def test_a_challenger_that_is_better_on_the_tuning_part_only_is_rejected(make: Make) -> None:
    one = with_history(make(), [FALLING] * (RUNS - HELD_OUT) + [RISING] * HELD_OUT)
    champion = active(one)
    ended = advance(answering(one, HOLD))
    assert ended is not None
    assert (ended.state, ended.confidence) == (ExperimentState.REJECTED, 0)
    assert active(one) == champion
    with one.work() as uow:
        cases = uow.ledger.cases(ended.id)
        runs = {run.id: run for run in uow.ledger.runs(limit=100)}
    tuning = [case for case in cases if case.part is CasePart.TUNE]
    held_out = [case for case in cases if case.part is CasePart.HELD_OUT]
    assert (len(tuning), len(held_out)) == (RUNS - HELD_OUT, HELD_OUT)
    assert all(runs[case.run_id].as_of < ended.split_at for case in tuning)
    assert all(runs[case.run_id].as_of >= ended.split_at for case in held_out)
    assert all(case.challenger_score > case.champion_score for case in tuning)


def test_equal_answers_never_promote(make: Make) -> None:
    one = with_history(make())
    ended = advance(answering(one, BUY))
    assert ended is not None
    assert (ended.state, ended.confidence) == (ExperimentState.REJECTED, 0)
    assert ended.champion_score == ended.challenger_score


def test_every_lesson_for_a_mistake_is_tried_once(make: Make) -> None:
    one = with_history(make())
    ended = [advance(one) for _ in range(3)]
    assert [experiment.state if experiment else None for experiment in ended] == [
        ExperimentState.REJECTED,
        ExperimentState.REJECTED,
        None,
    ]
    with one.work() as uow:
        systems = [revision.system for revision in uow.ledger.revisions("trading")]
    bad_buy = [lesson.sentence for lesson in LESSONS if lesson.mistake == "bad_buy"]
    assert [sum(sentence in text for text in systems) for sentence in bad_buy] == [1, 1]


def test_an_experiment_that_was_cut_off_goes_on_and_asks_no_case_twice(make: Make) -> None:
    one = with_history(make())

    def dies_at_the_sixth(_: CompletionRequest) -> dict[str, Any]:
        if sum(challenger.asked.values()) == 5:
            raise Died
        return HOLD

    challenger = Challenger(dies_at_the_sixth)
    dying = one.with_parts(model=lambda: challenger)
    with pytest.raises(Died):
        advance(dying)
    one.sent.clear()
    sweeping.sweep(one.runtime)
    assert ("learning.advance_experiment", "trading") in one.sent
    rest = Challenger(lambda _: HOLD)
    going_on = one.with_parts(model=lambda: rest)
    states = [advance(going_on, cases_at_once=3) for _ in range(3)]
    assert [experiment.state for experiment in states if experiment] == [
        ExperimentState.RUNNING,
        ExperimentState.RUNNING,
        ExperimentState.PROMOTED,
    ]
    asked = challenger.asked + rest.asked
    assert (len(asked), set(asked.values())) == (RUNS, {1})


def test_two_workers_at_once_do_not_ask_the_same_cases(make: Make) -> None:
    one = with_history(make(execution={"task_time_limit": "60s"}))
    second: list[Experiment | None] = []

    def a_second_worker_comes(_: CompletionRequest) -> dict[str, Any]:
        if not second:
            second.append(advance(going_on))
        return HOLD

    challenger = Challenger(a_second_worker_comes)
    going_on = one.with_parts(model=lambda: challenger)
    first = advance(going_on)
    assert second[0] is not None
    assert second[0].state is ExperimentState.RUNNING
    assert first is not None
    assert first.state is ExperimentState.PROMOTED
    assert set(challenger.asked.values()) == {1}


def test_the_challenger_is_asked_with_the_recorded_context_schema_and_seed(make: Make) -> None:
    one = with_history(make())
    requests: list[CompletionRequest] = []

    def note(request: CompletionRequest) -> dict[str, Any]:
        requests.append(request)
        return HOLD

    model = Challenger(note)
    advance(one.with_parts(model=lambda: model))
    with one.work() as uow:
        recorded = {run.calls[0].request.seed: run.calls[0].request for run in uow.ledger.runs(limit=100)}
    for request in requests:
        then = recorded[request.seed]
        assert (request.json_schema, request.temperature) == (then.json_schema, then.temperature)
        assert request.messages[-1] == then.messages[-1]
        assert LESSONS[0].sentence in request.messages[0].content


def does_not_fit(_: CompletionRequest) -> dict[str, Any]:
    raise ModelError("the prompt does not fit")


@pytest.mark.parametrize("answer", [does_not_fit, lambda _: {"action": "wait"}, lambda _: {}])
def test_a_prompt_that_gets_no_usable_answer_never_wins_by_holding(
    make: Make, answer: Callable[[CompletionRequest], dict[str, Any]]
) -> None:
    one = with_history(make())
    model = Challenger(answer)
    ended = advance(one.with_parts(model=lambda: model))
    assert ended is not None
    assert (ended.state, ended.challenger_score) == (ExperimentState.REJECTED, 0)


def test_a_persons_choice_of_a_prompt_outlasts_an_experiment(make: Make) -> None:
    one = answering(with_history(make()), HOLD)
    assert advance(one, cases_at_once=4) is not None
    with one.work() as uow:
        own = uow.ledger.ensure_revision(
            "trading", system="Trade well.", template=active(one).template, author="person"
        )
        uow.ledger.activate_revision("trading", own.id)
    ended = advance(one)
    assert ended is not None
    assert (ended.state, ended.confidence) == (ExperimentState.REJECTED, 1)
    assert "replaced" in ended.conclusion
    assert active(one) == own


def test_a_run_of_another_model_is_no_case(make: Make) -> None:
    assert advance(with_history(make()).answering(HOLD)) is None


def test_an_experiment_ends_without_a_verdict_where_another_model_is_asked_since(make: Make) -> None:
    one = with_history(make())
    champion = active(one)
    started = advance(answering(one, HOLD), cases_at_once=4)
    assert started is not None
    ended = advance(one.answering(HOLD))
    assert ended is not None
    assert (ended.state, ended.challenger_score) == (ExperimentState.REJECTED, None)
    assert "is asked now" in ended.conclusion
    assert active(one) == champion
    with one.work() as uow:
        assert uow.ledger.experiments(limit=1) == [ended]


def test_a_case_that_a_fallback_answered_waits_for_the_model_itself(make: Make) -> None:
    one = with_history(make())
    stand_in = scripted(HOLD).identity
    model = Challenger(lambda _: HOLD)
    model.answers_as = stand_in
    waiting = advance(one.with_parts(model=lambda: model))
    assert waiting is not None
    assert waiting.state is ExperimentState.RUNNING
    assert sum(model.asked.values()) == 1
    with one.work() as uow:
        assert all(case.challenger_score is None for case in uow.ledger.cases(waiting.id))
        uow.ledger.release_experiment(waiting.id)  # its claim is over
    ended = advance(answering(one, HOLD))
    assert ended is not None
    assert ended.state is ExperimentState.PROMOTED


def test_the_end_of_an_experiment_delivered_twice_is_the_same_end(make: Make) -> None:
    one = answering(with_history(make()), HOLD)
    started = advance(one, cases_at_once=4)
    assert started is not None
    ended = advance(one)
    with one.work() as uow:
        uow.ledger.activate_revision("trading", started.champion_id)  # a person undoes it
    assert learning._conclude(one.runtime, started) == ended
    assert active(one).id == started.champion_id


def test_no_experiment_without_losses_or_with_too_few_cases(make: Make) -> None:
    unproven = make()
    assert advance(unproven) is None
    few = make()
    learning.evaluate(few.runtime, closed_trade(few))
    few.run(as_of=FIRST_OPEN + (WARMUP - 5) * HOUR)
    assert advance(few) is None


def test_a_run_whose_horizon_is_not_over_is_no_case(make: Make) -> None:
    one = with_history(make())
    newest = one.run("the-newest", as_of=FIRST_OPEN + WARMUP * HOUR)
    experiment = advance(one, cases_at_once=1)
    assert experiment is not None
    with one.work() as uow:
        assert newest.id not in {case.run_id for case in uow.ledger.cases(experiment.id)}
