"""What is learnt from closed trades: their scores, facts for the memory, and better prompts on evidence.

An experiment compares the champion's recorded answers with one challenger's answers to the same recorded
prompts. The cases are split by time: lessons come from the earlier part, the verdict from the later one.
"""

import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import NAMESPACE_URL, UUID, uuid5

import structlog

from alina.agents import evaluator, optimizer
from alina.domain.evaluation import CasePart, Evaluation, Experiment, ExperimentCase, ExperimentState
from alina.domain.market import timeframe_duration
from alina.domain.ports import Fact
from alina.domain.runs import PromptRevision, Run, RunState
from alina.errors import ModelBudgetSpent, ModelError, ModelRefused, ModelUnavailable, TransientError
from alina.llm import prompts
from alina.llm.budget import on_behalf_of
from alina.orchestrator.runtime import Runtime, UnitOfWork

log = structlog.get_logger(__name__)

#: the answer's score has its middle at no gain and its ends at plus and minus this return
DEFAULT_SCALE = Decimal("0.04")


class _ReplacedModel(Exception):
    """Another model is asked since the experiment began."""


class _StandIn(Exception):
    """A fallback answered: its answers are not to be compared with those of the model asked."""


def evaluate(runtime: Runtime, position_id: UUID) -> Evaluation:
    """Score a closed trade once and remember it as a fact. Safe to repeat."""
    with runtime.unit_of_work() as uow:
        position = uow.ledger.position(position_id)
        proposal = uow.ledger.position_proposal(position_id)
        evaluation = evaluator.evaluate(
            position, run_id=proposal.run_id, scale=_scale(runtime), at=runtime.clock.now()
        )
        uow.ledger.save_evaluation(evaluation)
        uow.memory.remember(
            Fact(
                id=uuid5(position.id, "closed_trade"),
                subject=position.symbol,
                predicate="closed_trade",
                text=evaluator.trade_fact(position, evaluation),
                valid_at=position.closed_at or evaluation.evaluated_at,
                invalid_at=None,
                created_at=evaluation.evaluated_at,
                expired_at=None,
                source_id=position.id,
            )
        )
    log.info(
        "trade evaluated", position=str(position_id), score=str(evaluation.score), pnl=str(evaluation.pnl)
    )
    return evaluation


def _scale(runtime: Runtime) -> Decimal:
    return runtime.settings.trading.take_profit or DEFAULT_SCALE


def advance(runtime: Runtime, agent: str, *, cases_at_once: int) -> Experiment | None:
    """Start or continue the agent's experiment; None if there is nothing to do. Safe to repeat.

    Works through at most `cases_at_once` unanswered cases, each committed by itself, so that a task that
    is cut off goes on where it stopped. Call again while the experiment is RUNNING.
    """
    with runtime.unit_of_work() as uow:
        running = next((e for e in uow.ledger.experiments(limit=20) if _is_running(e, agent)), None)
        experiment = running or _start(runtime, uow, agent)
        if experiment is None:
            return None
        limit = runtime.settings.execution.task_time_limit
        if not uow.ledger.claim_experiment(experiment.id, for_at_most=limit):
            return experiment  # another worker is at it
        challenger = uow.ledger.revision(experiment.challenger_id)
        open_cases = [c for c in uow.ledger.cases(experiment.id) if c.challenger_score is None]
    for case in open_cases[:cases_at_once]:
        try:
            score = _answer_case(runtime, challenger, case)
        except (ModelBudgetSpent, _StandIn) as error:
            # the claim is kept: until it is over nobody needs to look again
            log.info("the experiment waits", agent=agent, reason=str(error))
            return experiment
        except _ReplacedModel as error:
            return _conclude(runtime, experiment, fault=str(error))
        with runtime.unit_of_work() as uow:
            uow.ledger.save_case(replace(case, challenger_score=score))
    with runtime.unit_of_work() as uow:
        uow.ledger.release_experiment(experiment.id)
    return experiment if len(open_cases) > cases_at_once else _conclude(runtime, experiment)


def _is_running(experiment: Experiment, agent: str) -> bool:
    return experiment.state is ExperimentState.RUNNING and experiment.prompt == agent


def _start(runtime: Runtime, uow: UnitOfWork, agent: str) -> Experiment | None:
    """A new experiment if the window's mean score is below the threshold and there are cases enough."""
    settings = runtime.settings.self_optimization
    now = runtime.clock.now()
    scores = [e.score for e in uow.ledger.evaluations(agent=agent, since=now - settings.window)]
    if not scores or sum(scores) / len(scores) >= settings.threshold:
        return None
    champion = uow.ledger.active_revision(agent)
    runs = _recorded_runs(runtime, uow, agent, champion, now)
    if len(runs) < settings.min_cases:
        return None
    cut = (len(runs) * 2) // 3
    tune, held_out = runs[:cut], runs[cut:]
    # A lesson may not rest on prices that the held-out cases are judged by.
    horizon = timeframe_duration(held_out[0].timeframe) * settings.horizon
    known = [run for run in tune if run.as_of + horizon <= held_out[0].as_of]
    outcomes = [(_is_holding(run), _outcome(runtime, uow, run)) for run in known]
    tried = [revision.system for revision in uow.ledger.revisions(agent)]
    system = optimizer.challenger_system(champion, optimizer.costliest_mistakes(outcomes), tried)
    if system is None:
        return None
    challenger = uow.ledger.ensure_revision(
        agent, system=system, template=champion.template, author="optimizer", parent_id=champion.id
    )
    key = f"{agent}:{champion.id}:{challenger.id}"
    experiment = Experiment(
        id=uuid5(NAMESPACE_URL, f"alina:experiment:{key}"),
        key=key,
        prompt=agent,
        champion_id=champion.id,
        challenger_id=challenger.id,
        state=ExperimentState.RUNNING,
        split_at=held_out[0].as_of,
        cases=len(runs),
    )
    uow.ledger.save_experiment(experiment)
    for run in runs:
        uow.ledger.save_case(
            ExperimentCase(
                experiment_id=experiment.id,
                run_id=run.id,
                part=CasePart.HELD_OUT if run.as_of >= experiment.split_at else CasePart.TUNE,
                champion_score=_score(runtime, run, _outcome(runtime, uow, run)),
                challenger_score=None,
            )
        )
    log.info("experiment started", agent=agent, cases=len(runs), challenger=challenger.number)
    return experiment


def _recorded_runs(
    runtime: Runtime, uow: UnitOfWork, agent: str, champion: PromptRevision, now: datetime
) -> list[Run]:
    """The champion's runs, answered by the model asked now, whose horizon has passed, oldest first.

    The newest `max_cases` of them.
    """
    settings = runtime.settings.self_optimization
    horizon = timeframe_duration(runtime.settings.market.timeframe) * settings.horizon
    runs = uow.ledger.runs(
        agent=agent,
        since=now - settings.window,
        until=now - horizon,
        states=(RunState.HELD, RunState.PROPOSED),
        limit=settings.max_cases,
    )
    usable = [
        run
        for run in runs
        if run.calls
        and "actions" in run.context
        and run.prompt_revision_id == champion.id
        and _answered_by(run) == {runtime.model().identity.sha256}
        and _future(runtime, uow, run) is not None
    ]
    return sorted(usable, key=lambda run: run.as_of)


def _answered_by(run: Run) -> set[str]:
    """The hashes of the models."""
    return {call.completion.model.sha256 for call in run.calls}


def _future(runtime: Runtime, uow: UnitOfWork, run: Run) -> Decimal | None:
    """The market's return from the open of the candle after the run to the close of the horizon."""
    horizon = runtime.settings.self_optimization.horizon
    span = timeframe_duration(run.timeframe) * horizon
    candles = uow.candles.after(
        run.symbol, run.timeframe, since=run.as_of, until=run.as_of + span, limit=horizon
    )
    return candles[-1].close / candles[0].open - 1 if len(candles) == horizon else None


def _is_holding(run: Run) -> bool:
    return "sell" in run.context["actions"]


def _outcome(runtime: Runtime, uow: UnitOfWork, run: Run) -> optimizer.Outcome:
    market_return = _future(runtime, uow, run)
    if market_return is None:
        raise LookupError(f"run {run.id}: the candles of its horizon are gone")
    return optimizer.Outcome(action=_action(run.calls[-1].completion.text), market_return=market_return)


def _action(text: str) -> str:
    """The action in an answer; empty for a malformed one."""
    try:
        answer = json.loads(text)
    except ValueError:
        return ""
    return str(answer.get("action", "")) if isinstance(answer, dict) else ""


def _score(runtime: Runtime, run: Run, outcome: optimizer.Outcome) -> Decimal:
    fee = runtime.settings.risk.fee_reserve / 2
    worth = optimizer.utility(outcome.action, outcome.market_return, is_holding=_is_holding(run), fee=fee)
    return evaluator.score_return(worth, scale=_scale(runtime))


def _answer_case(runtime: Runtime, challenger: PromptRevision, case: ExperimentCase) -> Decimal:
    """The challenger's score on one recorded run: the same context, schema and seed, another prompt.

    No usable answer scores nothing: a prompt that the model cannot answer must never win by holding.
    Raises _ReplacedModel or _StandIn where another model would answer, or did.
    """
    with runtime.unit_of_work() as uow:
        run = uow.ledger.run(case.run_id)
        outcome = _outcome(runtime, uow, run)
    request = replace(run.calls[0].request, messages=prompts.render(challenger, run.context))
    model, then = runtime.model(), _answered_by(run)
    if {model.identity.sha256} != then:
        raise _ReplacedModel(f"no verdict: {model.identity.name} is asked now, not who gave these answers")
    try:
        with on_behalf_of(run.agent):
            completion = model.complete(request)
        if {completion.model.sha256} != then:
            raise _StandIn(f"{completion.model.name} stood in for {model.identity.name}")
        action = _action(completion.text)
    except (ModelUnavailable, ModelRefused, ModelBudgetSpent, TransientError):
        raise
    except ModelError as error:  # the longer prompt does not fit: repeating it would not help
        log.warning("the challenger has no answer", run=str(run.id), error=str(error))
        action = ""
    if action not in run.context["actions"]:
        return Decimal(0)
    return _score(runtime, run, replace(outcome, action=action))


def _conclude(runtime: Runtime, experiment: Experiment, *, fault: str | None = None) -> Experiment:
    """End it with a verdict, and promote the challenger if that says so; with a `fault`, without one."""
    with runtime.unit_of_work() as uow:
        stored = uow.ledger.experiment(experiment.key)
        if stored is not None and stored.state is not ExperimentState.RUNNING:
            return stored  # another delivery of the same task was faster
        if fault is None:
            ended = _verdict(runtime, uow, experiment)
        else:
            ended = replace(experiment, state=ExperimentState.REJECTED, conclusion=fault)
        uow.ledger.save_experiment(ended)
        if ended.state is ExperimentState.PROMOTED:
            uow.ledger.activate_revision(experiment.prompt, experiment.challenger_id)
    log.info(
        "experiment ended", agent=experiment.prompt, state=ended.state.value, conclusion=ended.conclusion
    )
    return ended


def _verdict(runtime: Runtime, uow: UnitOfWork, experiment: Experiment) -> Experiment:
    """PROMOTED only if it is better on the held-out part with the confidence asked for.

    And only in place of the champion it was compared with: a person's choice since then stays.
    """
    needed = runtime.settings.self_optimization.confidence
    held_out = [case for case in uow.ledger.cases(experiment.id) if case.part is CasePart.HELD_OUT]
    ours = [case.champion_score for case in held_out]
    theirs = [case.challenger_score for case in held_out if case.challenger_score is not None]
    confidence = optimizer.probability_better(ours, theirs, seed=experiment.id.int % 2**32)
    is_replaced = uow.ledger.active_revision(experiment.prompt).id != experiment.champion_id
    is_promoted = confidence >= needed and not is_replaced
    return replace(
        experiment,
        state=ExperimentState.PROMOTED if is_promoted else ExperimentState.REJECTED,
        champion_score=_mean(ours),
        challenger_score=_mean(theirs),
        confidence=confidence,
        conclusion=f"held-out mean {_mean(ours)} -> {_mean(theirs)} over {len(ours)} cases, "
        f"P(better) {confidence}, {needed} needed"
        + ("; the champion was replaced meanwhile" if is_replaced else ""),
    )


def _mean(scores: list[Decimal]) -> Decimal:
    return (sum(scores, Decimal(0)) / len(scores)).quantize(Decimal("0.0001")) if scores else Decimal(0)
