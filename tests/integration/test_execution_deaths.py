"""One proposal, at most one order, wherever the process dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from system import HOLD, Died, RunningVenue, System, proposal, system

from alina.domain.orders import LedgerOrder, OrderState
from alina.domain.portfolio import TradingState
from alina.orchestrator import protection, reconciliation, sweeping
from alina.orchestrator.runtime import UnitOfWork

Make = Callable[..., System]


#: one for each system of these tests
VENUE_SYMBOLS = 90


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    return partial(system, venue, ledger_url)


class Fuse:
    """Ends the process at the given step: after a commit, before a request or a message."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self.burnt_at = ""

    def step(self, where: str) -> None:
        self._left -= 1
        if self._left == 0:
            self.burnt_at = where
            raise Died(where)


class FusedExchange:
    """The exchange, with a step before each request leaves and one after the answer to an order.

    After the answer to a question is before the next step.
    """

    def __init__(self, exchange: Any, fuse: Fuse) -> None:
        self._exchange, self._fuse = exchange, fuse

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*arguments: Any, **more: Any) -> Any:
            self._fuse.step(f"before {name}")
            answer = getattr(self._exchange, name)(*arguments, **more)
            if name == "submit":
                self._fuse.step("after submit")
            return answer

        return request


def with_fuse(one: System, fuse: Fuse) -> System:
    """The same system in a process that dies at the fuse's step."""
    parts = one.runtime

    @contextmanager
    def unit_of_work() -> Iterator[UnitOfWork]:
        with parts.unit_of_work() as uow:
            yield uow
        fuse.step("after a commit")  # before it, nothing of the transaction happened: as at the step before

    def send(*message: Any) -> None:
        fuse.step(f"before {message[0]} is sent")
        parts.send(*message)

    return one.with_parts(unit_of_work=unit_of_work, send=send, exchange=FusedExchange(parts.exchange, fuse))


def orders_of(one: System) -> list[LedgerOrder]:
    with one.work() as uow:
        trails = uow.ledger.decisions(limit=100, symbol=one.symbol)
    return [trail.order for trail in trails if trail.order is not None]


def recovered(one: System, redeliver: Callable[[], object]) -> None:
    """What the other processes do after a death: the broker has lost all but the running task."""
    one.sent.clear()
    redeliver()
    assert reconciliation.reconcile(one.runtime) == []
    sweeping.sweep(one.runtime)
    one.deliver()
    redeliver()
    one.deliver()
    assert reconciliation.reconcile(one.runtime) == []


def assert_the_books_are_equal(one: System, where: str) -> None:
    orders = orders_of(one)
    with one.work() as uow:
        assert uow.ledger.unsettled_orders() == [], where
        assert uow.ledger.undecided_proposals(older_than=timedelta(0)) == [], where
        assert uow.ledger.approved_without_order(older_than=timedelta(0)) == [], where
        assert uow.ledger.reserved(one.runtime.account, "USDT") == 0, where
        assert uow.ledger.reserved(one.runtime.account, one.symbol.split("/")[0]) == 0, where
        fills = uow.ledger.fills(one.runtime.account, one.symbol)
        assert uow.ledger.account(one.runtime.account).trading_state is TradingState.ACTIVE, where
    there = one.exchange.fills(one.symbol)
    arrived = {order.exchange_order_id for order in orders if order.state is OrderState.FILLED}
    assert {fill.exchange_order_id for fill in there} == arrived, where
    assert sorted(fills, key=lambda fill: fill.trade_id) == sorted(there, key=lambda fill: fill.trade_id), (
        where
    )
    assert len({order.decision_id for order in orders}) == len(orders), where


@pytest.mark.parametrize("resends", [0, 1])
def test_a_buy_dies_at_every_step_and_is_never_doubled_or_lost(make: Make, resends: int) -> None:
    step, places = 0, []
    while True:
        step, one, fuse = step + 1, make().resending(resends), Fuse(step + 1)
        dying = with_fuse(one, fuse)
        try:
            dying.run()
            dying.deliver()
        except Died:
            places.append(fuse.burnt_at)
        recovered(one, one.run)
        assert_the_books_are_equal(one, f"step {step}: {fuse.burnt_at}")
        if not fuse.burnt_at:
            break
        never_sent = fuse.burnt_at == "before submit" or (
            fuse.burnt_at == "after a commit" and places.count("before submit") == 0 and not one.on_venue()
        )
        assert one.on_venue() == (0 if never_sent and not resends else 1), f"step {step}: {fuse.burnt_at}"
    assert {"before submit", "after submit", "before trading.execute_proposal is sent"} <= set(places)


def test_an_exit_dies_at_every_step_and_sells_what_was_bought_once(make: Make) -> None:
    step, places = 0, []
    while True:
        step, one, fuse = step + 1, make(HOLD), Fuse(step + 1)
        one.execute(proposal(one, stop_price=Decimal(1000)).id)
        one.sent.clear()
        dying = with_fuse(one, fuse)
        try:
            protection.propose_exits(dying.runtime, one.symbol)
            dying.deliver()
        except Died:
            places.append(fuse.burnt_at)
        recovered(one, lambda one=one: protection.propose_exits(one.runtime, one.symbol))
        assert_the_books_are_equal(one, f"step {step}: {fuse.burnt_at}")
        assert one.on_venue() == 2
        with one.work() as uow:
            (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
            assert uow.ledger.unevaluated_trades() == []
            facts = uow.memory.recall(one.symbol, "trade", as_of=one.runtime.clock.now(), limit=9)
        assert (closed.close_reason, [fact.source_id for fact in facts]) == ("stop_loss", [closed.id])
        if not fuse.burnt_at:
            break
    assert {"before submit", "after submit", "before learning.evaluate is sent"} <= set(places)


KILLED = """
import os, signal, sys
from pathlib import Path
from uuid import UUID
from alina import bootstrap
from alina.exchange.ccxt_exchange import CcxtExchange
from alina.orchestrator import execution
from system import KEYS, settings_for

home, symbol, account, database_url, proposal_id, point = sys.argv[1:]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
submit, fills = CcxtExchange.submit, CcxtExchange.fills

def dying_submit(self, order, **more):
    if point == "before submit":
        die()
    placed = submit(self, order, **more)
    if point == "after submit":
        die()
    return placed

def dying_fills(self, *args, **kwargs):
    die()

CcxtExchange.submit = dying_submit
if point == "before fills":
    CcxtExchange.fills = dying_fills
settings = settings_for(Path(home), symbol, account)
runtime = bootstrap.make_runtime(settings, database_url=database_url, send=lambda *_: None, keys=KEYS)
execution.execute(runtime, UUID(proposal_id))
"""


@pytest.mark.parametrize(
    ("point", "state_then", "orders_after"),
    [
        ("before submit", OrderState.SUBMITTING, 0),
        ("after submit", OrderState.SUBMITTING, 1),
        ("before fills", OrderState.FILLED, 1),
    ],
)
def test_an_executor_killed_by_the_system_leaves_the_books_to_be_made_equal(
    make: Make, ledger_url: str, venue: RunningVenue, point: str, state_then: OrderState, orders_after: int
) -> None:
    one = make()
    wish = proposal(one)
    arguments = (str(venue.home), one.symbol, one.runtime.account, ledger_url, str(wish.id), point)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], env=environment, timeout=200, capture_output=True
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    (order,) = orders_of(one)
    assert (order.state, order.settled) == (state_then, False)
    recovered(one, lambda: one.execute(wish.id))
    assert_the_books_are_equal(one, point)
    assert one.on_venue() == orders_after
