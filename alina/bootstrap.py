"""Picks implementations from Settings. The one place that shows what runs."""

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil
from pydantic import SecretStr
from sqlalchemy import NullPool
from sqlalchemy.orm import Session, sessionmaker

from alina.agents.base import Agent, load_agent
from alina.agents.rule import RuleAgent
from alina.agents.trading import TradingAgent
from alina.config import Settings
from alina.config.settings import Provider
from alina.db import migrations, roles
from alina.db.engine import make_engine, session_factory, transaction
from alina.db.roles import AGENT, EXECUTOR, MONITOR
from alina.domain.models import RegisteredModel
from alina.domain.ports import AnswerStream, Clock, Exchange, Model, Tool
from alina.domain.runs import ModelIdentity
from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.embedded.redis import EmbeddedRedis
from alina.errors import ConfigError, SystemStateError
from alina.exchange.budget import Budget, SharedBudget
from alina.exchange.budget_server import BudgetServer
from alina.exchange.candle_store import CandleStore
from alina.ledger import Ledger
from alina.llm.answers import AnswerCache, CachedModel
from alina.llm.budget import Budgeted, ProcessSpending, Spending
from alina.llm.catalogue import ModelCatalogue
from alina.llm.choice import ChosenModel
from alina.llm.circuit import Circuit
from alina.llm.fallback import Fallback
from alina.llm.pool import Layout, ModelPool
from alina.llm.prefix_store import NO_PREFIXES, PrefixStore
from alina.llm.providers import is_elsewhere, open_provider
from alina.llm.registry import check_model
from alina.llm.spending import PostgresSpending
from alina.llm.streaming import silent
from alina.memory.embedding import WordLlamaEmbedder
from alina.memory.store import PostgresMemory
from alina.orchestrator.runtime import Runtime, UnitOfWork, limits
from alina.orchestrator.stack import VENUE
from alina.risk.checks import Check
from alina.risk.registry import build as build_checks
from alina.tools.registry import load_tools
from alina.venue.ccxt_options import venue_options
from alina.venue.clock import ReplayClock
from alina.venue.spec import Dialect

if TYPE_CHECKING:
    from alina.exchange.ccxt_exchange import CcxtExchange

AGENTS: Mapping[str, Callable[[Settings], Agent]] = {
    TradingAgent.name: TradingAgent,
    RuleAgent.name: RuleAgent,
}


#: of the memory; the rest is for Postgres, Redis and what processes hold beside models
MODELS_SHARE = Decimal("0.75")


@dataclass(frozen=True, slots=True)
class Connections:
    """Where the servers are. The URLs carry passwords: never log them."""

    #: of the owner, who makes tables; in a process of `alina up`, of that process's own role
    database_url: str
    agent_database_url: str
    executor_database_url: str
    monitor_database_url: str
    redis_url: str


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs requests to the exchange. Only the execution process asks for them."""

    api_key: str | None
    secret: str | None


NO_KEYS = Keys(None, None)


class WallClock:
    """The time of a market that is not replayed."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def connections(settings: Settings) -> Connections:
    """ALINA_DATABASE_URL, its three roles and ALINA_REDIS_URL, or the embedded servers of the data folder."""
    if settings.database_url is None:
        server = EmbeddedPostgres(DataFolder(settings.data_folder))
        agent, executor, monitor = (server.url_of(role) for role in (AGENT, EXECUTOR, MONITOR))
        return Connections(server.url, agent, executor, monitor, broker_url(settings))
    owner = settings.database_url.get_secret_value()
    agent = _url(settings.agent_database_url, owner)
    executor = _url(settings.executor_database_url, owner)
    return Connections(
        owner, agent, executor, _url(settings.monitor_database_url, agent), broker_url(settings)
    )


def _url(value: SecretStr | None, default: str) -> str:
    return value.get_secret_value() if value else default


def broker_url(settings: Settings) -> str:
    """ALINA_REDIS_URL, or the embedded Redis of the data folder: all that beat and Flower need."""
    url = settings.redis_url
    return url.get_secret_value() if url else EmbeddedRedis(DataFolder(settings.data_folder)).url


def venue_url(settings: Settings) -> str:
    """Where the local venue listens. Raises SystemStateError while it does not run."""
    try:
        return (settings.data_folder / VENUE / "venue.url").read_text().strip()
    except OSError:
        raise SystemStateError("the local venue does not run: start the system with `alina up`") from None


def venue_keys(settings: Settings) -> Keys:
    """The paper account's keys, made with the data folder."""
    folder = DataFolder(settings.data_folder)
    return Keys(folder.secret("venue_api_key"), folder.secret("venue_secret"))


def exchange_keys(settings: Settings) -> Keys:
    """The keys from the environment or the named files. Raises ConfigError when there are none."""
    exchange = settings.market.exchange
    api_key = _secret(settings.exchange_api_key, settings, exchange.api_key_file)
    secret = _secret(settings.exchange_secret, settings, exchange.secret_file)
    if not (api_key and secret):
        raise ConfigError(
            "no exchange keys: set ALINA_EXCHANGE_API_KEY and ALINA_EXCHANGE_SECRET, "
            "or market.exchange.api_key_file and secret_file"
        )
    return Keys(api_key, secret)


def refuse_exchange_keys(settings: Settings) -> None:
    """Raises ConfigError where the exchange's keys are in an environment that must not have them."""
    variables = {
        "ALINA_EXCHANGE_API_KEY": settings.exchange_api_key,
        "ALINA_EXCHANGE_SECRET": settings.exchange_secret,
    }
    found = [name for name, value in variables.items() if value is not None]
    if found:
        raise ConfigError(
            f"{' and '.join(found)} must be in the environment of the execution worker only: "
            "take them out of this process's environment"
        )


def _secret(value: SecretStr | None, settings: Settings, file: Path | None) -> str | None:
    if value is not None:
        return value.get_secret_value()
    if file is None:
        return None
    try:
        return settings.path(file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"{settings.path(file)} cannot be read: {error.strerror}") from None


def make_exchange(settings: Settings, keys: Keys, redis_url: str | None = None) -> "CcxtExchange":
    """The one adapter; in paper mode it is pointed at the venue by options alone.

    Live, or where the venue has limits, all processes that are given the same Redis share one budget.
    """
    # ccxt takes 50 MB: beat, Flower and the metrics, which reach no exchange, do without it
    from alina.exchange.ccxt_exchange import CcxtExchange
    from alina.exchange.options import merged

    section = settings.market.exchange
    window = settings.execution.receive_window // timedelta(milliseconds=1)
    options = merged({"options": {"recvWindow": window}}, section.options)
    if section.mode == "paper":
        options = merged(options, _paper_options(settings))  # on top: no option sends a paper order elsewhere
    is_limited = section.mode == "live" or settings.market.venue.has_limits
    return CcxtExchange(
        section.id,
        api_key=keys.api_key,
        secret=keys.secret,
        options=options,
        timeout=section.timeout,
        budget=_budget(settings, redis_url) if redis_url and is_limited else None,
    )


def public_exchange(settings: Settings, exchange_id: str | None = None) -> "CcxtExchange":
    """The public data of a real exchange, `market.exchange.id` unless told otherwise, in any mode.

    Where the system trades there and runs, its budget is asked.
    """
    section = settings.market.exchange
    is_ours = section.mode == "live" and exchange_id in (None, section.id)
    changes = {} if is_ours else {"id": exchange_id or section.id, "mode": "live", "options": {}}
    market = settings.market.model_copy(update={"exchange": section.model_copy(update=changes)})
    is_running = settings.redis_url or EmbeddedRedis(DataFolder(settings.data_folder)).pid is not None
    redis_url = broker_url(settings) if is_ours and is_running else None
    return make_exchange(settings.model_copy(update={"market": market}), NO_KEYS, redis_url)


def _budget(settings: Settings, redis_url: str) -> Callable[[Decimal], Budget]:
    """The budget of this address and this account at the exchange; it connects on first use."""
    section = settings.market.exchange
    server, account = BudgetServer(redis_url), settings.system.account
    return lambda limit: SharedBudget(
        server.evaluate,
        f"{section.mode}:{section.id}",
        account=account,
        limit=limit,
        share=section.request_share,
    )


def _paper_options(settings: Settings) -> dict[str, Any]:
    """ccxt's options for the venue: where it is, what it charges, and no waiting between requests."""
    venue = settings.market.venue
    where = venue_options(venue_url(settings), Dialect(settings.market.exchange.id))
    fees = {"maker": str(venue.maker_fee), "taker": str(venue.taker_fee)}
    return {**where, "enableRateLimit": False, "fees": {"trading": fees}}


def make_clock(settings: Settings) -> Clock:
    """Market time: the venue's in paper mode, else the wall's."""
    return ReplayClock(venue_url(settings)) if settings.market.exchange.mode == "paper" else WallClock()


def threads_a_child(settings: Settings) -> int:
    """`models.threads`, but never more than cores in all: four children of two threads a core starve."""
    share = max(1, len(os.sched_getaffinity(0)) // settings.execution.concurrency)
    return min(settings.models.threads or share, share)


def make_pool(settings: Settings, prefixes: PrefixStore = NO_PREFIXES) -> ModelPool:
    """What holds the models of this process, within what `execution.ram_limit` and the machine leave them."""
    memory = min(settings.execution.ram_limit, psutil.virtual_memory().total)
    return ModelPool(
        budget_bytes=int(memory * MODELS_SHARE), children=settings.execution.concurrency, prefixes=prefixes
    )


def make_prefixes(settings: Settings) -> PrefixStore:
    """The prefixes of a child, and those in the data folder that all children share."""
    models = settings.models
    folder = settings.data_folder / "prefixes"
    return PrefixStore(folder, ram_bytes=models.prefix_ram, disk_bytes=models.prefix_disk)


def model_source(settings: Settings, source: str | None = None) -> str:
    """`source`, by default `models.default`, with a relative path made absolute."""
    source = source or settings.models.default
    scheme, separator, file = source.partition(":")
    if not separator:
        return str(settings.path(Path(source)))
    return source if scheme in ("package", "provider") else f"{scheme}:{settings.path(Path(file))}"


def make_model(
    settings: Settings,
    like: ModelIdentity | None = None,
    *,
    registered: RegisteredModel | None = None,
    pool: ModelPool | None = None,
    spending: Spending | None = None,
) -> Model:
    """`registered`, else `models.default`, and those of `models.fallback` that stand in for it, as one.

    What they take is counted in `spending`, else by this process alone.
    `like` a stored identity: the one of them that has its name, alone, for a replay in the same layout.
    """
    named = _model_names(settings, registered.facts.source if registered else None)
    sources = [model_source(settings, each) for each in named]
    pool = pool or make_pool(settings)
    if like is not None:
        source = next((s for s in sources if s.endswith(f"/{like.name}")), sources[0])
        return open_source(settings, source, like, pool=pool)
    first = open_source(
        settings, sources[0], pool=pool, sha256=registered.facts.sha256 if registered else None
    )
    models = [first, *(open_source(settings, each, pool=pool) for each in sources[1:])]
    spending = spending or ProcessSpending()
    models = [_budgeted(settings, *each, spending) for each in zip(named, models, strict=True)]
    if len(models) == 1 and not is_elsewhere(sources[0]):
        return models[0]
    failures, reset = settings.models.circuit_failures, settings.models.circuit_reset
    return Fallback(models, circuits=[Circuit(failures=failures, reset=reset) for _ in models])


def _model_names(settings: Settings, first: str | None = None) -> tuple[str, ...]:
    return first or settings.models.default, *settings.models.fallback


def _budgeted(settings: Settings, name: str, model: Model, spending: Spending) -> Model:
    """The model as `name` is limited and priced; left as it is where nothing is counted."""
    models = settings.models
    if not models.budget.is_limited and name not in models.prices:
        return model
    try:
        price = models.price(name)
    except ValueError as error:
        raise ConfigError(f"models.{error}") from None
    return Budgeted(model, price=price, budget=models.budget, spending=spending)


def open_source(
    settings: Settings,
    source: str,
    like: ModelIdentity | None = None,
    *,
    pool: ModelPool | None = None,
    sha256: str | None = None,
) -> Model:
    """One model; one of this machine from the file with this hash. Raises ModelUnavailable, ConfigError."""
    if is_elsewhere(source):
        return open_provider(source, settings.models, functools.partial(_model_key, settings))
    return (pool or make_pool(settings)).model(_layout(settings, source, like, sha256=sha256))


def _layout(
    settings: Settings, source: str, like: ModelIdentity | None = None, *, sha256: str | None = None
) -> Layout:
    return Layout(
        source,
        context_length=like.context_length if like else settings.models.context_length,
        threads=like.threads if like else threads_a_child(settings),
        sha256=sha256,
    )


def check_models(settings: Settings) -> str:
    """One line about each configured model, without asking any. Raises ModelUnavailable, ConfigError."""
    return "; ".join(_checked(settings, model_source(settings, name)) for name in _model_names(settings))


def _checked(settings: Settings, source: str) -> str:
    if not is_elsewhere(source):
        found = check_model(source)
        make_pool(settings).check_fits(_layout(settings, source))
        return found
    identity = open_source(settings, source).identity
    return f"{source.partition(':')[2]}: elsewhere, {identity.context_length} tokens of context"


def _model_key(settings: Settings, name: str, provider: Provider) -> str | None:
    return _secret(settings.model_keys.get(name), settings, provider.api_key_file) or None


def open_registered(settings: Settings, registered: RegisteredModel) -> Model:
    """A model of the registry alone, as a child of the inference worker would have it."""
    facts = registered.facts
    return open_source(settings, model_source(settings, facts.source), sha256=facts.sha256)


def check_registered(settings: Settings, registered: RegisteredModel) -> None:
    """Raise ModelUnavailable or ConfigError unless agents could be given this model now."""
    open_registered(settings, registered)
    _checked(settings, registered.facts.source)


def make_sessions(database_url: str) -> sessionmaker[Session]:
    """Sessions on one engine, which connects on first use, after any fork."""
    return session_factory(make_engine(database_url))


def make_chosen_model(
    settings: Settings,
    sessions: sessionmaker[Session],
    pool: ModelPool | None = None,
    redis_url: str | None = None,
) -> ChosenModel:
    """The model that is active in the registry, else `models.default`; resolved once a task.

    With a Redis it is asked an equal question once; the rest of this process's model calls stay as they are.
    """
    pool = pool or make_pool(settings)
    spending = PostgresSpending(functools.partial(transaction, sessions))

    cache = make_answer_cache(settings, redis_url)

    def opened(registered: RegisteredModel | None) -> Model:
        model = make_model(settings, registered=registered, pool=pool, spending=spending)
        return CachedModel(model, cache) if cache else model

    return ChosenModel(lambda: _active(sessions), opened)


def make_answer_cache(settings: Settings, redis_url: str | None) -> AnswerCache | None:
    """The answers that all processes with this Redis share; None where none are kept."""
    life, slots = settings.models.answers_kept, settings.models.answers_max
    return AnswerCache(redis_url, life=life, slots=slots) if redis_url and life else None


def _active(sessions: sessionmaker[Session]) -> RegisteredModel | None:
    with transaction(sessions) as session:
        return ModelCatalogue(session).active()


def warm_up(settings: Settings, sessions: sessionmaker[Session], pool: ModelPool) -> None:
    """Open what the next task asks, if it is of this machine. Raises as `make_chosen_model`'s model does."""
    active = _active(sessions)
    source = model_source(settings, active.facts.source if active else None)
    if not is_elsewhere(source):
        pool.model(_layout(settings, source, sha256=active.facts.sha256 if active else None)).warm_up()


def make_unit_of_work(database_url: str) -> Callable[[], AbstractContextManager[UnitOfWork]]:
    """Units of work on one engine: the engine connects on first use, after any fork."""
    return _units_of_work(make_sessions(database_url))


def _units_of_work(sessions: sessionmaker[Session]) -> Callable[[], AbstractContextManager[UnitOfWork]]:
    embedder = WordLlamaEmbedder()

    @contextmanager
    def unit_of_work() -> Iterator[UnitOfWork]:
        with transaction(sessions) as session:
            yield UnitOfWork(Ledger(session), CandleStore(session), PostgresMemory(session, embedder))

    return unit_of_work


def make_runtime(
    settings: Settings,
    *,
    database_url: str,
    send: Callable[..., None],
    keys: Keys = NO_KEYS,
    redis_url: str | None = None,
    exchange: Exchange | None = None,
    clock: Clock | None = None,
    model: Callable[[], Model] | None = None,
    sessions: sessionmaker[Session] | None = None,
    agents: Mapping[str, Agent] | None = None,
    tools: tuple[Tool, ...] | None = None,
    stream: Callable[[UUID], AnswerStream] = silent,
) -> Runtime:
    """Everything a process works with. Every argument replaces what the settings would pick."""
    sessions = sessions or make_sessions(database_url)
    return Runtime(
        settings=settings,
        clock=clock or make_clock(settings),
        exchange=exchange or make_exchange(settings, keys, redis_url),
        unit_of_work=_units_of_work(sessions),
        model=model or make_chosen_model(settings, sessions, redis_url=redis_url),
        agents=make_agents(settings) if agents is None else agents,
        tools=load_tools(settings.tools) if tools is None else tools,
        send=send,
        checks=make_checks(settings),
        stream=stream,
    )


def make_checks(settings: Settings) -> tuple[Check, ...]:
    """The kernel's checks of `risk.checks`. Raises ConfigError for one that cannot be built."""
    return build_checks(settings.risk.checks, limits(settings))


def make_agents(settings: Settings) -> dict[str, Agent]:
    """The agents of `trading.agents`, by name."""
    return {name: load_agent(name, settings, AGENTS) for name in settings.trading.agents}


def check_plugins(settings: Settings) -> str:
    """One line about the agents, tools and checks that the settings name.

    Raises ConfigError for one that is not installed, cannot be loaded, or does not take its settings.
    """
    agents, tools = make_agents(settings), load_tools(settings.tools)
    make_checks(settings)
    return f"agents {', '.join(agents)}; tools {', '.join(tool.name for tool in tools) or 'none'}"


def prepare_database(settings: Settings, urls: Connections) -> None:
    """Schema, logins and first rows, as the owner. Safe to repeat.

    Raises ConfigError, DatabaseUnavailable.
    """
    migrations.upgrade(urls.database_url)
    for role_url in (urls.agent_database_url, urls.executor_database_url, urls.monitor_database_url):
        if role_url != urls.database_url:
            roles.let_log_in(urls.database_url, role_url)
    prepare_ledger(settings, database_url=urls.database_url)


def prepare_ledger(settings: Settings, *, database_url: str) -> None:
    """The rows that everything refers to: the account, the agents and their first prompts. Idempotent."""
    engine = make_engine(database_url, poolclass=NullPool)  # no connection stays open for what is done once
    with transaction(session_factory(engine)) as session:
        ledger = Ledger(session)
        ledger.ensure_account(settings.system.account)
        for agent in make_agents(settings).values():
            ledger.ensure_revision(
                agent.name, system=agent.system_prompt, template=agent.user_template, author="person"
            )
            ledger.ensure_agent(agent.name, kind=type(agent).__name__, prompt=agent.name)
