"""Redis and Postgres are ended in every way under load, in the real system, and trading goes on."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_table import ChaosTable
from proving_ground import Result
from redis import Redis
from running_system import RunningSystem, eventually

from alina import bootstrap
from alina.domain.portfolio import TradingState

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
ROUNDS = 3


@pytest.fixture(scope="module")
def system() -> Iterator[RunningSystem]:
    # not pytest's own folder: a second session of pytest resets the rights the server's user needs on it
    home = Path(tempfile.mkdtemp(prefix="alina-chaos-"))
    one = RunningSystem(home)
    one.start()
    yield one
    one.close()
    one.down()
    one.assert_nothing_is_left()
    shutil.rmtree(home)


def _signalled(name: str, number: signal.Signals) -> Callable[[RunningSystem], None]:
    def end(system: RunningSystem) -> None:
        pid = system.pid(name)
        assert pid is not None
        os.kill(pid, number)
        system.wait_until_ready(without=pid)

    return end


def _redis_stopped_cleanly(system: RunningSystem) -> None:
    pid = system.pid("redis")
    with Redis.from_url(bootstrap.connections(system.settings).redis_url) as client:
        client.shutdown()
    system.wait_until_ready(without=pid)


def _redis_flushed(system: RunningSystem) -> None:
    with Redis.from_url(bootstrap.connections(system.settings).redis_url) as client:
        client.flushall()


FAULTS = {
    "redis killed": _signalled("redis", signal.SIGKILL),
    "redis flushed": _redis_flushed,
    "redis stopped cleanly": _redis_stopped_cleanly,
    "postgres restarted, immediate": _signalled("postgres", signal.SIGQUIT),
    "postgres restarted, fast": _signalled("postgres", signal.SIGINT),
    "executor killed": _signalled("execution", signal.SIGKILL),
    "venue killed": _signalled("venue", signal.SIGKILL),
}


@pytest.mark.parametrize("name", FAULTS)
def test_trading_goes_on_and_the_books_agree_after(
    system: RunningSystem, chaos_table: ChaosTable, name: str
) -> None:
    slowest = 0.0
    for _ in range(ROUNDS):
        started = time.monotonic()
        FAULTS[name](system)
        system.wait_for_more(runs=2, orders=1)
        slowest = max(slowest, time.monotonic() - started)
    account = eventually(lambda: system.status().account, "the ledger answers")
    assert account is not None
    assert account.trading_state is TradingState.ACTIVE, account.reason
    system.assert_books_agree()
    chaos_table.add([(name, Result(name, runs=ROUNDS, faults=ROUNDS, seconds=slowest))])
