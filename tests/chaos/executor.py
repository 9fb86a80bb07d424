"""Processes that trade and die: forked from one that has loaded everything, ended by SIGKILL."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from crash_points import with_points

from alina.domain.evaluation import ExperimentState
from alina.domain.orders import LedgerOrder, OrderState, OrderType
from alina.domain.portfolio import WindDown
from alina.errors import AlinaError, ExchangeError, TransientError
from alina.orchestrator import (
    cycle,
    execution,
    learning,
    polling,
    reconciliation,
    stops,
    sweeping,
    winding_down,
)
from alina.orchestrator.runtime import Runtime, UnitOfWork

Meet = Callable[[str], None]
KILLED = -signal.SIGKILL
STUCK = 255
NOTHING = timedelta(0)


@dataclass(frozen=True)
class Desk:
    """What the two kinds of process that trade work with, each with its own role of the database.

    `agent` has neither the exchange's keys nor the right to store an order, `executor` has no agents.
    """

    agent: Runtime
    executor: Runtime
    #: whether at the end a position may be held, if a stop order rests for it
    holds: bool = False

    def meeting(self, meet: Meet, send: Callable[..., None]) -> "Desk":
        """The same, meeting every point."""
        agent, executor = (with_points(replace(one, send=send), meet) for one in (self.agent, self.executor))
        return replace(self, agent=agent, executor=executor)


@dataclass
class Fuse:
    """Kills the process when it meets `point` for the `occurrence`-th time."""

    point: str
    occurrence: int = 1

    def meet(self, point: str) -> None:
        self.occurrence -= point == self.point
        if self.occurrence == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class KillAfter:
    """Kills the process at the n-th point it meets, whichever that is."""

    points: int

    def meet(self, point: str) -> None:
        self.points -= 1
        if self.points == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Recorder:
    """Notes every point that is met, one a line."""

    file: Path

    def meet(self, point: str) -> None:
        with self.file.open("a") as lines:
            lines.write(f"{point}\n")

    def points(self) -> list[str]:
        return self.file.read_text().splitlines()


def nothing_happens(point: str) -> None:
    """No point of a process that is left alone does anything."""


@dataclass
class _Broker:
    """The messages of one process. Who kills it has lost them: only the database remembers."""

    sent: list[tuple[Any, ...]] = field(default_factory=list)

    def send(self, *message: Any) -> None:
        self.sent.append(message)

    def deliver(self, desk: Desk) -> None:
        while self.sent:
            task, *arguments = self.sent.pop(0)
            with suppress(AlinaError):  # the task fails, or is repeated
                _TASKS[task](desk, *arguments)


def trade_until_done(desk: Desk, meet: Meet, *, within: float) -> None:
    """What beat, the broker and the workers do with an account, in one loop, until nothing is left to do.

    Raises AssertionError once that took `within` seconds.
    """
    broker = _Broker()
    parts = desk.meeting(meet, broker.send)
    deadline = time.monotonic() + within
    while True:
        with suppress(TransientError, ExchangeError):
            _work_once(parts, broker)
        left = what_is_left(desk)
        if not left:
            return
        assert time.monotonic() < deadline, f"stuck: {left}"
        time.sleep(0.02)


def _work_once(desk: Desk, broker: _Broker) -> None:
    sweeping.sweep(desk.agent)
    broker.deliver(desk)
    reconciliation.reconcile(desk.executor)
    polling.poll(desk.agent)
    broker.deliver(desk)
    reconciliation.reconcile(desk.executor)
    broker.deliver(desk)


def _run_cycle(desk: Desk, agent: str, symbol: str, as_of: str, key: str) -> None:
    """As the worker does, whose task may be revoked."""
    try:
        cycle.run(desk.agent, agent_name=agent, symbol=symbol, as_of=datetime.fromisoformat(as_of), key=key)
    except SoftTimeLimitExceeded:
        cycle.stop(desk.agent, key)


_TASKS: Mapping[str, Callable[..., Any]] = {
    "market.run_cycle": _run_cycle,
    "trading.execute_proposal": lambda desk, name: execution.execute(desk.executor, UUID(name)),
    "trading.wind_down": lambda desk: winding_down.wind_down(desk.executor),
    "trading.protect": lambda desk: stops.protect(desk.executor),
    "learning.evaluate": lambda desk, name: learning.evaluate(desk.agent, UUID(name)),
    "learning.advance_experiment": lambda desk, agent: learning.advance(desk.agent, agent, cases_at_once=1),
}


def what_is_left(desk: Desk) -> list[str]:
    """What still has to move on, one line each: a proposal, an order, a position, a trade, a run, a wish."""
    with desk.executor.unit_of_work() as uow:
        return _rows_left(desk, uow)


def _rows_left(desk: Desk, uow: UnitOfWork) -> list[str]:
    ledger, account = uow.ledger, desk.executor.account
    left = [f"proposal {one} is not decided" for one in ledger.undecided_proposals(older_than=NOTHING)]
    left += [f"proposal {one} has no order" for one in ledger.approved_without_order(older_than=NOTHING)]
    orders = ledger.unsettled_orders()
    resting = [one for one in orders if desk.holds and is_resting_stop(one)]
    guarded = {one.order.symbol for one in resting}
    left += [
        f"order {one.order.client_order_id} is {one.state.value}" for one in orders if one not in resting
    ]
    left += [
        f"{one.quantity} {one.symbol} is held"
        for one in ledger.open_positions(account)
        if one.symbol not in guarded
    ]
    left += [f"trade {one.id} is not evaluated" for one in ledger.unevaluated_trades()]
    left += [f"run {one.key} has not ended" for one in ledger.unfinished_runs(older_than=NOTHING)]
    left += [
        f"experiment {one.key} has not ended"
        for one in ledger.experiments(limit=20)
        if one.state is ExperimentState.RUNNING
    ]
    wish = ledger.account(account).wind_down
    return left if wish is WindDown.NONE else [*left, f"the account shall {wish.value}"]


def is_resting_stop(known: LedgerOrder) -> bool:
    """Whether it waits on the exchange for its trigger, as it should."""
    return known.order.order_type is OrderType.STOP_LIMIT and known.state is OrderState.OPEN


def started(job: Callable[[], None]) -> int:
    """The pid of a process of its own that does a job."""
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
    return pid


def exit_code(pid: int, *, within: float) -> int:
    """How it ended, KILLED if by SIGKILL; STUCK if it had to be killed after `within` seconds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.003)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return STUCK
