"""Everything may be killed while it trades: it comes back, trading goes on, and the books agree."""

import os
import signal
from contextlib import closing
from uuid import uuid4

import pytest
import redis
from running_system import SERVERS, SYMBOL, WORKERS, RunningSystem, eventually

from alina import Client, bootstrap


@pytest.mark.parametrize("name", [*WORKERS, "beat"])
def test_trading_goes_on_after_kill_9_of(system: RunningSystem, name: str) -> None:
    _kill(system, name)

    system.wait_for_more()


@pytest.mark.parametrize("name", SERVERS)
def test_no_worker_ends_when_a_server_is_killed(system: RunningSystem, name: str) -> None:
    before = {worker: system.pid(worker) for worker in WORKERS}

    _kill(system, name)

    system.wait_for_more()
    assert {worker: system.pid(worker) for worker in WORKERS} == before


def _kill(system: RunningSystem, name: str) -> None:
    """`kill -9`, and wait until everything runs again."""
    pid = system.pid(name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    system.wait_until_ready(without=pid)


def test_a_run_asked_for_while_postgres_is_away_still_gives_its_result(system: RunningSystem) -> None:
    client = Client(system.config)
    with closing(client.app):
        pid = system.pid("postgres")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        pending = client.run("trading", symbol=SYMBOL)

        assert eventually(lambda: pending.get(timeout=30), "the run has a result").symbol == SYMBOL
    system.wait_until_ready(without=pid)


def test_no_run_is_lost_when_redis_is_stopped_under_load(system: RunningSystem) -> None:
    keys = [f"under load {uuid4()}" for _ in range(25)]
    pid = system.pid("redis")
    client = Client(system.config)
    with closing(client.app):
        for key in keys:
            client.send("market.run_cycle", "trading", SYMBOL, None, key)

    with redis.Redis.from_url(bootstrap.connections(system.settings).redis_url) as broker:
        broker.shutdown()

    system.wait_until_ready(without=pid)
    eventually(lambda: _all_have_run(system, keys), "every run that was enqueued has ended")
    system.wait_for_more()


def _all_have_run(system: RunningSystem, keys: list[str]) -> bool:
    with system.runtime.unit_of_work() as uow:
        return all(uow.ledger.has_run(key) for key in keys)


def test_the_books_agree_after_all_of_it(system: RunningSystem) -> None:
    system.assert_books_agree()
