"""The parts of a running system, all in this process and on one simulated clock."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from alina import bootstrap
from alina.agents.base import Agent, Answering
from alina.backtest.history import History
from alina.config import Settings
from alina.domain.ports import Fact, Memory, Model
from alina.domain.records import utc_from_ms
from alina.errors import ConfigError, SystemStateError
from alina.ledger.in_memory import InMemoryLedger
from alina.memory.embedding import WordLlamaEmbedder
from alina.memory.in_memory import InMemoryMemory
from alina.orchestrator import execution, learning, stops
from alina.orchestrator.runtime import Runtime, UnitOfWork
from alina.tools.registry import load_tools
from alina.venue.candles_csv import Series
from alina.venue.fees import Fees
from alina.venue.in_process import InProcessExchange
from alina.venue.markets import ListedMarket, common_time, list_market
from alina.venue.spec import Listing


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One account of one agent on recorded markets, before its first bar."""

    runtime: Runtime
    agent: Agent
    ledger: InMemoryLedger
    exchange: InProcessExchange
    markets: Mapping[str, ListedMarket]
    history: History
    messages: deque[tuple[str, tuple[Any, ...]]]
    #: market ms
    start_ms: int
    end_ms: int

    def work_off(self) -> None:
        """Do what was sent, and what that sends, in its order."""
        while self.messages:
            name, arguments = self.messages.popleft()
            _TASKS[name](self.runtime, *arguments)


_TASKS: Mapping[str, Callable[..., object]] = {
    "trading.execute_proposal": lambda runtime, proposal_id: execution.execute(runtime, UUID(proposal_id)),
    "trading.protect": stops.protect,
    "learning.evaluate": lambda runtime, position_id: learning.evaluate(runtime, UUID(position_id)),
}


class _NoMemory(InMemoryMemory):
    """For an agent that recalls nothing."""

    def __init__(self) -> None:
        """No text is looked at, so no embedder is needed."""

    def remember(self, fact: Fact) -> None:
        """Nobody would ask for it."""


def make_world(
    settings: Settings,
    series: Mapping[str, Series],
    *,
    agent: str,
    model: Callable[[], Model] | None = None,
    memory: Memory | None = None,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> World:
    """An account with the venue's balances, fees and spread of the settings, on these series.

    Runs of the agent begin once every market has `market.history` candles, or its first ones if it has
    fewer, and not before `start_ms`. Raises ConfigError, DataError.
    """
    history = History(series)
    settings = _for_history(settings, history, agent)
    venue = settings.market.venue
    markets = {symbol: list_market(Listing(symbol), one, venue.spread) for symbol, one in series.items()}
    warmup = min(settings.market.history, *(len(one.bars) // 2 for one in series.values()))
    begin, end = common_time(series, warmup)
    start, stop = max(begin, start_ms or begin), min(end, end_ms or end)
    if start >= stop:
        first, last = (f"{utc_from_ms(moment):%Y-%m-%d %H:%M}" for moment in (begin, end))
        raise ConfigError(
            f"nothing lies between --from and --to: the data, once the agent has its {warmup} candles of "
            f"history, is of {first} to {last}: choose times within"
        )
    exchange = InProcessExchange(
        markets.values(),
        balances=venue.balances,
        fees=Fees(
            maker=venue.maker_fee or Decimal(0),
            taker=venue.taker_fee or Decimal(0),
            asset=venue.fee_asset,
            asset_prices=venue.fee_asset_prices,
        ),
        now=utc_from_ms(start),
    )
    ledger, messages = InMemoryLedger(wall=exchange.now), deque[tuple[str, tuple[Any, ...]]]()
    agents = bootstrap.make_agents(settings)
    chosen = agents[agent]
    if memory is None:
        memory = _NoMemory() if isinstance(chosen, Answering) else InMemoryMemory(WordLlamaEmbedder())
    work = nullcontext(UnitOfWork(ledger, history, memory))  # each of the ledger's methods is a transaction

    runtime = Runtime(
        settings=settings,
        clock=exchange,
        exchange=exchange,
        unit_of_work=lambda: work,
        model=model or _no_model,
        agents=agents,
        tools=load_tools(settings.tools),
        send=lambda name, *arguments: messages.append((name, arguments)),
        checks=bootstrap.make_checks(settings),
    )
    ledger.ensure_account(settings.system.account)
    ledger.ensure_revision(agent, system=chosen.system_prompt, template=chosen.user_template, author="person")
    ledger.record_balances(settings.system.account, exchange.balances(), at=exchange.now())
    return World(
        runtime=runtime,
        agent=chosen,
        ledger=ledger,
        exchange=exchange,
        markets=markets,
        history=history,
        messages=messages,
        start_ms=start,
        end_ms=stop,
    )


def _for_history(settings: Settings, history: History, agent: str) -> Settings:
    """The settings with these symbols, their timeframe and this agent; no stop-file of a running system."""
    quotes = {symbol.partition("/")[2] for symbol in history.symbols}
    if len(quotes) > 1:
        raise ConfigError(f"symbols are quoted in {' and '.join(sorted(quotes))}: choose those of one quote")
    if not any(settings.market.venue.balances.get(quote, 0) > 0 for quote in quotes):
        raise ConfigError(f"market.venue.balances holds no {quotes.pop()} to trade with: set it, or --cash")
    market = settings.market.model_copy(update={"symbols": history.symbols, "timeframe": history.timeframe})
    system = settings.system.model_copy(update={"data_folder": Path("/nonexistent")})
    trading = settings.trading.model_copy(update={"agents": (agent,)})
    return settings.model_copy(update={"market": market, "system": system, "trading": trading})


def _no_model() -> Model:
    raise SystemStateError("this agent asks a model: name one with --model")


def quote_of(symbols: Sequence[str]) -> str:
    """The quote that all of them share."""
    return symbols[0].partition("/")[2]
