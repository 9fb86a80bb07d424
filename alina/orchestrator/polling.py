"""The market poll: candles stored, exits proposed, one run an agent at each closed candle."""

from datetime import datetime

import structlog

from alina.domain.runs import RunState
from alina.errors import ExchangeError
from alina.exchange.budget import urgent
from alina.exchange.candle_sync import sync
from alina.orchestrator import cycle, protection, scope
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)


def poll(runtime: Runtime) -> int:
    """Poll every symbol; one that fails does not stop the others. Returns the runs started.

    Exits come first, those of symbols that the settings name no more too: they need no candles, which agents
    may write, so that one that cannot be read keeps no stop.
    """
    _propose_exits(runtime)
    started = 0
    for symbol in runtime.settings.market.symbols:
        try:
            latest = poll_symbol(runtime, symbol)
        except ExchangeError as error:
            log.warning("symbol not polled", symbol=symbol, error=str(error))
            continue
        if latest is not None:
            started += start_runs(runtime, symbol, latest)
    return started


def _propose_exits(runtime: Runtime) -> None:
    for symbol in scope.symbols(runtime):
        try:
            with urgent():
                protection.propose_exits(runtime, symbol)
        except ExchangeError as error:
            log.warning("exits not looked at", symbol=symbol, error=str(error))


def poll_symbol(runtime: Runtime, symbol: str) -> datetime | None:
    """Store the candles that closed since the last poll; the newest close time, None without any candle."""
    market = runtime.settings.market
    with runtime.unit_of_work() as uow:
        sync(
            runtime.exchange,
            uow.candles,
            symbol,
            market.timeframe,
            now=runtime.clock.now(),
            history=market.history,
        )
        latest = uow.candles.latest(symbol, market.timeframe)
    return latest.close_time if latest else None


def start_runs(runtime: Runtime, symbol: str, candle_close: datetime) -> int:
    """One run an agent for the newest closed candle. Candles missed while away are not caught up:
    a decision about the past is no decision."""
    timeframe = runtime.settings.market.timeframe
    new = []
    with runtime.unit_of_work() as uow:
        for agent in runtime.agents:
            key = cycle.candle_key(agent, symbol, timeframe, candle_close)
            if uow.ledger.has_run(key):
                continue
            run = cycle.start(runtime, uow, agent=agent, symbol=symbol, as_of=candle_close, key=key)
            if run.state is RunState.STARTED:
                new.append((agent, key))
    for agent, key in new:
        runtime.send("market.run_cycle", agent, symbol, candle_close.isoformat(), key)
    return len(new)
