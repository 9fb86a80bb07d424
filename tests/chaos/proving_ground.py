"""A ledger and its roles for a lane of cases; a venue and an account of its own for each case."""

import csv
import ctypes
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attack_cases import login
from executor import KILLED, Desk, Meet, exit_code, nothing_happens, started, trade_until_done
from sqlalchemy import Engine, NullPool, create_engine, make_url, text
from system import FIRST_OPEN, HOLD, HOUR, KEYS, NOW, WARMUP, System, scripted, settings_for
from system import proposal as save_proposal
from venue_faults import FaultDoor

from alina import bootstrap
from alina.config import Settings
from alina.db import migrations
from alina.db.engine import make_engine, session_factory, transaction
from alina.db.roles import AGENT, EXECUTOR
from alina.db.tables import Base
from alina.domain.decisions import Proposal
from alina.exchange.candle_store import LOCAL, CandleStore
from alina.ledger import Ledger
from alina.memory.store import PostgresMemory
from alina.orchestrator import polling
from alina.orchestrator.runtime import Runtime, UnitOfWork
from alina.venue.server import serve
from alina.venue.spec import Listing, VenueSpec

ACCOUNT = "chaos"
#: what a case's kernel must not deny: the cases are about orders, not about limits
SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "error_handling": {"stuck_after": "1ms", "safe_mode_errors": 100_000},
    "trading": {"stop_orders": "exchange"},
    "risk": dict.fromkeys(
        ("max_order_rate", "max_open_positions", "max_stop_losses", "max_losses_in_a_row", "max_exposure")
    ),
}
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class NoEmbedder:
    """Every text at one place: what is remembered is no part of these cases, and weights load slowly."""

    dimensions = 256

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        return [(1.0,) + (0.0,) * (self.dimensions - 1) for _ in texts]


@dataclass(frozen=True)
class Databases:
    """One database, by who logs in."""

    owner: str
    agent: str
    executor: str


def make_databases(server: str, name: str) -> Databases:
    """A new database at the newest schema, whose two roles can log in. Not to be called by two at once."""
    admin = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    owner = make_url(server).set(database=name).render_as_string(hide_password=False)
    migrations.upgrade(owner)
    return Databases(owner, login(owner, AGENT), login(owner, EXECUTOR))


class Ground:
    """Where the cases of one lane happen, one after the other, each on an empty ledger.

    Its engines have compiled every statement before a process is forked that uses them: a fork starts in
    milliseconds. No connection is ever shared with a fork.
    """

    def __init__(self, home: Path, databases: Databases) -> None:
        self.home = home
        urls = {"owner": databases.owner, AGENT: databases.agent, EXECUTOR: databases.executor}
        self._engines = {role: make_engine(url) for role, url in urls.items()}
        self._cases = 0
        #: wall seconds after which what is not done is stuck; `warm_up` fits both to this machine
        self.limit = 60.0
        #: wall seconds that a trade takes when nothing is in its way
        self.pace = 1.0

    def warm_up(self, trade: "Callable[[Stage], None]") -> None:
        """Trade once in this very process, so that whatever is forked from it has everything ready."""
        with self.stage() as stage:
            trade(stage)
            trade_until_done(stage.desk, nothing_happens, within=300)
        with self.stage() as stage:
            trade(stage)
            began = time.monotonic()
            assert stage.run() == 0, "nothing was in its way"
            self.pace = time.monotonic() - began
            self.limit = max(self.limit, 100 * self.pace)

    @contextmanager
    def stage(
        self,
        *,
        symbols: int = 1,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        more: Sequence[str] = (),
        venue: Mapping[str, Any] | None = None,
        later: Sequence[tuple[int, int]] = (),
        answers: Sequence[Mapping[str, Any]] = (),
    ) -> "Iterator[Stage]":
        """An account on a venue of its own.

        `sections` change the settings and `venue` the VenueSpec, which lists `more` than is traded. The
        market stands still at 105 until it moves on, through candles that open and close as `later` says.
        With `answers`, a model's, an agent runs at each candle.
        """
        self._empty()
        self._cases += 1
        home = self.home / str(self._cases)
        home.mkdir(parents=True)
        with running_venue(home, symbols, more, venue or {}, later) as running:
            settings = _settings(home, running.symbols, sections or {})
            desk = self._desk(settings, answers)
            stage = Stage(self, running, desk)
            stage.open_account()
            try:
                yield stage
            finally:
                stage.let_go()

    def unit_of_work(self, role: str) -> Callable[[], Any]:
        """Transactions of one role: "owner", AGENT or EXECUTOR."""
        factory = session_factory(self._engines[role])

        @contextmanager
        def unit_of_work() -> Iterator[UnitOfWork]:
            with transaction(factory) as session:
                yield UnitOfWork(
                    Ledger(session), CandleStore(session, LOCAL), PostgresMemory(session, NoEmbedder())
                )

        return unit_of_work

    @property
    def owner(self) -> Engine:
        """For what no role of ours may do."""
        return self._engines["owner"]

    def dispose(self) -> None:
        """Give every connection back."""
        for engine in self._engines.values():
            engine.dispose()

    def _empty(self) -> None:
        with self.owner.begin() as connection:
            connection.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)}"))

    def _desk(self, settings: Settings, answers: Sequence[Mapping[str, Any]]) -> Desk:
        model = scripted(*(answers or (HOLD,)))
        parts: dict[str, Any] = {
            "settings": settings,
            "clock": bootstrap.make_clock(settings),
            "model": lambda: model,
            "tools": (),
            "send": lambda *_: None,
            "checks": bootstrap.make_checks(settings),
        }
        return Desk(
            agent=Runtime(
                **parts,
                exchange=bootstrap.make_exchange(settings, bootstrap.NO_KEYS),
                unit_of_work=self.unit_of_work(AGENT),
                agents=bootstrap.make_agents(settings) if answers else {},
            ),
            executor=Runtime(
                **parts,
                exchange=bootstrap.make_exchange(settings, KEYS),
                unit_of_work=self.unit_of_work(EXECUTOR),
                agents={},
            ),
        )


@dataclass
class Stage:
    """The venue, the account and the processes of one case."""

    ground: Ground
    venue: "RunningVenue"
    desk: Desk

    @property
    def symbols(self) -> Sequence[str]:
        return self.venue.symbols

    @property
    def faults(self) -> FaultDoor:
        return FaultDoor(self.venue.url)

    @property
    def system(self) -> System:
        """The executor's side, for what is done before anything fails."""
        return System(self.desk.executor, self.symbols[0])

    def open_account(self) -> None:
        """The rows that everything refers to, as `alina up` makes them, and the candles of now."""
        with self.ground.unit_of_work("owner")() as uow:
            uow.ledger.ensure_account(ACCOUNT)
            for agent in bootstrap.make_agents(self.desk.agent.settings).values():
                prompt = {"system": agent.system_prompt, "template": agent.user_template, "author": "person"}
                uow.ledger.ensure_revision(agent.name, **prompt)
                uow.ledger.ensure_agent(agent.name, kind=type(agent).__name__, prompt=agent.name)
        for symbol in self.symbols:
            polling.poll_symbol(self.desk.agent, symbol)
        executor = self.desk.executor
        with executor.unit_of_work() as uow:
            uow.ledger.record_balances(ACCOUNT, executor.exchange.balances(), at=NOW)

    def without_checks(self) -> None:
        """Whatever is wished is approved."""
        self.desk = replace(self.desk, executor=replace(self.desk.executor, checks=()))

    def wish(self, **changes: Any) -> list[Proposal]:
        """A buy of each symbol, whose position must be sold as soon as it is there."""
        return [
            save_proposal(System(self.desk.agent, symbol), **{"stop_price": Decimal(1000), **changes})
            for symbol in self.symbols
        ]

    def move_on(self, hours: int) -> None:
        """Let so much of the market pass while nobody looks."""
        self.let_go()
        self.venue.move_on(hours)
        clock = bootstrap.make_clock(self.desk.agent.settings)  # the other one may still count on
        agent, executor = (replace(one, clock=clock) for one in (self.desk.agent, self.desk.executor))
        self.desk = replace(self.desk, agent=agent, executor=executor)

    def start(self, meet: Meet = nothing_happens) -> int:
        """The pid of a process that trades until nothing is left to do."""
        self.let_go()
        return started(lambda: trade_until_done(self.desk, meet, within=self.ground.limit))

    def run(self, meet: Meet = nothing_happens) -> int:
        """The same to its end; its exit code."""
        return exit_code(self.start(meet), within=self.ground.limit + 30)

    def is_killed(self, meet: Meet) -> bool:
        """Whether such a process was killed before it was done."""
        return self.run(meet) == KILLED

    def let_go(self) -> None:
        """Close every connection: none is shared with a fork."""
        self.ground.dispose()
        for runtime in (self.desk.agent, self.desk.executor):
            runtime.exchange.close()  # type: ignore[attr-defined]  # the adapter's own


def _settings(home: Path, symbols: Sequence[str], sections: Mapping[str, Mapping[str, Any]]) -> Settings:
    merged = {name: {**SECTIONS.get(name, {}), **sections.get(name, {})} for name in {*SECTIONS, *sections}}
    market = {"symbols": tuple(symbols), "venue": {"data": tuple(f"{one}=candles.csv" for one in symbols)}}
    merged["market"] = market | merged.get("market", {})
    return settings_for(home, symbols[0], ACCOUNT, **merged)


@dataclass
class RunningVenue:
    """A venue process that can be ended, and started again on its books at the same address."""

    spec: VenueSpec
    #: the traded ones; others may be listed for their prices
    symbols: list[str]
    pid: int = 0
    url: str = ""

    def start(self, speed: Decimal = Decimal(0)) -> None:
        """Until it listens. Ends with the process that started it."""
        port = urlsplit(self.url).port or 0
        spec, parent = replace(self.spec, speed=speed, port=port), os.getpid()

        def job() -> None:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            assert os.getppid() == parent, "the lane is gone"
            with open(os.devnull, "w") as nothing, redirect_stdout(nothing):
                serve(spec)

        self.pid = started(job)
        self.url = _url_when_ready(self.pid, spec.folder / "venue.url")

    def end(self) -> None:
        """Its books are written."""
        os.kill(self.pid, signal.SIGTERM)
        assert exit_code(self.pid, within=200) == 0, "the venue failed"

    def move_on(self, hours: int) -> None:
        """Let so much of the market pass, with everything that it reaches; then it stands still again."""
        until = self._market_ms() + hours * 3_600_000
        self.end()
        self.start(speed=Decimal(2 * 3600))  # two hours a second
        while self._market_ms() < until:
            time.sleep(0.02)
        self.end()
        self.start()

    def _market_ms(self) -> int:
        with urllib.request.urlopen(f"{self.url}/venue/v1/clock", timeout=60) as answer:  # noqa: S310  # loopback
            return int(json.load(answer)["market"])


@contextmanager
def running_venue(
    home: Path,
    symbols: int,
    more: Sequence[str],
    changes: Mapping[str, Any],
    later: Sequence[tuple[int, int]],
) -> Iterator[RunningVenue]:
    """A venue whose market stands still; ended afterwards."""
    _write_candles(home / "candles.csv", later)
    traded = [f"T{number:03}/USDT" for number in range(symbols)]
    fields = {
        "folder": home / "venue",
        "listings": tuple(Listing(name, str(home / "candles.csv")) for name in (*traded, *more)),
        "warmup": WARMUP,
        "balances": {"USDT": Decimal(1_000_000)},
        "api_key": str(KEYS.api_key),
        "secret": str(KEYS.secret),
        "faults": True,
    }
    venue = RunningVenue(VenueSpec(**fields | changes), traded)  # type: ignore[arg-type]
    venue.start()
    try:
        yield venue
    finally:
        venue.end()


def _write_candles(path: Path, later: Sequence[tuple[int, int]]) -> None:
    """Candles that rise and fall slowly around 100, up to 105; then those of `later`."""
    prices = [Decimal(100) + Decimal("0.25") * abs(number % 40 - 20) for number in range(WARMUP + 1)]
    moves = [*pairwise(prices), *((Decimal(opening), Decimal(close)) for opening, close in later)]
    moves += [(moves[-1][1], moves[-1][1])] * 100
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["timestamp", "open", "high", "low", "close", "volume"])
        for number, (opening, close) in enumerate(moves):
            opened = FIRST_OPEN + number * HOUR
            high, low = max(opening, close) + Decimal("0.50"), min(opening, close) - 1
            rows.writerow([int(opened.timestamp() * 1000), opening, high, low, close, "100000"])


def _url_when_ready(pid: int, file: Path) -> str:
    deadline = time.monotonic() + 200
    while not file.exists():
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the venue ended at once"
        assert time.monotonic() < deadline, "the venue does not start"
        time.sleep(0.003)
    return file.read_text().strip()
