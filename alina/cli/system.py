"""The whole system's start and end: servers, schema, first rows, processes."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sqlalchemy import NullPool

from alina import bootstrap
from alina.cli.broker import Broker
from alina.cli.told import telling
from alina.config import Settings
from alina.db.engine import make_engine, session_factory
from alina.embedded.folder import DataFolder
from alina.errors import ConfigError
from alina.llm import opening
from alina.orchestrator import stack
from alina.orchestrator.processes import end_leftovers
from alina.orchestrator.supervisor import Supervisor, process_table, stop_supervisor
from alina.queues import make_celery, send


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a running system shows itself. Holds no secret, only where each lies."""

    mode: str
    symbols: tuple[str, ...]
    data_folder: Path
    logs: Path
    flower: str
    flower_user: str
    flower_password: str
    metrics: str
    venue: str | None


def run_system(settings: Settings, announce: Callable[[Places], None], told: Mapping[str, str]) -> None:
    """Run everything until SIGTERM or Ctrl-C; called in the main thread. `announce` is called once it starts.

    `told` are the variables that were set over the configuration.

    Raises SystemStateError when the data folder is in use, ModelUnavailable, ConfigError,
    DatabaseUnavailable or BrokerUnavailable before any process has started.
    """
    opening.check_models(settings)
    bootstrap.check_plugins(settings)
    keys = _exchange_keys(settings)
    folder = DataFolder(settings.data_folder)
    with folder.lock(), telling(folder, told), _ending_in_order():
        folder.ensure_free_space(stack.NEEDED_SPACE)
        servers = stack.servers(settings, folder)
        try:
            servers.start()
            urls = bootstrap.connections(settings)
            broker = Broker(urls.redis_url)
            broker.queues()  # raises when it does not answer
            _prepare(settings, urls)
            specs = stack.processes(settings, folder, _secrets(settings, folder, urls, keys))
            announce(_places(settings, folder))
            Supervisor(
                folder,
                specs,
                stalled_after=settings.error_handling.stalled_after,
                queue_probe=broker.queues,
                revive=servers.revive,
            ).run()
        finally:
            _ignore_signals()
            servers.stop()


def _prepare(settings: Settings, urls: bootstrap.Connections) -> None:
    """The schema, the first rows, the registry's model looked at, and the first task. Safe to repeat."""
    bootstrap.prepare_database(settings, urls)
    opening.check_active(settings, session_factory(make_engine(urls.database_url, poolclass=NullPool)))
    app = make_celery(settings, database_url=urls.database_url, redis_url=urls.redis_url)
    # Without the balances every wish is for nothing: read them now, not one interval later.
    send(app, "trading.reconcile")


def _secrets(
    settings: Settings, folder: DataFolder, urls: bootstrap.Connections, keys: bootstrap.Keys
) -> stack.Secrets:
    return stack.Secrets(
        agent_database_url=urls.agent_database_url,
        executor_database_url=urls.executor_database_url,
        monitor_database_url=urls.monitor_database_url,
        redis_url=urls.redis_url,
        exchange_api_key=keys.api_key or "",
        exchange_secret=keys.secret or "",
        model_keys={name: key.get_secret_value() for name, key in settings.model_keys.items()},
        flower_password=_flower_password(settings, folder),
    )


def stop_system(settings: Settings) -> bool:
    """Stop what runs in the data folder, and what a killed `alina up` has left. False: nothing ran.

    Raises SystemStateError when it does not end in time.
    """
    if not settings.data_folder.exists():
        return False
    folder = DataFolder(settings.data_folder)
    if stop_supervisor(folder):
        return True
    left = any(process.alive for process in process_table(folder))
    with folder.lock():
        end_leftovers(folder)
        stack.servers(settings, folder).stop()
    return left


def _exchange_keys(settings: Settings) -> bootstrap.Keys:
    if settings.market.exchange.mode == "paper":
        return bootstrap.venue_keys(settings)
    return bootstrap.exchange_keys(settings)


def _flower_password(settings: Settings, folder: DataFolder) -> str:
    if settings.flower_password is not None:
        return settings.flower_password.get_secret_value()
    file = settings.monitoring.flower_password_file
    if file is None:
        return folder.secret("flower_password")
    try:
        return settings.path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"monitoring.flower_password_file: {settings.path(file)} cannot be read ({error.strerror}): "
            "correct the path, or set it to null"
        ) from None


def _places(settings: Settings, folder: DataFolder) -> Places:
    monitoring = settings.monitoring
    password_file = settings.path(monitoring.flower_password_file or folder.path / "secrets/flower_password")
    paper = settings.market.exchange.mode == "paper"
    return Places(
        mode=settings.market.exchange.mode,
        symbols=settings.market.symbols,
        data_folder=folder.path,
        logs=folder.path / "logs",
        flower=f"http://127.0.0.1:{stack.flower_port(settings, folder)}",
        flower_user=monitoring.flower_user,
        flower_password="ALINA_FLOWER_PASSWORD" if settings.flower_password else str(password_file),
        metrics=f"http://127.0.0.1:{stack.metrics_port(settings, folder)}/metrics",
        venue=bootstrap.venue_url(settings) if paper else None,
    )


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """SIGTERM and a closed terminal end a start as Ctrl-C does: what has started is stopped."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    hang_up = signal.getsignal(signal.SIGHUP)
    if hang_up is not signal.SIG_IGN:  # ignored under nohup
        signal.signal(signal.SIGHUP, _hang_up)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, hang_up)
        signal.signal(signal.SIGINT, interrupt)


def _hang_up(_signal: int, _frame: FrameType | None) -> None:
    """The terminal is gone: writing there would fail in the middle of the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    signal.raise_signal(signal.SIGTERM)


def _ignore_signals() -> None:
    """A second Ctrl-C must not leave servers behind; each of them is killed after its grace anyway."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
