"""The kernel: pure reviews, and review-and-reserve beside a bare transaction on the same Postgres."""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from ledger_cases import NOON
from ledger_cases import proposal as wish
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from still_exchange import StillExchange, still_runtime
from system import UNLIMITED, migrated

from alina.config import Settings
from alina.db.engine import make_engine
from alina.domain.decisions import Approved
from alina.domain.portfolio import Equity
from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.log import configure_logging
from alina.orchestrator import review
from alina.orchestrator.runtime import Runtime
from alina.orchestrator.snapshot import limits, look, snapshot
from alina.risk import kernel

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
REVIEWS = 20_000
ROUNDS = 1_000
CLIENTS = (1, 4)
#: approvals of one client before the market's day ends
PER_DAY = 25
LOCK = text("SELECT id FROM bare WHERE id = :row FOR NO KEY UPDATE")
INSERT = text("INSERT INTO bare_rows VALUES (:id)")
#: no limit is off: what is measured is what runs with the defaults, and none of them is reached
WIDE = {name: "1000000000" for name in UNLIMITED if name.endswith(("volume", "exposure", "loss"))} | {
    "max_open_positions": 1_000_000,
    "max_order_rate": 1_000_000,
    "cooldown": "1ms",
    "max_price_age": "365d",
}


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    configure_logging("WARNING", "console")


@pytest.fixture(scope="module")
def durable_url() -> Iterator[str]:
    """A server that flushes every commit, as in production."""
    with tempfile.TemporaryDirectory(prefix="alina-bench-") as folder:
        server = EmbeddedPostgres(DataFolder(Path(folder)))
        url = server.start()
        with migrated(url) as database:
            yield database
        server.stop()


@pytest.fixture(scope="module")
def runtime(durable_url: str) -> Runtime:
    settings = Settings(risk=WIDE)  # type: ignore[arg-type]
    runtime = still_runtime(settings, durable_url, StillExchange("1000000000"))
    with runtime.unit_of_work() as uow:
        uow.ledger.record_balances(runtime.account, runtime.exchange.balances(), at=NOON)
        uow.ledger.record_equity(
            Equity(account=runtime.account, as_of=NOON, cash=Decimal(10_000), holdings=Decimal(0))
        )
    return runtime


@dataclass(frozen=True)
class Measured:
    """Wall seconds of each call, and of all of them together."""

    each: Sequence[float]
    total: float

    def row(self) -> tuple[str, str, str]:
        ordered = sorted(self.each)
        p99 = ordered[(len(ordered) * 99 - 1) // 100]
        return (
            f"{statistics.median(ordered) * 1000:.2f}",
            f"{p99 * 1000:.2f}",
            f"{len(ordered) / self.total:.0f}",
        )


def test_pure_reviews(runtime: Runtime) -> None:
    one, asked = wish(symbol="BTC/USDT"), limits(runtime.settings)
    with runtime.unit_of_work() as uow:
        state = uow.ledger.lock_account(runtime.account).trading_state
        seen = snapshot(runtime, uow, one, state, seen=look(runtime, one.symbol, asked), asked=asked)
    began = time.perf_counter()
    for _ in range(REVIEWS):
        verdict = kernel.review(one, seen, asked, checks=runtime.checks)
    rate = REVIEWS / (time.perf_counter() - began)
    assert isinstance(verdict, Approved)
    Console(width=100).print(f"pure reviews, every check on: {rate:,.0f} a second")


def test_review_and_reserve_beside_a_bare_transaction(runtime: Runtime, durable_url: str) -> None:
    table = Table("transaction", "clients", "p50, ms", "p99, ms", "a second")
    for clients in CLIENTS:
        for name, (one, between) in (
            ("bare: lock the account, insert a row", _bare(durable_url, shared=True)),
            ("bare: lock a row of its own, insert a row", _bare(durable_url, shared=False)),
            ("review and reserve", _reviewing(runtime)),
        ):
            table.add_row(name, str(clients), *_measured(one, between, clients).row())
    Console(width=100).print(table)


def _measured(one: Callable[[], None], between: Callable[[], None], clients: int) -> Measured:
    """Each client in a thread of its own; what is done `between` two rounds is not measured."""

    def client(_: int) -> list[float]:
        times = []
        for _ in range(ROUNDS // clients // PER_DAY):
            for _ in range(PER_DAY):
                began = time.perf_counter()
                one()
                times.append(time.perf_counter() - began)
            between()
        return times

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: [one() for _ in range(10)], range(clients)))  # connect, prepare
        each = [seconds for times in pool.map(client, range(clients)) for seconds in times]
        return Measured(each, sum(each) / clients)


def _bare(url: str, *, shared: bool) -> tuple[Callable[[], None], Callable[[], None]]:
    """Two statements and a durable commit through the same engine."""
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS bare (id int PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE IF NOT EXISTS bare_rows (id uuid PRIMARY KEY)"))
        connection.execute(text("INSERT INTO bare SELECT generate_series(0, 63) ON CONFLICT DO NOTHING"))
    numbers: dict[int, int] = {}

    def one() -> None:
        lock = {"row": 0 if shared else numbers.setdefault(threading.get_ident(), len(numbers) + 1)}
        with engine.begin() as connection:
            connection.execute(LOCK, lock)
            connection.execute(INSERT, {"id": uuid4()})

    return one, lambda: None


def _reviewing(runtime: Runtime) -> tuple[Callable[[], None], Callable[[], None]]:
    """`review.decide` over stored proposals, each an entry of its own symbol.

    Between rounds the orders settle and the market's day ends: some hundred approvals lie in each day.
    """
    wishes = [
        wish(symbol=f"{uuid4().hex[:8].upper()}/USDT", expires_at=NOON.replace(year=2036))
        for _ in range(ROUNDS + 10 * max(CLIENTS))
    ]
    with runtime.unit_of_work() as uow:
        for each in wishes:
            uow.ledger.save_proposal(each)
    ids = iter([each.id for each in wishes])
    exchange: Any = runtime.exchange

    def one() -> None:
        decision = review.decide(runtime, next(ids))
        assert decision.verdict == "approved", decision.message

    def between() -> None:
        with runtime.unit_of_work() as uow:
            uow.ledger._session.execute(text("UPDATE reservations SET state = 'released'"))
        exchange.now += timedelta(days=1)

    return one, between
