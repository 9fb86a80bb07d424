"""`alina halt` and `alina resume`: whether or not the system runs, and without a database if need be."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import structlog
import typer

from alina.cli.options import By, person, settings_of, worded
from alina.cli.output import AsJson, print_json, say
from alina.config import Settings
from alina.domain.portfolio import AccountState, NewPeak, TradingState, WindDown
from alina.errors import (
    AlinaError,
    BrokerUnavailable,
    ConfigError,
    SystemStateError,
    TransientError,
)

#: wall seconds in which the execution process usually cancels and sells what it can
_WIND_DOWN_WITHIN = 15.0
_POLL = 0.1
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stopped:
    """What a command changed."""

    account: str
    before: TradingState
    now: TradingState
    reason: str
    stop_file: bool
    #: orders and positions that are left; None: nobody asked for them
    remaining: list[str] | None = None
    #: None: nobody asked for one
    new_peak: NewPeak | None = None


def halt(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Stands in the ledger and in `alina status`.")] = "by hand",
    system: Annotated[bool, typer.Option("--system", help="Every account of this database.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel every open order.")] = False,
    flatten: Annotated[bool, typer.Option("--flatten", help="Cancel, and sell every position.")] = False,
    file: Annotated[bool, typer.Option("--file", help="By a stop-file: needs no server at all.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send no orders until `alina resume`.

    Holds for every worker once this returns. Works whether or not the system runs. To flatten, the
    account is REDUCING until nothing is left that can be sold, and HALTED then.

    Example: alina halt --flatten --reason "exchange maintenance"
    """
    settings = settings_of(context)
    if flatten and system:
        raise ConfigError(
            "flattening takes orders, which a halted system does not send: "
            "run `alina halt --flatten` for each account first, then `alina halt --system`"
        )
    if file:
        if system or cancel or flatten:
            raise ConfigError(
                "a stop-file keeps orders from being sent and can do no more: "
                "run `alina halt --file` alone, or leave out --file"
            )
        _write_stop_file(settings, reason)
        _show_file(settings, as_json)
        return
    wish = WindDown.FLATTEN if flatten else WindDown.CANCEL if cancel else WindDown.NONE
    with _stopped_by_file(settings, reason):
        before, now = _halt(settings, wish, reason, system)
    remaining = None
    if wish is not WindDown.NONE:
        remaining = _wind_down(settings)
        now = _account(settings)
    _show(settings, before, now, as_json, remaining)


def resume(
    context: typer.Context,
    system: Annotated[bool, typer.Option("--system", help="Every account of this database.")] = False,
    new_peak: Annotated[
        bool,
        typer.Option("--new-peak", help="Count drawdown and the day's loss from the next equity recorded."),
    ] = False,
    reason: Annotated[
        str | None, typer.Option(help="Of the new peak; stands in the ledger and in the log.")
    ] = None,
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Trade again.

    After `alina halt`, or after the system has stepped back by itself. Removes the stop-file. After a
    withdrawal or a deposit say --new-peak: else what was withdrawn counts as lost. Entries then wait for
    the next reconciliation, and results of trades closed today count as before.

    Example: alina resume --new-peak --reason "withdrew 5000 USDT"
    """
    from alina.cli.database import open_ledger

    settings, at = settings_of(context), datetime.now(UTC)
    name = settings.system.account
    _refuse_misfits(new_peak=new_peak, system=system, reason=reason, by=by)
    with open_ledger(settings) as ledger:
        before = ledger.lock_account(name)
        begun = None
        if new_peak:
            why = worded("--reason", reason, most=1000) or "by hand"
            begun = ledger.begin_new_peak(name, reason=why, by=person(by))
        if system:
            ledger.set_system_state(TradingState.ACTIVE, reason="", at=at)
        else:
            ledger.set_trading_state(name, TradingState.ACTIVE, reason="", at=at)
        now = ledger.account(name)
    if begun is not None:
        log.warning("new peak", account=name, number=begun.number, reason=begun.reason, by=begun.begun_by)
    with suppress(FileNotFoundError):
        settings.stop_file.unlink()
        if not as_json:
            say(f"removed {settings.stop_file}")
    _show(settings, before, now, as_json, new_peak=begun)


def _refuse_misfits(*, new_peak: bool, system: bool, reason: str | None, by: str | None) -> None:
    if new_peak and system:
        raise ConfigError("each account has a peak of its own: say --new-peak without --system")
    for option, given in (("--reason", reason), ("--by", by)):
        if given is not None and not new_peak:
            raise ConfigError(f"{option} is of a new peak: say --new-peak too, or leave it out")


def _halt(settings: Settings, wish: WindDown, reason: str, system: bool) -> tuple[AccountState, AccountState]:
    """The account's state before and after. Waits for whoever is deciding: no order is claimed later."""
    from alina.cli.database import open_ledger

    name, at = settings.system.account, datetime.now(UTC)
    state = TradingState.REDUCING if wish is WindDown.FLATTEN else TradingState.HALTED
    with open_ledger(settings) as ledger:
        for account in ledger.account_names() if system else [name]:
            ledger.lock_account(account)
        before = ledger.account(name)
        if system:
            ledger.set_system_state(state, reason=reason, at=at)
        else:
            ledger.set_trading_state(name, state, reason=reason, at=at)
        if wish is not WindDown.NONE:
            for account in ledger.account_names() if system else [name]:
                ledger.ask_wind_down(account, wish)
        return before, ledger.account(name)


def _account(settings: Settings) -> AccountState:
    from alina.cli.database import open_ledger

    with open_ledger(settings) as ledger:
        return ledger.account(settings.system.account)


def _wind_down(settings: Settings) -> list[str]:
    """Let the execution process cancel and sell, and say what remains when it is done or the time is over."""
    from alina import bootstrap
    from alina.orchestrator.halting import in_force
    from alina.queues import make_celery, send

    try:
        urls = bootstrap.connections(settings)
        app = make_celery(settings, database_url=urls.database_url, redis_url=urls.redis_url)
        send(app, "trading.wind_down")
    except (BrokerUnavailable, SystemStateError) as error:  # the ledger is told: no reason to fail
        return [f"everything: no worker can be asked now ({error}); it is done once they run again"]
    deadline = time.monotonic() + _WIND_DOWN_WITHIN
    while (account := in_force(settings.stop_file, _account(settings))).wind_down is not WindDown.NONE:
        if time.monotonic() > deadline:
            return [*_left(settings), _what_it_waits_for(account)]
        time.sleep(_POLL)
    return _left(settings)


def _what_it_waits_for(account: AccountState) -> str:
    if account.wind_down is WindDown.FLATTEN and account.trading_state is TradingState.HALTED:
        return (
            f"nothing is sold while this holds: {account.reason}. Remove the stop-file yourself, or run "
            "`alina resume --system`, and the sale goes on; `alina resume` gives it up"
        )
    return "the execution process goes on with it: see `alina status`"


def _left(settings: Settings) -> list[str]:
    from alina.cli.database import open_ledger

    name = settings.system.account
    with open_ledger(settings) as ledger:
        orders = [known.order for known in ledger.unsettled_orders() if known.order.account == name]
        return [f"order {order.client_order_id}" for order in orders] + [
            f"{position.quantity:f} {position.symbol}" for position in ledger.open_positions(name)
        ]


def _write_stop_file(settings: Settings, reason: str) -> None:
    if not settings.data_folder.is_dir():
        raise SystemStateError(f"{settings.data_folder} is not there: nothing trades from it")
    try:
        settings.stop_file.touch()
        settings.stop_file.write_text(f"{reason}\n")
    except OSError as error:
        if not settings.stop_file.exists():  # a full disk keeps the reason only
            raise SystemStateError(f"{settings.stop_file} cannot be written: {error}") from error


@contextmanager
def _stopped_by_file(settings: Settings, reason: str) -> Iterator[None]:
    """Stop the executor of this folder at once, until the ledger says that trading is stopped.

    The ledger may be told late or not at all: whoever decides or settles holds the account's lock, and the
    database may be away. Then, and if this process is killed, the file stays.
    """
    is_ours = settings.data_folder.is_dir() and not settings.stop_file.exists()
    if is_ours:
        with suppress(SystemStateError):  # the ledger may be told all the same
            _write_stop_file(settings, reason)
    try:
        yield
    except TransientError as error:
        if not settings.stop_file.exists():
            raise
        raise type(error)(
            f"stopped by {settings.stop_file} only, which the executor of this folder looks at. {error}"
        ) from None
    except AlinaError:
        _remove(settings, is_ours)
        raise
    _remove(settings, is_ours)


def _remove(settings: Settings, is_ours: bool) -> None:
    if is_ours:
        settings.stop_file.unlink(missing_ok=True)


def _show_file(settings: Settings, as_json: bool) -> None:
    if as_json:
        print_json({"stop_file": True, "path": settings.stop_file})
    else:
        say(f"{settings.stop_file} stops every worker of this data folder; `alina resume` removes it")


def _show(
    settings: Settings,
    before: AccountState,
    now: AccountState,
    as_json: bool,
    remaining: list[str] | None = None,
    new_peak: NewPeak | None = None,
) -> None:
    shown = _Stopped(
        account=now.name,
        before=before.trading_state,
        now=now.trading_state,
        reason=now.reason,
        stop_file=settings.stop_file.exists(),
        remaining=remaining,
        new_peak=new_peak,
    )
    if as_json:
        print_json(shown)
        return
    why = f" ({now.reason})" if now.reason else ""
    say(f"{now.name}: {before.trading_state.value} -> {now.trading_state.value}{why}")
    if new_peak is not None:
        say(f"new peak {new_peak.number}: drawdown and the day's loss count from the next equity recorded")
    for line in remaining or ():
        say(f"remains     {line}")
