"""Redis, Postgres, the venue and the executor are ended in every way under load, in the real system."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from chaos_cases import Result
from redis import Redis
from running_system import RunningSystem, eventually

from alina import bootstrap
from alina.domain.portfolio import TradingState

Fault = Callable[[RunningSystem], None]


def _signalled(name: str, number: signal.Signals, system: RunningSystem) -> None:
    pid = system.pid(name)
    assert pid is not None
    os.kill(pid, number)
    system.wait_until_ready(without=pid)


def _redis_stopped_cleanly(system: RunningSystem) -> None:
    pid = system.pid("redis")
    with Redis.from_url(bootstrap.connections(system.settings).redis_url) as client:
        client.shutdown()
    system.wait_until_ready(without=pid)


def _redis_flushed(system: RunningSystem) -> None:
    with Redis.from_url(bootstrap.connections(system.settings).redis_url) as client:
        client.flushall()


FAULTS: Mapping[str, Fault] = {
    "redis killed": partial(_signalled, "redis", signal.SIGKILL),
    "redis flushed": _redis_flushed,
    "redis stopped cleanly": _redis_stopped_cleanly,
    "postgres restarted, immediate": partial(_signalled, "postgres", signal.SIGQUIT),
    "postgres restarted, fast": partial(_signalled, "postgres", signal.SIGINT),
    "executor killed": partial(_signalled, "execution", signal.SIGKILL),
    "venue killed": partial(_signalled, "venue", signal.SIGKILL),
}


@contextmanager
def trading_system() -> Iterator[RunningSystem]:
    """`alina up` in a folder of its own, ended afterwards with nothing left behind."""
    home = Path(tempfile.mkdtemp(prefix="alina-chaos-"))
    system = RunningSystem(home)
    system.start()
    try:
        yield system
    finally:
        system.close()
        system.down()
        system.assert_nothing_is_left()
        shutil.rmtree(home)


def round_of(name: str, number: int) -> str:
    """What a case is called."""
    return f"{name}, round {number}"


def end(system: RunningSystem, name: str, number: int) -> Result:
    """End a server so while the system trades; trading goes on and the books agree."""
    result = Result(name, round_of(name, number), faults=1)
    began = time.monotonic()
    try:
        FAULTS[name](system)
        system.wait_for_more(runs=2, orders=1)
        result.seconds = time.monotonic() - began
    except AssertionError as error:
        result.stuck = 1
        result.wrong.append(f"{result.name}: {error}")
        return result
    try:
        system.assert_books_agree()
    except AssertionError as error:
        result.lost = 1
        result.wrong.append(f"{result.name}: the books differ: {error}")
    account = eventually(lambda: system.status().account, "the ledger answers")
    if account is None or account.trading_state is not TradingState.ACTIVE:
        result.wrong.append(f"{result.name}: {account}")
    return result
