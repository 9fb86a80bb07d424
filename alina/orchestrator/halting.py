"""What stops trading: the account's state, the whole system's and a stop-file; the strictest counts.

A person moves the states either way (`alina halt`, `alina resume`). The system moves them by itself as
well, but only down: what made it step back must be looked into by somebody.

The executor asks in the transaction that claims an order, after it has locked the account. Whoever halts
takes the same lock: once that is committed no order is claimed any more, and what was claimed before has
left already.
"""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import structlog

from alina.domain.activity import ActivityQuery
from alina.domain.portfolio import AccountState, TradingState
from alina.orchestrator.runtime import Runtime, UnitOfWork

log = structlog.get_logger(__name__)


def in_force(stop_file: Path, account: AccountState) -> AccountState:
    """What the account may do now, with the stop-file looked at."""
    if not is_stopped(stop_file):
        return account
    return replace(account, trading_state=TradingState.HALTED, reason=f"the stop-file {stop_file}")


def is_stopped(stop_file: Path) -> bool:
    """Whether the stop-file is there. A folder that cannot be read stops too: the answer may be yes."""
    try:
        stop_file.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def move_down(
    uow: UnitOfWork, account: str | None, state: TradingState, *, reason: str, at: datetime
) -> bool:
    """Make the state of an account, or of the whole system (None), stricter; never looser.

    True if it was looser before. Raises LedgerError for an unknown account.
    """
    if account is None:
        moved = uow.ledger.lower_system_state(state, reason=reason, at=at)
    else:
        moved = uow.ledger.lower_trading_state(account, state, reason=reason, at=at)
    if moved:
        log.error("trading state moved down", account=account or "all", state=state.value, reason=reason)
    return moved


def step_back(runtime: Runtime, uow: UnitOfWork, reason: str) -> None:
    """REDUCING, unless the account is stricter already: positions may only shrink until somebody looked."""
    move_down(uow, runtime.account, TradingState.REDUCING, reason=reason, at=datetime.now(UTC))


def watch_failures(runtime: Runtime) -> None:
    """Step back once too much failed."""
    reason = too_many_failures(runtime)
    if reason is not None:
        with runtime.unit_of_work() as uow:
            step_back(runtime, uow, reason)


def watch_losses(runtime: Runtime) -> None:
    """Step back once the day's loss or the drawdown is at its limit."""
    with runtime.unit_of_work() as uow:
        uow.ledger.lock_account(runtime.account)  # nobody begins a new peak between the figures and the step
        reason = lost_too_much(runtime, uow)
        if reason is not None:
            step_back(runtime, uow, reason)


def lost_too_much(runtime: Runtime, uow: UnitOfWork) -> str | None:
    """Why the losses call for a step back, if they do: by the figures and limits of the kernel."""
    limits, symbol = runtime.settings.risk, runtime.settings.market.symbols[0]
    query = ActivityQuery(
        account=runtime.account,
        agent="",  # what it is about one agent and symbol is not looked at
        symbol=symbol,
        side="buy",
        now=runtime.clock.now(),
        lookback=limits.lookback,
        recent=limits.cooldown,
    )
    activity = uow.ledger.activity(query)
    equity, start, peak = activity.equity, activity.equity_at_day_start, activity.equity_peak
    lost = max(
        -activity.pnl_today, start - equity if start is not None and equity is not None else Decimal(0)
    )
    if limits.max_daily_loss is not None and lost >= limits.max_daily_loss:
        return f"lost {lost:f} today, limit {limits.max_daily_loss}: look at `alina trades`"
    if equity is None or peak is None or peak <= 0 or limits.max_drawdown is None:
        return None
    drawdown = (peak - equity) / peak
    if drawdown < limits.max_drawdown:
        return None
    return (
        f"equity is {drawdown:.4f} below its peak of {peak:f}, limit {limits.max_drawdown}: "
        "look at `alina trades`"
    )


def too_many_failures(runtime: Runtime) -> str | None:
    """Why safe mode is due, if it is: failed runs and refused orders within the window."""
    settings = runtime.settings.error_handling
    with runtime.unit_of_work() as uow:
        runs = uow.ledger.failed_runs(within=settings.safe_mode_window, account=runtime.account)
        orders = uow.ledger.refused_orders(within=settings.safe_mode_window, account=runtime.account)
    if runs + orders < settings.safe_mode_errors:
        return None
    return f"safe mode: {runs} failed runs and {orders} refused orders within {settings.safe_mode_window}"
