"""What `alina up` runs: the embedded servers and the processes, each with only the secrets it needs."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alina.config import Settings
from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.embedded.redis import EmbeddedRedis
from alina.embedded.server import Command, Server
from alina.embedded.services import EmbeddedServices, LocalServer, answers_http
from alina.orchestrator.processes import ProcessSpec
from alina.queues import DEFAULT, EXECUTION, INFERENCE
from alina.venue.spec import Dialect, Listing, VenueSpec, names_a_file

VENUE = "venue"
#: bytes that must be free before anything starts
NEEDED_SPACE = 500 * 10**6
#: what a child inherits from the shell; everything else, secrets first of all, stays out
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
_MODEL_KEYS = "ALINA_MODEL_KEYS__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What the processes of a stack are given. Never logged."""

    agent_database_url: str
    executor_database_url: str
    monitor_database_url: str
    redis_url: str
    exchange_api_key: str
    exchange_secret: str
    flower_password: str
    #: of models elsewhere, by provider
    model_keys: Mapping[str, str]


def servers(settings: Settings, folder: DataFolder) -> EmbeddedServices:
    """The servers nobody else runs: those without a URL in the environment, and in paper mode the venue."""
    chosen: list[Server] = []
    if settings.database_url is None:
        chosen.append(EmbeddedPostgres(folder))
    if settings.redis_url is None:
        chosen.append(EmbeddedRedis(folder))
    if settings.market.exchange.mode == "paper":
        chosen.append(_venue(settings, folder))
    return EmbeddedServices(chosen)


def _venue(settings: Settings, folder: DataFolder) -> Server:
    home = folder.subfolder(VENUE)
    spec_file = home / "spec.json"

    def prepare() -> Command:
        venue_spec(settings, folder, home).write(spec_file)
        argv = [sys.executable, "-m", "alina.venue", str(spec_file)]
        return Command(argv=argv, cwd=home, environment=_environment())

    return LocalServer(folder, VENUE, prepare=prepare, url_file=home / "venue.url", answers=answers_http)


def venue_spec(settings: Settings, folder: DataFolder, home: Path) -> VenueSpec:
    """The venue of these settings: its listings, its speed, and the paper account's keys."""
    venue = settings.market.venue
    return VenueSpec(
        folder=home,
        port=venue.port or folder.port(VENUE),
        dialect=Dialect(settings.market.exchange.id),
        listings=tuple(
            Listing(symbol, str(settings.path(Path(data))) if names_a_file(data) else data)
            for symbol, data in venue.listings.items()
        ),
        speed=venue.speed,
        warmup=venue.warmup,
        balances=venue.balances,
        maker_fee=venue.maker_fee,
        taker_fee=venue.taker_fee,
        spread=venue.spread,
        fee_asset=venue.fee_asset,
        fee_asset_prices=venue.fee_asset_prices,
        weight_limit=venue.weight_limit,
        order_limit_10s=venue.order_limit_10s,
        mirror_options=settings.market.exchange.options,
        api_key=folder.secret("venue_api_key"),
        secret=folder.secret("venue_secret"),
    )


def processes(settings: Settings, folder: DataFolder, secrets: Secrets) -> list[ProcessSpec]:
    """Every process but the servers, in the order of their start."""
    base = _environment() | {
        "ALINA_CONFIG": str(settings.config_file),
        "ALINA_REDIS_URL": secrets.redis_url,
    }
    agent = base | {"ALINA_DATABASE_URL": secrets.agent_database_url}
    monitor = base | {"ALINA_DATABASE_URL": secrets.monitor_database_url}
    executor = {
        "ALINA_DATABASE_URL": secrets.executor_database_url,
        "ALINA_EXCHANGE_API_KEY": secrets.exchange_api_key,
        "ALINA_EXCHANGE_SECRET": secrets.exchange_secret,
    }
    model_keys = {f"{_MODEL_KEYS}{name.upper()}": key for name, key in secrets.model_keys.items()}
    flower = {"FLOWER_BASIC_AUTH": f"{settings.monitoring.flower_user}:{secrets.flower_password}"}
    grace = settings.execution.soft_shutdown.total_seconds() + 5
    return [
        _worker(settings, EXECUTION, 1, base | executor, grace),
        _worker(settings, INFERENCE, settings.execution.concurrency, agent | model_keys, grace),
        _worker(settings, DEFAULT, 1, agent, grace),
        ProcessSpec(
            name="beat", argv=_celery("beat", "--loglevel", settings.logging.level), env=base, grace=10
        ),
        ProcessSpec(
            name="flower", argv=_celery("flower", *_flower(settings, folder)), env=base | flower, grace=10
        ),
        ProcessSpec(
            name="metrics",
            argv=[sys.executable, "-m", "alina.api.metrics", str(metrics_port(settings, folder))],
            env=monitor,
            grace=10,
        ),
    ]


def metrics_port(settings: Settings, folder: DataFolder) -> int:
    return settings.monitoring.metrics_port or folder.port("metrics")


def flower_port(settings: Settings, folder: DataFolder) -> int:
    return settings.monitoring.flower_port or folder.port("flower")


def _worker(
    settings: Settings, queue: str, concurrency: int, env: Mapping[str, str], grace: float
) -> ProcessSpec:
    arguments = ("-n", f"{queue}@%h", "-Q", queue, "--pool", "prefork", "--concurrency", str(concurrency))
    quiet = ("--without-gossip", "--without-mingle", "--loglevel", settings.logging.level)
    return ProcessSpec(
        name=queue,
        argv=_celery("worker", *arguments, *quiet),
        # SIGTERM becomes the soft shutdown: running tasks end, what waits goes back to the queue
        env={**env, "REMAP_SIGTERM": "SIGQUIT"},
        queue=queue,
        grace=grace,
    )


def _celery(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "celery", "--app", "workers.app", "--quiet", *arguments]


def _flower(settings: Settings, folder: DataFolder) -> tuple[str, ...]:
    port = flower_port(settings, folder)
    return "--address=127.0.0.1", f"--port={port}", "--max-tasks=10000", "--logging=warning"


def _environment() -> dict[str, str]:
    """The shell's harmless variables and the settings that are no secrets."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    settings = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("ALINA_") and "__" in name and not name.upper().startswith(_MODEL_KEYS)
    }
    return kept | settings
