"""Looks at every part the system stands on."""

import shutil
from collections.abc import Callable
from datetime import datetime

import structlog

from alina.config import Settings
from alina.domain.market import timeframe_duration
from alina.domain.ports import Exchange
from alina.errors import AlinaError
from alina.orchestrator import halting
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)

#: below this the ledger could stop in the middle of a trade
MIN_FREE_BYTES = 500 * 10**6
#: Binance refuses requests signed more than its receive window away
MAX_CLOCK_DIFFERENCE_MS = 5_000


def check(runtime: Runtime) -> dict[str, str]:
    """Part -> "ok ..." or what is wrong with it."""
    report = {
        "database": _part(lambda: _database(runtime)),
        "exchange": _part(lambda: _exchange(runtime)),
        "candles": _part(lambda: told_candles(runtime.exchange, runtime.settings, runtime.clock.now())),
        "clock": _part(lambda: f"ok, market time {runtime.clock.now():%Y-%m-%d %H:%M:%S}"),
        "disk": _part(lambda: _disk(runtime)),
        "failures": _part(lambda: _failures(runtime)),
    }
    faults = {part: text for part, text in report.items() if not text.startswith("ok")}
    if faults:
        log.error("unhealthy", **faults)
    return report


def told_candles(exchange: Exchange, settings: Settings, now: datetime) -> str:
    """Ask for the newest candles of each symbol: without them no agent ever decides. Raises ExchangeError."""
    market = settings.market
    since = now - 2 * timeframe_duration(market.timeframe)
    for symbol in market.symbols:
        exchange.candles(symbol, market.timeframe, since=since, limit=2)
    return f"ok, {market.timeframe} of {', '.join(market.symbols)}"


def _part(look: Callable[[], str]) -> str:
    try:
        return look()
    except AlinaError as error:
        return f"{type(error).__name__}: {error}"


def _database(runtime: Runtime) -> str:
    with runtime.unit_of_work() as uow:
        return f"ok, trading state {uow.ledger.account(runtime.account).trading_state.value}"


def _exchange(runtime: Runtime) -> str:
    difference = runtime.exchange.clock_difference_ms()
    if abs(difference) > MAX_CLOCK_DIFFERENCE_MS:
        return f"clocks differ by {difference} ms: synchronise this machine's clock (NTP)"
    return f"ok, clocks differ by {difference} ms"


def _disk(runtime: Runtime) -> str:
    free = shutil.disk_usage(runtime.settings.data_folder).free
    if free < MIN_FREE_BYTES:
        return f"{free // 10**6} MB free: at least {MIN_FREE_BYTES // 10**6} MB are needed, make room"
    return f"ok, {free // 10**9} GB free"


def _failures(runtime: Runtime) -> str:
    reason = halting.too_many_failures(runtime)
    return f"{reason}: look at `alina decisions`, then `alina resume`" if reason else "ok, few failed"
