"""From a proposal to the exchange's acknowledgement, beside the bare exchange; memory at rest."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from rich.console import Console
from rich.table import Table
from running_system import CONFIG, SYMBOL, RunningSystem
from sqlalchemy import text

from alina import Client
from alina.domain.decisions import Proposal
from alina.domain.orders import Order, OrderSide, OrderType
from alina.domain.portfolio import CloseReason

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
ROUNDS = 100
QUANTITY = Decimal("0.01")
SINCE_APPROVED = text(
    "SELECT (extract(epoch FROM o.acknowledged_at - d.created_at) * 1000)::float "
    "FROM orders o JOIN decisions d ON d.id = o.decision_id ORDER BY o.acknowledged_at DESC LIMIT :rounds"
)
#: the market at its own pace, and nobody trading but the measurement
QUIET = (
    CONFIG.replace("speed: '3600'", "speed: '1'")
    .replace("poll_interval: 500ms", "poll_interval: 1h")
    .replace("reconcile_interval: 1s", "reconcile_interval: 1h")
    .replace("max_price_age: 24h", "max_price_age: 24h, max_equity_age: 24h")
    .replace("sweep_interval: 2s", "sweep_interval: 1h")
    .replace("cooldown: 1m", "cooldown: 1ms")
    .replace("execution: {concurrency: 1,", "execution: {concurrency: 4,")
)


@pytest.fixture(scope="module")
def quiet() -> Iterator[RunningSystem]:
    home = Path(tempfile.mkdtemp(prefix="alina-bench-"))
    system = RunningSystem(home, config=QUIET)
    system.start()
    yield system
    system.close()
    system.down()
    shutil.rmtree(home)


def test_memory_at_rest(quiet: RunningSystem) -> None:
    """PSS: shared pages are counted once over all who share them."""
    time.sleep(10)  # after the start has settled
    processes = quiet.status().processes
    table = Table("process", "PSS, MB", title="memory at rest, 4 inference children, no model loaded yet")
    for process in processes:
        table.add_row(process.name, f"{process.memory / 1e6:.0f}")
    table.add_row("all", f"{sum(process.memory for process in processes) / 1e6:.0f}")
    Console(width=100).print(table)
    assert all(process.alive for process in processes)


def test_proposal_to_acknowledged(quiet: RunningSystem) -> None:
    """A buy and a sale by turns, each sent when the one before has ended; then on the bare adapter."""
    through_kernel = _through_the_system(quiet)
    approved = _since_approved(quiet)
    bare = _on_the_adapter(quiet)
    table = Table("milliseconds", "p50", "p99", title=f"{len(through_kernel)} orders, one at a time")
    for name, values in (
        ("proposal to acknowledged, through Celery and the kernel", through_kernel),
        ("of that: approved to acknowledged", approved),
        ("bare order through ccxt to the same venue", bare),
    ):
        table.add_row(name, f"{statistics.median(values):.1f}", f"{_p99(values):.1f}")
    table.add_row("ratio", f"{statistics.median(through_kernel) / statistics.median(bare):.1f}", "")
    Console(width=100).print(table)
    assert len(through_kernel) == len(approved) == ROUNDS


def _through_the_system(system: RunningSystem) -> list[float]:
    client = Client(system.config)
    runtime = system.runtime
    with runtime.unit_of_work() as uow:
        known = len(uow.ledger.latencies_ms())
    for number in range(ROUNDS):
        proposal = _proposal(system, OrderSide.BUY if number % 2 == 0 else OrderSide.SELL)
        with runtime.unit_of_work() as uow:
            uow.ledger.save_proposal(proposal)
        verdict = client.send("trading.execute_proposal", str(proposal.id)).get(timeout=30, interval=0.01)
        assert verdict == "approved"
    with runtime.unit_of_work() as uow:
        latencies = uow.ledger.latencies_ms()
    return [float(value) for value in latencies[: len(latencies) - known]]


def _since_approved(system: RunningSystem) -> list[float]:
    """Of the same orders, from the begin of the transaction that approved them."""
    with system.runtime.unit_of_work() as uow:
        return list(uow.ledger._session.scalars(SINCE_APPROVED, {"rounds": ROUNDS}))


def _proposal(system: RunningSystem, side: OrderSide) -> Proposal:
    runtime = system.runtime
    ticker, now = runtime.exchange.ticker(SYMBOL), runtime.clock.now()
    with runtime.unit_of_work() as uow:
        position = uow.ledger.open_position(runtime.account, SYMBOL)
    held = runtime.exchange.market(SYMBOL).quantity_down(position.quantity) if position else QUANTITY
    is_buy = side is OrderSide.BUY
    return Proposal(
        id=uuid4(),
        run_id=None,
        account=runtime.account,
        agent="trading",
        symbol=SYMBOL,
        side=side,
        order_type=OrderType.MARKET,
        quantity=QUANTITY if is_buy else held,
        limit_price=None,
        reference_price=ticker.last,
        reduce_only=not is_buy,
        close_reason=None if is_buy else CloseReason.AGENT,
        stop_price=None,
        take_profit_price=None,
        close_after=None,
        confidence=100,
        rationale="a measurement",
        as_of=now,
        expires_at=now + timedelta(hours=1),
    )


def _on_the_adapter(system: RunningSystem) -> list[float]:
    exchange, elapsed = system.runtime.exchange, []
    for number in range(ROUNDS):
        order = Order(
            client_order_id=uuid4().hex,
            account=system.runtime.account,
            symbol=SYMBOL,
            side=OrderSide.BUY if number % 2 == 0 else OrderSide.SELL,
            order_type=OrderType.MARKET,
            quantity=QUANTITY if number % 2 == 0 else QUANTITY - Decimal("0.00002"),
            limit_price=None,
        )
        began = time.perf_counter()
        exchange.submit(order)
        elapsed.append((time.perf_counter() - began) * 1000)
    return elapsed


def _p99(values: list[float]) -> float:
    return sorted(values)[(len(values) * 99 - 1) // 100]
