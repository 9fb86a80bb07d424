"""The main path, up to the proposal: snapshot, gate, recall, model, wish, and one committed row.

A cycle has a key; the same key gives the same run, however often its task is delivered. Whoever ends the
run first wins; a second worker on the same run finds it ended and returns what is stored.
"""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from itertools import islice
from uuid import UUID, uuid5

import structlog
from pydantic import BaseModel

from alina.agents.base import Agent, Answering, Checking, Hold, Situation, Wish
from alina.domain.decisions import Proposal
from alina.domain.market import MarketView, candle_number
from alina.domain.orders import OrderSide, OrderType
from alina.domain.ports import AnswerStream, Fact
from alina.domain.runs import Run, RunState, run_id_for
from alina.errors import ConfigError, ModelBudgetSpent, ModelError, TransientError
from alina.llm import prompts, structured
from alina.llm.budget import on_behalf_of
from alina.orchestrator.runtime import Runtime, UnitOfWork
from alina.tools.registry import BUILT_IN

log = structlog.get_logger(__name__)

#: figures of one tool that is not ours, and characters of what it calls one
_FIGURES_MAX, _LABEL_LIMIT = 12, 40


def candle_key(agent: str, symbol: str, timeframe: str, candle_close: datetime) -> str:
    """The key of the one scheduled run of an agent at a candle."""
    return f"{agent}:{symbol}:{timeframe}:{candle_close:%Y-%m-%dT%H:%M:%SZ}"


def start(runtime: Runtime, uow: UnitOfWork, *, agent: str, symbol: str, as_of: datetime, key: str) -> Run:
    """The run of this key: inserted as STARTED, or as it is stored already."""
    return uow.ledger.start_run(
        Run(
            id=run_id_for(key),
            key=key,
            agent=agent,
            symbol=symbol,
            timeframe=runtime.settings.market.timeframe,
            as_of=as_of,
            state=RunState.STARTED,
            summary="",
        )
    )


def run(runtime: Runtime, *, agent_name: str, symbol: str, as_of: datetime, key: str) -> Run:
    """One cycle of an agent over a symbol, cut at `as_of`. Safe to repeat.

    A model that cannot load or answer ends the run as FAILED. Raises ExchangeUnavailable,
    DatabaseUnavailable or ModelBusy (all transient), ConfigError for an unknown agent.
    """
    agent = runtime.agents.get(agent_name)
    if agent is None:
        raise ConfigError(f"agent {agent_name!r} is not configured: add it to trading.agents in config.yaml")
    with runtime.unit_of_work() as uow:
        stored = start(runtime, uow, agent=agent_name, symbol=symbol, as_of=as_of, key=key)
    stream = runtime.stream(stored.id)
    ended = stored if stored.state is not RunState.STARTED else _run(runtime, agent, stored, stream)
    # Of a run that had ended already too: it may have ended as its process did.
    _tell_end(ended, stream)
    return ended


def stop(runtime: Runtime, key: str) -> Run:
    """End the run of this key as FAILED if it still runs: nobody waits for it any more.

    Raises LedgerError if it never started.
    """
    with runtime.unit_of_work() as uow:
        run = uow.ledger.run(run_id_for(key))
    why = "stopped: revoked, longer than execution.task_soft_time_limit, or its process died again and again"
    ended = _finish(runtime, replace(run, state=RunState.FAILED, summary=why))
    _tell_end(ended, runtime.stream(ended.id))
    return ended


def _tell_end(run: Run, stream: AnswerStream) -> None:
    if run.calls and run.state is not RunState.FAILED:
        stream.end(run.calls[-1].completion)
    else:
        stream.fail(f"{run.state.value}: {run.summary}")


def _run(runtime: Runtime, agent: Agent, stored: Run, stream: AnswerStream) -> Run:
    """A run that has just started, to its end."""
    if runtime.clock.now() - stored.as_of > runtime.settings.trading.proposal_ttl:
        late = "too late: the candle closed longer ago than trading.proposal_ttl"
        return _finish(runtime, replace(stored, state=RunState.GATED, summary=late))
    answering = agent if isinstance(agent, Answering) else None
    situation, fact_ids = _situation(runtime, stored, asks_model=answering is None)
    reason = agent.gate(situation)
    if reason is None:
        return _finish(
            runtime, replace(stored, state=RunState.GATED, summary="the gate saw no reason to ask")
        )
    if answering is not None:
        return _conclude(runtime, agent, situation, answering.answer(situation), stored)
    return _ask(runtime, agent, situation, replace(stored, fact_ids=fact_ids), stream)


def _situation(runtime: Runtime, run: Run, *, asks_model: bool) -> tuple[Situation, tuple[UUID, ...]]:
    """Everything the agent may know, from the stores and the exchange's public data."""
    settings = runtime.settings
    market, ticker = runtime.exchange.market(run.symbol), runtime.exchange.ticker(run.symbol)
    with runtime.unit_of_work() as uow:
        candles = uow.candles.history(
            run.symbol, run.timeframe, until=run.as_of, limit=settings.market.history
        )
        view = MarketView(symbol=run.symbol, timeframe=run.timeframe, as_of=run.as_of, candles=candles)
        figures = _figures(runtime, view) if asks_model else {}
        facts = _recall(uow, run, figures, limit=settings.memory.recall_limit) if asks_model else []
        quote = uow.ledger.balances(runtime.account).get(market.quote)
        reserved = uow.ledger.reserved(runtime.account, market.quote)
        position = uow.ledger.open_position(runtime.account, run.symbol)
    situation = Situation(
        view=view,
        market=market,
        ticker=ticker,
        position=position,
        free_quote=max((quote.free if quote else Decimal(0)) - reserved, Decimal(0)),
        figures=figures,
        facts=tuple(prompts.fence(fact.text) for fact in facts),
    )
    return situation, tuple(fact.id for fact in facts)


def _figures(runtime: Runtime, view: MarketView) -> dict[str, str]:
    """What the tools say. Of one that is not ours, such as news, everything is fenced, whoever renders it."""
    figures: dict[str, str] = {}
    for tool in runtime.tools:
        found = tool.figures(view)
        if tool.name not in BUILT_IN:
            some = islice(found.items(), _FIGURES_MAX)
            found = {prompts.fence(label, _LABEL_LIMIT): prompts.fence(value) for label, value in some}
        figures.update(found)
    return figures


def _recall(uow: UnitOfWork, run: Run, figures: dict[str, str], *, limit: int) -> list[Fact]:
    query = f"{run.symbol} " + " ".join(f"{label} {value}" for label, value in figures.items())
    return uow.memory.recall(run.symbol, query, as_of=run.as_of, limit=limit)


def _ask(runtime: Runtime, agent: Agent, situation: Situation, run: Run, stream: AnswerStream) -> Run:
    """Ask the model and end the run with a proposal, a hold or a recorded failure."""
    with runtime.unit_of_work() as uow:
        revision = uow.ledger.active_revision(agent.name)
    context = agent.context(situation)
    run = replace(run, prompt_revision_id=revision.id, context=context)
    models = runtime.settings.models
    try:
        with on_behalf_of(agent.name, run.id):
            answered = structured.ask(
                runtime.model(),
                prompts.render(revision, context),
                agent.answer_type(situation),
                check=partial(agent.check, context) if isinstance(agent, Checking) else None,
                max_tokens=models.max_tokens,
                temperature=models.temperature,
                seed=candle_number(run.as_of, run.timeframe),
                deadline_seconds=Decimal(str(models.deadline.total_seconds())),
                stream=stream,
            )
    except TransientError:
        raise
    except ModelBudgetSpent as error:  # a limit that holds is no failure
        return _finish(runtime, replace(run, state=RunState.GATED, summary=str(error)))
    except ModelError as error:
        return _finish(runtime, replace(run, state=RunState.FAILED, summary=str(error)))
    run = replace(run, calls=answered.calls)
    if answered.answer is None:
        return _finish(runtime, replace(run, state=RunState.FAILED, summary=answered.error or "no answer"))
    return _conclude(runtime, agent, situation, answered.answer, run)


def _conclude(runtime: Runtime, agent: Agent, situation: Situation, answer: BaseModel, run: Run) -> Run:
    """End the run with what the agent makes of an answer."""
    wish = agent.wish(situation, answer)
    if isinstance(wish, Hold):
        return _finish(runtime, replace(run, state=RunState.HELD, summary=wish.reason))
    summary = f"{wish.side.value} {wish.quantity:f}, confidence {wish.confidence}: {wish.rationale}"
    proposal = _proposal(runtime, run, situation, wish)
    return _finish(runtime, replace(run, state=RunState.PROPOSED, summary=summary), proposal)


def _proposal(runtime: Runtime, run: Run, situation: Situation, wish: Wish) -> Proposal:
    """The wish with its bookkeeping: who, from which run, until when."""
    trading = runtime.settings.trading
    now = runtime.clock.now()
    is_entry = wish.side is OrderSide.BUY
    return Proposal(
        id=uuid5(run.id, "proposal"),
        run_id=run.id,
        account=runtime.account,
        agent=run.agent,
        symbol=run.symbol,
        side=wish.side,
        order_type=OrderType.MARKET,
        quantity=wish.quantity,
        limit_price=None,
        reference_price=wish.reference_price,
        reduce_only=not is_entry,
        close_reason=wish.close_reason,
        stop_price=wish.stop_price,
        take_profit_price=wish.take_profit_price,
        close_after=now + trading.max_holding if is_entry and trading.max_holding else None,
        confidence=wish.confidence,
        rationale=wish.rationale,
        as_of=run.as_of,
        expires_at=run.as_of + trading.proposal_ttl,
    )


def _finish(runtime: Runtime, run: Run, proposal: Proposal | None = None) -> Run:
    """Commit the run's end and its proposal together; only then enqueue the execution.

    If the process dies before the message leaves, the sweeper finds the undecided proposal.
    """
    with runtime.unit_of_work() as uow:
        stored = uow.ledger.lock_run(run.id)
        if stored.state is not RunState.STARTED:  # another delivery of the same task was faster
            return stored
        uow.ledger.finish_run(run)
        if proposal is not None:
            uow.ledger.save_proposal(proposal)
    if proposal is not None:
        runtime.send("trading.execute_proposal", str(proposal.id))
    log.info("run ended", run=str(run.id), symbol=run.symbol, state=run.state.value, summary=run.summary)
    return run
