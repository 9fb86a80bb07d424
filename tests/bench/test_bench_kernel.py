"""The kernel: pure reviews, and review-and-reserve beside a bare transaction on the same Postgres.

Every client is a process of its own with its own runtime, as an executor is; so is every client of the bare
transaction, which goes through the same engine and locks the same kind of row.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import psycopg2.extensions  # type: ignore[import-untyped]
import pytest
from ledger_cases import NOON
from ledger_cases import proposal as wish
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from still_exchange import StillExchange, record_worth, still_runtime
from system import UNLIMITED, migrated

from alina.config import Settings
from alina.db.engine import make_engine
from alina.domain.decisions import Approved, Proposal
from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.log import configure_logging
from alina.orchestrator import review
from alina.orchestrator.review import Case
from alina.orchestrator.runtime import Runtime
from alina.orchestrator.snapshot import look, snapshot
from alina.risk import kernel

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
REVIEWS = 20_000
CLIENTS = (1, 4)
#: of all clients together
ROUNDS = 2_000
#: approvals of one client before the market's day ends
PER_DAY = 25
WORTH = Decimal(10_000)
LOCK = text("SELECT id FROM bare WHERE id = :row FOR NO KEY UPDATE")
INSERT = text("INSERT INTO bare_rows VALUES (:id)")
SETTLE = text(
    "UPDATE reservations SET state = 'released', created_at = created_at - interval '1 minute', "
    "ended_at = created_at - interval '1 minute' WHERE state = 'held'"
)
#: no limit is off: what is measured is what runs with the defaults, and none of them is reached
WIDE = {name: "1000000000" for name in UNLIMITED if name.endswith(("volume", "exposure", "loss"))} | {
    "max_open_positions": 1_000_000,
    "max_order_rate": 1_000_000,
    "cooldown": "1ms",
    "max_price_age": "365d",
}
#: one for each approval of a day
SYMBOLS = tuple(f"C{client}N{number}/USDT" for client in range(max(CLIENTS)) for number in range(PER_DAY))


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
            with make_engine(database).begin() as connection:
                connection.execute(text("CREATE TABLE bare (id int PRIMARY KEY)"))
                connection.execute(text("CREATE TABLE bare_rows (id uuid PRIMARY KEY)"))
                connection.execute(text("INSERT INTO bare SELECT generate_series(0, 4)"))
            yield database
        server.stop()


@pytest.fixture(scope="module")
def runtime(durable_url: str) -> Runtime:
    runtime = make_runtime(durable_url)
    open_account(runtime)
    return runtime


def make_runtime(url: str, account: str = "main") -> Runtime:
    market = {"symbols": SYMBOLS, "venue": {"data": tuple(f"{one}=unread.csv" for one in SYMBOLS)}}
    settings = Settings(system={"account": account}, risk=WIDE, market=market)  # type: ignore[arg-type]
    return still_runtime(settings, url, StillExchange("1000000000"))


def open_account(runtime: Runtime) -> None:
    """Balances and a worth, without which the kernel denies."""
    with runtime.unit_of_work() as uow:
        uow.ledger.record_balances(runtime.account, runtime.exchange.balances(), at=NOON)
    record_worth(runtime, WORTH)


@dataclass(frozen=True)
class Measured:
    """Wall seconds of each call, and of all rounds together: each lasts until its slowest client is done."""

    each: Sequence[float]
    total: float

    @property
    def rate(self) -> float:
        return len(self.each) / self.total

    def row(self) -> tuple[str, str, str]:
        ordered = sorted(self.each)
        p99 = ordered[(len(ordered) * 99 - 1) // 100]
        return f"{statistics.median(ordered) * 1000:.2f}", f"{p99 * 1000:.2f}", f"{self.rate:.0f}"


def test_pure_reviews(runtime: Runtime) -> None:
    one = wish(symbol=SYMBOLS[0])
    with runtime.unit_of_work() as uow:
        seen = snapshot(runtime, uow, one, seen=look(runtime, one), balances_asked_at=None)
    began = time.perf_counter()
    for _ in range(REVIEWS):
        verdict = kernel.review(one, seen, runtime.limits, checks=runtime.checks)
    rate = REVIEWS / (time.perf_counter() - began)
    assert isinstance(verdict, Approved)
    Console(width=100).print(f"pure reviews, every check on: {rate:,.0f} a second")


def test_review_and_reserve_beside_a_bare_transaction(runtime: Runtime, durable_url: str) -> None:
    """`runtime` has made the account they share. A running system has one executor an account."""
    table = Table("transaction", "clients", "p50, ms", "p99, ms", "a second", "of bare")
    for clients in CLIENTS:
        shared = _measured(_bare_shared, durable_url, clients)
        own = _measured(_bare_own, durable_url, clients)
        reviewed = _measured(_reviewing, durable_url, clients)
        read = _measured(_reading_and_reviewing, durable_url, clients)
        apart = _measured(_reviewing_apart, durable_url, clients)
        ready = _measured(_sending, durable_url, clients)
        ready_apart = _measured(_sending_apart, durable_url, clients)
        for name, measured, bare in (
            ("bare: lock the account, insert a row", shared, shared),
            ("review and reserve", reviewed, shared),
            ("the same, its proposal read first", read, shared),
            ("its messages ready-made", ready, shared),
            ("bare: lock a row of its own, insert a row", own, own),
            ("review and reserve, an account each", apart, own),
            ("its messages ready-made, an account each", ready_apart, own),
        ):
            table.add_row(name, str(clients), *measured.row(), f"{measured.rate / bare.rate:.2f}")
    Console(width=100).print(table)


@dataclass(frozen=True)
class Work:
    """What one client does again and again, and what happens between two rounds, unmeasured."""

    one: Callable[[], None]
    #: by one client for all of them; and then by each for itself
    settle: Callable[[], None] = lambda: None
    next_day: Callable[[], None] = lambda: None


def _measured(make: Callable[[str, int, int], Work], url: str, clients: int) -> Measured:
    """Each client in a process of its own; all of them begin each round together."""
    context = multiprocessing.get_context("spawn")
    barrier, rounds = context.Barrier(clients), ROUNDS // clients // PER_DAY
    pipes = [context.Pipe(duplex=False) for _ in range(clients)]
    processes = [
        context.Process(target=_client, args=(make, url, number, rounds, barrier, sending))
        for number, (_, sending) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    for _, sending in pipes:
        sending.close()  # of a client that dies the receiver gets an end
    told = [receiving.recv() for receiving, _ in pipes]
    for process in processes:
        process.join()
    each = [seconds for one in told for times in one for seconds in times[2]]
    together = zip(*told, strict=True)
    return Measured(
        each, sum(max(end for _, end, _ in day) - min(begin for begin, _, _ in day) for day in together)
    )


def _client(
    make: Callable[[str, int, int], Work],
    url: str,
    number: int,
    rounds: int,
    barrier: Barrier,
    told: Connection,
) -> None:
    """A client's process: of each round its begin, its end and the seconds of each call."""
    configure_logging("WARNING", "console")
    work = make(url, number, (1 + rounds) * PER_DAY)
    barrier.wait()
    _day(work.one)  # connect, prepare
    days = []
    for _ in range(rounds):
        if barrier.wait() == 0:
            work.settle()
        work.next_day()
        barrier.wait()
        days.append(_day(work.one))
    told.send(days)


def _day(one: Callable[[], None]) -> tuple[float, float, list[float]]:
    times = [time.perf_counter()]
    for _ in range(PER_DAY):
        one()
        times.append(time.perf_counter())
    return times[0], times[-1], [after - before for before, after in pairwise(times)]


def _bare_shared(url: str, number: int, count: int) -> Work:
    return _bare(url, 0)


def _bare_own(url: str, number: int, count: int) -> Work:
    return _bare(url, number + 1)


def _bare(url: str, row: int) -> Work:
    """Two statements and a durable commit through the same engine."""
    engine = make_engine(url)

    def one() -> None:
        with engine.begin() as connection:
            connection.execute(LOCK, {"row": row})
            connection.execute(INSERT, {"id": uuid4()})

    return Work(one)


def _reviewing(url: str, number: int, count: int) -> Work:
    """The transaction itself: its proposal is at hand, as an executor has it."""
    return _deciding(make_runtime(url), number, count, _at_hand)


def _reading_and_reviewing(url: str, number: int, count: int) -> Work:
    """From the id of a proposal on, which is a transaction more."""
    return _deciding(make_runtime(url), number, count, lambda runtime, one: review.read(runtime, one.id))


def _reviewing_apart(url: str, number: int, count: int) -> Work:
    """As executors of several accounts do: nobody waits for another's lock."""
    return _deciding(_runtime_apart(url, number), number, count, _at_hand)


def _sending(url: str, number: int, count: int) -> Work:
    """What no reviewer in front of this database could be quicker than."""
    return _ready_made(make_runtime(url), number, count)


def _sending_apart(url: str, number: int, count: int) -> Work:
    return _ready_made(_runtime_apart(url, number), number, count)


def _at_hand(_runtime: Runtime, one: Proposal) -> Case:
    return Case(one, None, None, datetime.now(UTC))


def _runtime_apart(url: str, number: int) -> Runtime:
    runtime = make_runtime(url, f"desk{number}")
    open_account(runtime)
    return runtime


class _Undone(psycopg2.extensions.cursor):  # type: ignore[misc]  # the driver has no types
    """Keeps every message of a transaction, and has it rolled back where it would commit."""

    messages: ClassVar[list[bytes]] = []

    def execute(self, query: Any, vars: Any = None) -> None:
        message = self.mogrify(query, vars)
        self.messages.append(message)
        super().execute(message.replace(b"; COMMIT", b"; ROLLBACK"))


def _ready_made(runtime: Runtime, number: int, count: int) -> Work:
    """The messages of reviews that were undone, sent as they are: nothing is computed.

    A day's reviews are done before it is measured, and leave nothing behind.
    """
    reviewing = _deciding(runtime, number, count, _at_hand)
    with runtime.unit_of_work() as uow:
        driver: Any = uow.ledger._session.connection().connection.driver_connection
    ready: list[bytes] = []

    def prepare() -> None:
        _Undone.messages.clear()
        driver.cursor_factory = _Undone
        for _ in range(PER_DAY):
            reviewing.one()
        driver.cursor_factory, driver.autocommit = None, True
        ready[:] = reversed([message for message in _Undone.messages if b"EXECUTE" in message])
        assert len(ready) == 2 * PER_DAY

    def one() -> None:
        with closing(driver.cursor()) as cursor:
            cursor.execute(ready.pop())
            cursor.execute(ready.pop())

    def next_day() -> None:
        reviewing.next_day()
        prepare()

    prepare()
    return Work(one, reviewing.settle, next_day)


def _deciding(
    runtime: Runtime,
    number: int,
    count: int,
    case_of: Callable[[Runtime, Proposal], Case],
) -> Work:
    """`review.decide` over stored proposals, each of a day an entry of its own symbol.

    Between rounds the orders settle, the market's day ends and a minute passes: what is counted for the
    kernel is what lies in one day, some hundred approvals with four clients.
    """
    exchange: Any = runtime.exchange
    wishes = [
        wish(
            account=runtime.account,
            symbol=SYMBOLS[number * PER_DAY + each % PER_DAY],
            expires_at=NOON.replace(year=2036),
        )
        for each in range(count)
    ]
    with runtime.unit_of_work() as uow:
        for one_wish in wishes:
            uow.ledger.save_proposal(one_wish)
        newest = uow.ledger._session.scalar(text("SELECT max(decided_at) FROM decisions"))
    exchange.now = (newest or exchange.now) + timedelta(days=1)
    undecided = iter(wishes)

    def one() -> None:
        decision = review.decide(runtime, case_of(runtime, next(undecided)))
        assert decision.verdict == "approved", decision.message

    def settle() -> None:
        with runtime.unit_of_work() as uow:
            uow.ledger._session.execute(SETTLE)

    def next_day() -> None:
        exchange.now += timedelta(days=1)
        record_worth(runtime, WORTH)

    return Work(one, settle, next_day)
