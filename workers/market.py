"""Tasks that look at the market."""

from datetime import datetime
from typing import Any

from celery import Task
from celery.exceptions import SoftTimeLimitExceeded

from alina.domain.runs import RunResult
from alina.errors import ConfigError
from alina.orchestrator import cycle, polling
from workers.app import AFTER_A_DEATH, TRANSIENT, app, runtime


@app.task(name="market.poll_market", **TRANSIENT)
def poll_market() -> int:
    """Store new candles, propose due exits, start runs. Safe to repeat."""
    return polling.poll(runtime())


@app.task(name="market.run_cycle", bind=True, default_retry_delay=AFTER_A_DEATH, **TRANSIENT)
def run_cycle(
    self: "Task[Any, Any]", agent: str, symbol: str, candle_close: str | None = None, key: str | None = None
) -> dict[str, str | None]:
    """One cycle, now or at a candle. Safe to repeat: one run a key, by default the task's own id."""
    parts = runtime()
    if symbol not in parts.settings.market.symbols:
        known = ", ".join(parts.settings.market.symbols)
        raise ConfigError(f"{symbol} is not watched: market.symbols has {known}")
    as_of = datetime.fromisoformat(candle_close) if candle_close else polling.poll_symbol(parts, symbol)
    if as_of is None:
        raise ConfigError(f"{symbol} has no closed candle yet: wait for the first poll")
    key = key or str(self.request.id)
    try:
        run = cycle.run(parts, agent_name=agent, symbol=symbol, as_of=as_of, key=key)
    except SoftTimeLimitExceeded:  # nobody waits for the answer any more: the sweeper must not ask again
        run = cycle.stop(parts, key)
    with parts.unit_of_work() as uow:
        proposal = uow.ledger.proposal_of_run(run.id)
    return RunResult(
        run_id=run.id,
        agent=run.agent,
        symbol=run.symbol,
        as_of=run.as_of,
        state=run.state,
        summary=run.summary,
        proposal_id=proposal.id if proposal else None,
    ).to_json()


@app.task(name="market.stop_run", **TRANSIENT)
def stop_run(key: str) -> None:
    """End a run whose task was revoked or killed: the sweeper must not ask again. Safe to repeat."""
    parts = runtime()
    with parts.unit_of_work() as uow:
        has_begun = uow.ledger.has_run(key)
    if has_begun:
        cycle.stop(parts, key)
