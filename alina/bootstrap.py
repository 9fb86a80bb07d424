"""Picks implementations from Settings. The one place that shows what runs.

What takes long to import and not every command needs is imported where it is made.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import NullPool
from sqlalchemy.orm import Session, sessionmaker

from alina.agents.base import Agent, load_agent
from alina.agents.rule import RuleAgent
from alina.agents.trading import TradingAgent
from alina.config import Settings
from alina.db import roles
from alina.db.engine import make_engine, session_factory, transaction
from alina.db.roles import AGENT, EXECUTOR, MONITOR
from alina.domain.ports import AnswerStream, Clock, Exchange, Model, Tool
from alina.embedded.folder import DataFolder
from alina.errors import ConfigError, SystemStateError
from alina.exchange.budget import Budget, SharedBudget
from alina.exchange.budget_server import BudgetServer
from alina.exchange.candle_store import LOCAL, CandleStore
from alina.ledger import Ledger
from alina.llm import opening
from alina.llm.streaming import silent
from alina.memory.embedding import WordLlamaEmbedder
from alina.memory.store import PostgresMemory
from alina.orchestrator.runtime import Runtime, UnitOfWork, limits
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
        from alina.embedded.postgres import EmbeddedPostgres

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
    from alina.embedded.redis import EmbeddedRedis

    url = settings.redis_url
    return url.get_secret_value() if url else EmbeddedRedis(DataFolder(settings.data_folder)).url


def venue_url(settings: Settings) -> str:
    """Where the local venue listens. Raises SystemStateError while it does not run."""
    from alina.orchestrator.stack import VENUE

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
    api_key = settings.secret(settings.exchange_api_key, exchange.api_key_file)
    secret = settings.secret(settings.exchange_secret, exchange.secret_file)
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
    from alina.embedded.redis import EmbeddedRedis

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


def make_sessions(database_url: str) -> sessionmaker[Session]:
    """Sessions on one engine, which connects on first use, after any fork."""
    return session_factory(make_engine(database_url))


def candles_of(settings: Settings) -> str:
    """Whose candles the system stores and reads: the venue's, or those of the exchange traded on."""
    section = settings.market.exchange
    return LOCAL if section.mode == "paper" else section.id


def make_unit_of_work(database_url: str, exchange: str) -> Callable[[], AbstractContextManager[UnitOfWork]]:
    """Units of work on one engine: the engine connects on first use, after any fork.

    `exchange`: see `candles_of`.
    """
    return _units_of_work(make_sessions(database_url), exchange)


def _units_of_work(
    sessions: sessionmaker[Session], exchange: str
) -> Callable[[], AbstractContextManager[UnitOfWork]]:
    embedder = WordLlamaEmbedder()

    @contextmanager
    def unit_of_work() -> Iterator[UnitOfWork]:
        with transaction(sessions) as session:
            yield UnitOfWork(
                Ledger(session), CandleStore(session, exchange), PostgresMemory(session, embedder)
            )

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
        unit_of_work=_units_of_work(sessions, candles_of(settings)),
        model=model or opening.make_chosen_model(settings, sessions, redis_url=redis_url),
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
    from alina.db import migrations

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
