"""An executor that dies: a real process, forked so that it starts in milliseconds, killed by SIGKILL."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from crash_points import with_points

from alina.db.engine import make_engine, session_factory, transaction
from alina.domain.portfolio import WindDown
from alina.errors import ExchangeError, TransientError
from alina.exchange.candle_store import CandleStore
from alina.ledger import Ledger
from alina.memory.store import PostgresMemory
from alina.orchestrator import cycle, execution, learning, protection, reconciliation, sweeping, winding_down
from alina.orchestrator.runtime import Runtime, UnitOfWork

#: wall seconds after which what is not done counts as stuck
LIMIT = 40.0
NOTHING = timedelta(0)


class NoEmbedder:
    """Every text at one place: what is remembered is no part of these tests, and weights load slowly."""

    dimensions = 256

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        return [(1.0,) + (0.0,) * (self.dimensions - 1) for _ in texts]


def units_of_work(database_url: str) -> Callable[[], Any]:
    """On connections of this process's own."""
    factory = session_factory(make_engine(database_url))

    @contextmanager
    def unit_of_work() -> Iterator[UnitOfWork]:
        with transaction(factory) as session:
            yield UnitOfWork(Ledger(session), CandleStore(session), PostgresMemory(session, NoEmbedder()))

    return unit_of_work


@dataclass
class Fuse:
    """Kills the process when it meets `name` for the `occurrence`-th time; notes every point it meets."""

    name: str = ""
    occurrence: int = 1
    record: Path | None = None
    _met: dict[str, int] = field(default_factory=dict)

    def meet(self, point: str) -> None:
        self._met[point] = self._met.get(point, 0) + 1
        if self.record is not None:
            with self.record.open("a") as file:
                file.write(f"{point}\n")
        if (point, self._met[point]) == (self.name, self.occurrence):
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class KillAfter:
    """Kills the process at the n-th point it meets, whichever that is."""

    points: int

    def meet(self, point: str) -> None:
        self.points -= 1
        if self.points == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def trade_until_done(runtime: Runtime, database_url: str, meet: Callable[[str], None]) -> None:
    """What beat, the broker and the workers do with an account, in one loop, until nothing is left to do.

    A message that is sent lives in this process only: whoever kills it has lost the broker's messages too.
    """
    sent: list[tuple[Any, ...]] = []
    own = replace(
        runtime, unit_of_work=units_of_work(database_url), send=lambda *message: sent.append(message)
    )
    parts = with_points(own, meet)
    deadline = time.monotonic() + LIMIT
    while True:
        with suppress(TransientError, ExchangeError):  # a task would be repeated
            _work_once(parts, sent)
        if is_done(own):
            return
        assert time.monotonic() < deadline, "stuck"
        time.sleep(0.02)


def _work_once(parts: Runtime, sent: list[tuple[Any, ...]]) -> None:
    sweeping.sweep(parts)
    _deliver(parts, sent)
    reconciliation.reconcile(parts)
    for symbol in parts.settings.market.symbols:
        protection.propose_exits(parts, symbol)
    _deliver(parts, sent)
    reconciliation.reconcile(parts)
    _deliver(parts, sent)


def _deliver(parts: Runtime, sent: list[tuple[Any, ...]]) -> None:
    while sent:
        task, *arguments = sent.pop(0)
        with suppress(TransientError, ExchangeError):
            _TASKS[task](parts, *arguments)


_TASKS: dict[str, Callable[..., Any]] = {
    "trading.execute_proposal": lambda parts, name: execution.execute(parts, UUID(name)),
    "trading.wind_down": winding_down.wind_down,
    "market.run_cycle": lambda parts, agent, symbol, as_of, key: cycle.run(
        parts, agent_name=agent, symbol=symbol, as_of=datetime.fromisoformat(as_of), key=key
    ),
    "learning.evaluate": lambda parts, name: learning.evaluate(parts, UUID(name)),
}


def is_done(parts: Runtime) -> bool:
    """Every proposal decided, every order settled, every position sold and its trade evaluated."""
    with parts.unit_of_work() as uow:
        ledger = uow.ledger
        return not (
            ledger.undecided_proposals(older_than=NOTHING)
            or ledger.approved_without_order(older_than=NOTHING)
            or ledger.unsettled_orders()
            or ledger.open_positions(parts.account)
            or ledger.unevaluated_trades()
            or ledger.unfinished_runs(older_than=NOTHING)
            or ledger.account(parts.account).wind_down is not WindDown.NONE
        )


def forked(job: Callable[[], None], *, within: float = LIMIT + 20) -> int:
    """Run a job in a process of its own; its exit code, -9 if it was killed, 255 if it was stuck."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            job()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 255
