"""Looks at every part the system stands on, and steps back when too much fails."""

import shutil
from collections.abc import Callable

import structlog

from alina.domain.portfolio import TradingState
from alina.errors import AlinaError
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)

#: below this the ledger could stop in the middle of a trade
MIN_FREE_BYTES = 500 * 10**6
#: Binance refuses requests signed more than its receive window away
MAX_CLOCK_DIFFERENCE_MS = 5_000


def check(runtime: Runtime) -> dict[str, str]:
    """Part -> "ok ..." or what is wrong with it. Too many failed runs enter safe mode."""
    report = {
        "database": _part(lambda: _database(runtime)),
        "exchange": _part(lambda: _exchange(runtime)),
        "clock": _part(lambda: f"ok, market time {runtime.clock.now():%Y-%m-%d %H:%M:%S}"),
        "disk": _part(lambda: _disk(runtime)),
        "runs": _part(lambda: safe_mode(runtime)),
    }
    faults = {part: text for part, text in report.items() if not text.startswith("ok")}
    if faults:
        log.error("unhealthy", **faults)
    return report


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


def safe_mode(runtime: Runtime) -> str:
    """REDUCING once `safe_mode_errors` runs failed within the window; only a person sets ACTIVE again."""
    settings = runtime.settings.error_handling
    with runtime.unit_of_work() as uow:
        failed = uow.ledger.failed_runs(within=settings.safe_mode_window, account=runtime.account)
        if failed < settings.safe_mode_errors:
            return f"ok, {failed} failed"
        account = uow.ledger.lock_account(runtime.account)
        if account.trading_state is TradingState.ACTIVE:
            uow.ledger.set_trading_state(
                runtime.account,
                TradingState.REDUCING,
                reason=f"safe mode: {failed} failed runs within {settings.safe_mode_window}",
                at=runtime.clock.now(),
            )
    return f"safe mode: {failed} failed runs: look at `alina decisions`, then `alina resume`"
