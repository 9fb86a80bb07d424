"""A whole system without Celery, for the tests of the main path.

The exchange is a venue process whose market stands still, so that a price read stays the price. It lists
many symbols with the same candles: each test trades its own, and the ledger's database is a fresh one.
"""

import csv
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import NullPool, create_engine, make_url, text

from alina import bootstrap
from alina.config import Settings
from alina.db import migrations
from alina.db.tables import Base
from alina.domain.decisions import Decision, Proposal
from alina.domain.market import Candle
from alina.domain.orders import OrderSide, OrderType
from alina.domain.portfolio import Position, TradingState
from alina.domain.ports import Clock, Exchange, Model
from alina.domain.runs import Run
from alina.exchange.candle_store import LOCAL
from alina.llm.scripted import ScriptedModel
from alina.orchestrator import cycle, execution, learning, polling, stops, tether, winding_down
from alina.orchestrator.runtime import Runtime, UnitOfWork
from alina.venue.spec import Dialect, Listing, VenueSpec

HOUR = timedelta(hours=1)
#: the secret is base64, as Kraken's are
KEYS = bootstrap.Keys("a-key", "YS1zZWNyZXQ=")
FIRST_OPEN = datetime(2026, 1, 1, tzinfo=UTC)
WARMUP = 80
#: market time of the venue: the moment at which candle number WARMUP opens
NOW = FIRST_OPEN + WARMUP * HOUR
BUY = {
    "rationale": "the trend is up, a dip to buy",
    "action": "buy",
    "size_percent": 50,
    "confidence": 80,
    "stop_percent": 2,
}
SELL = {"rationale": "the move is exhausted", "action": "sell", "confidence": 75}
HOLD = {**BUY, "action": "hold"}


#: the market stands still, so that every order of a test falls on one day, within one window
UNLIMITED = {
    "max_daily_volume": None,
    "max_daily_loss": None,
    "max_drawdown": None,
    "max_stop_losses": None,
    "max_symbol_stop_losses": None,
    "max_losses_in_a_row": None,
    "max_order_rate": None,
    "duplicate_window": None,
    "max_open_positions": None,
    "max_exposure": None,
    "max_symbol_exposure": None,
}


class Died(BaseException):
    """The process ends here: nothing of ours may catch it."""


@dataclass
class RunningVenue:
    """A venue process with `symbols` enough for every test of a module."""

    home: Path
    url: str
    unused: list[str]
    #: one client and one clock for all the systems of a module: loading the markets takes longer than a test
    exchange: Exchange
    clock: Clock
    dialect: Dialect = Dialect.BINANCE

    def symbol(self) -> str:
        """One that no test has traded yet."""
        return self.unused.pop()

    def fail(self, kind: str, method: str, path: str, **more: Any) -> None:
        """Script a fault; see alina.venue.faults."""
        body = json.dumps({"kind": kind, "method": method, "path": path, **more}).encode()
        request = urllib.request.Request(f"{self.url}/venue/v1/faults", data=body)  # noqa: S310  # loopback
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310


@contextmanager
def running_venue(
    home: Path,
    *,
    symbols: int,
    speed: int = 0,
    hours: int = WARMUP + 3,
    fees_in_bnb: bool = False,
    dialect: Dialect = Dialect.BINANCE,
) -> Iterator[RunningVenue]:
    """A venue on loopback, ended afterwards; in the same home it goes on where the last one ended.

    From the beginning on, prices fall a quarter an hour, for twenty hours.
    """
    names = [f"T{number:03}/USDT" for number in range(symbols)]
    bnb: dict[str, Any] = (
        {"fee_asset": "BNB", "fee_asset_prices": {"USDT": Decimal(600)}} if fees_in_bnb else {}
    )
    listed = (*names, "BNB/USDT") if fees_in_bnb else names
    _write_candles(home / "candles.csv", hours)
    spec = VenueSpec(
        folder=home / "venue",
        dialect=dialect,
        listings=tuple(Listing(name, str(home / "candles.csv")) for name in listed),
        speed=Decimal(speed),
        warmup=WARMUP,
        balances={"USDT": Decimal(1_000_000)} | ({"BNB": Decimal(1)} if fees_in_bnb else {}),
        api_key=str(KEYS.api_key),
        secret=str(KEYS.secret),
        faults=True,
        **bnb,
    )
    with served(spec) as url:
        settings = settings_for(home, names[0], "main", dialect=dialect)
        with closing(bootstrap.make_exchange(settings, KEYS)) as exchange:
            yield RunningVenue(home, url, names, exchange, bootstrap.make_clock(settings), dialect)


@contextmanager
def served(spec: VenueSpec) -> Iterator[str]:
    """The URL of a venue process of this spec, ended afterwards."""
    spec.folder.mkdir(exist_ok=True)
    (spec.folder / "venue.url").unlink(missing_ok=True)
    spec.write(spec.folder / "spec.json")
    process = subprocess.Popen(
        [*tethered(), sys.executable, "-m", "alina.venue", str(spec.folder / "spec.json")],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield _url_when_ready(process, spec.folder / "venue.url")
    finally:
        process.terminate()
        process.wait(200)


def tethered() -> tuple[str, ...]:
    """Before a command: ends it with this process, however that ends."""
    return sys.executable, "-I", "-S", tether.__file__, str(os.getpid())


def _write_candles(path: Path, hours: int) -> None:
    """Candles that rise and fall slowly around 100, with volume enough for any order here."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp", "open", "high", "low", "close", "volume"])
        for number in range(hours):
            opening, closing_price = _price(number), _price(number + 1)
            high, low = max(opening, closing_price) + Decimal("0.50"), min(opening, closing_price) - 1
            opened = FIRST_OPEN + number * HOUR
            rows.writerow([int(opened.timestamp() * 1000), opening, high, low, closing_price, "100000"])


def _price(number: int) -> Decimal:
    return Decimal(100) + Decimal("0.25") * abs(number % 40 - 20)


def _url_when_ready(process: subprocess.Popen[bytes], file: Path) -> str:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists():
            return file.read_text().strip()
        time.sleep(0.02)
    raise AssertionError("the venue did not start")


@contextmanager
def migrated(server: str) -> Iterator[str]:
    """The URL of a database of its own at the newest schema, dropped afterwards."""
    name = f"test_{uuid4().hex}"
    with closing(create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()) as admin:
        admin.execute(text(f"CREATE DATABASE {name}"))
        url = make_url(server).set(database=name).render_as_string(hide_password=False)
        migrations.upgrade(url)
        yield url
        admin.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def empty(database_url: str) -> None:
    """Delete every row."""
    with closing(create_engine(database_url, poolclass=NullPool).connect()) as connection:
        connection.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)}"))
        connection.commit()


def settings_for(
    home: Path,
    symbol: str,
    account: str,
    dialect: Dialect = Dialect.BINANCE,
    **sections: Mapping[str, Any],
) -> Settings:
    """Settings of a system that asks the model at every candle and whose rows are stuck at once."""
    defaults: dict[str, dict[str, Any]] = {
        "system": {"data_folder": home, "account": account},
        "execution": {
            "settle_after": "1ms",
            "resend_max": 0,
            "task_soft_time_limit": "9ms",
            "task_time_limit": "10ms",
            "concurrency": 1,
        },
        "market": {
            "exchange": {"id": dialect},
            "symbols": (symbol,),
            "venue": {"data": (f"{symbol}=candles.csv",)},
        },
        "trading": {"gate_always_ask": True, "trade_fraction_max": "0.001", "stop_orders": "software"},
        "risk": {"cooldown": "1ms", **UNLIMITED},
        "models": {"deadline": "8ms"},
        "error_handling": {"stuck_after": "1ms"},
    }
    for name, values in sections.items():
        defaults[name] = {**defaults.get(name, {}), **values}
    return Settings(**defaults)  # type: ignore[arg-type]  # plain values, as config.yaml gives them


def scripted(*answers: Mapping[str, Any]) -> Model:
    """A model that answers so, by seed."""
    script = "\n".join(json.dumps(answer) for answer in answers).encode()
    return ScriptedModel("script", script, context_length=2048, threads=1)


@dataclass
class System:
    """One process's runtime, and what it would have enqueued."""

    runtime: Runtime
    symbol: str
    sent: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def exchange(self) -> Exchange:
        return self.runtime.exchange

    def answering(self, *answers: Mapping[str, Any]) -> "System":
        """The same system with another model."""
        model = scripted(*answers)
        return replace(self, runtime=replace(self.runtime, model=lambda: model))

    def with_parts(self, **parts: Any) -> "System":
        """The same system with other parts of its runtime."""
        return replace(self, runtime=replace(self.runtime, **parts))

    def resending(self, times: int = 1) -> "System":
        """The same system in a hurry: a test does not wait until an absence counts in production."""
        execution = self.runtime.settings.execution.model_copy(update={"resend_max": times})
        return self.with_parts(settings=self.runtime.settings.model_copy(update={"execution": execution}))

    def work(self) -> AbstractContextManager[UnitOfWork]:
        return self.runtime.unit_of_work()

    def trading_state(self) -> TradingState:
        """The account's."""
        with self.work() as uow:
            return uow.ledger.account(self.runtime.account).trading_state

    def resume(self) -> None:
        """As a person does."""
        with self.work() as uow:
            uow.ledger.set_trading_state(self.runtime.account, TradingState.ACTIVE, reason="", at=NOW)

    def held(self) -> Position | None:
        """The open position in the symbol."""
        with self.work() as uow:
            return uow.ledger.open_position(self.runtime.account, self.symbol)

    def run(self, key: str = "a-run", as_of: datetime = NOW) -> Run:
        """One cycle, as its task would run it."""
        key = f"{self.symbol}:{key}"
        return cycle.run(self.runtime, agent_name="trading", symbol=self.symbol, as_of=as_of, key=key)

    def execute(self, proposal_id: UUID) -> Decision:
        return execution.execute(self.runtime, proposal_id)

    def deliver(self) -> None:
        """Do everything that was enqueued, and what that enqueues."""
        while self.sent:
            self.deliver_next()

    def deliver_next(self) -> None:
        task, *arguments = self.sent.pop(0)
        _TASKS[task](self.runtime, *arguments)

    def on_venue(self) -> int:
        """How many orders of this symbol the venue has taken: here each market order is one fill's parent."""
        return len({fill.exchange_order_id for fill in self.exchange.fills(self.symbol)})


_TASKS: Mapping[str, Callable[..., Any]] = {
    "market.run_cycle": lambda runtime, agent, symbol, as_of, key: cycle.run(
        runtime, agent_name=agent, symbol=symbol, as_of=datetime.fromisoformat(as_of), key=key
    ),
    "trading.execute_proposal": lambda runtime, name: execution.execute(runtime, UUID(name)),
    "trading.wind_down": lambda runtime: winding_down.wind_down(runtime),
    "trading.protect": lambda runtime: stops.protect(runtime),
    "learning.evaluate": lambda runtime, name: learning.evaluate(runtime, UUID(name)),
    "learning.advance_experiment": lambda runtime, agent: learning.advance(runtime, agent, cases_at_once=8),
}


@cache
def _units_of_work(database_url: str) -> Callable[[], AbstractContextManager[UnitOfWork]]:
    """One engine and one embedder a database: loading them for each test takes longer than the test."""
    return bootstrap.make_unit_of_work(database_url, LOCAL)


def system(
    venue: RunningVenue, database_url: str, *answers: Mapping[str, Any], **sections: Mapping[str, Any]
) -> System:
    """A prepared system with an account and a symbol of its own, and the market's candles stored."""
    symbol = venue.symbol()
    account = f"of-{symbol.partition('/')[0].lower()}-{uuid4().hex[:6]}"
    settings = settings_for(venue.home, symbol, account, venue.dialect, **sections)
    sent: list[tuple[Any, ...]] = []
    model = scripted(*(answers or (BUY,)))
    runtime = bootstrap.make_runtime(
        settings,
        database_url=database_url,
        send=lambda *message: sent.append(message),
        exchange=venue.exchange,
        clock=venue.clock,
        model=lambda: model,
    )
    runtime = replace(runtime, unit_of_work=_units_of_work(database_url))
    bootstrap.prepare_ledger(runtime.settings, database_url=database_url)
    polling.poll_symbol(runtime, symbol)
    with runtime.unit_of_work() as uow:
        uow.ledger.record_balances(account, runtime.exchange.balances(), at=runtime.clock.now())
    return System(runtime, symbol, sent)


def proposal(
    system: System, side: OrderSide = OrderSide.BUY, quantity: str = "1", **changes: Any
) -> Proposal:
    """A wish that passes every check of the kernel, stored."""
    values: dict[str, Any] = {
        "id": uuid4(),
        "run_id": None,
        "account": system.runtime.account,
        "agent": "trading",
        "symbol": system.symbol,
        "side": side,
        "order_type": OrderType.MARKET,
        "quantity": Decimal(quantity),
        "limit_price": None,
        "reference_price": Decimal(100),
        "reduce_only": side is OrderSide.SELL,
        "close_reason": None,
        "stop_price": None,
        "take_profit_price": None,
        "close_after": None,
        "confidence": 70,
        "rationale": "written by hand",
        "as_of": NOW,
        "expires_at": NOW + HOUR,
    }
    wish = Proposal(**values | changes)
    with system.work() as uow:
        uow.ledger.save_proposal(wish)
    return wish


def candle(symbol: str, opened: datetime, opening: str, close: str) -> Candle:
    """One hour from `opening` to `close`."""
    prices = (Decimal(opening), Decimal(close))
    return Candle(
        symbol=symbol,
        timeframe="1h",
        open_time=opened,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[1],
        volume=Decimal(10),
    )
