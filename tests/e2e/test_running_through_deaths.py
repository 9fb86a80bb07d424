"""Everything may be killed while it trades: it comes back, trading goes on, and the books agree."""

import os
import signal
from contextlib import closing
from uuid import uuid4

import pytest
import redis
from running_system import SYMBOL, WORKERS, RunningSystem, eventually

from alina import Client, bootstrap


@pytest.mark.parametrize("name", [*WORKERS, "beat", "venue", "redis", "postgres"])
def test_trading_goes_on_after_kill_9_of(system: RunningSystem, name: str) -> None:
    pid = system.pid(name)
    assert pid is not None

    os.kill(pid, signal.SIGKILL)

    system.wait_until_ready(without=pid)
    system.wait_for_more()


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
