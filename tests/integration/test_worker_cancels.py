"""A run is cancelled while its model answers, in a child of a real Celery worker, and the child lives on."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from model_door import Exchange, ModelDoor, model_door
from redis import Redis
from system import NOW, RunningVenue, System, system
from worker_process import end_worker

from alina.config import load_settings
from alina.domain.runs import RunState, run_id_for
from alina.queues import INFERENCE, PendingRun, make_celery, send

VENUE_SYMBOLS = 1
PATIENCE = 200.0  # seconds


@pytest.fixture
def door() -> Iterator[ModelDoor]:
    with model_door() as opened:
        yield opened


@pytest.fixture
def one(venue: RunningVenue, ledger_url: str, door: ModelDoor, tmp_path: Path) -> System:
    """A system whose model is behind the door; its settings are those of the worker too."""
    prepared = system(venue, ledger_url)
    told = prepared.runtime.settings
    config = {
        "system": {"data_folder": str(venue.home), "account": told.system.account},
        # nothing but the cancellation ends the answer, however slow the machine is
        "execution": {"concurrency": 1, "task_soft_time_limit": "300s", "task_time_limit": "320s"},
        "market": {"symbols": [prepared.symbol], "venue": {"data": [f"{prepared.symbol}=candles.csv"]}},
        "trading": {"gate_always_ask": True},
        "models": {
            "default": "provider:mine/some-model",
            "deadline": "290s",
            "providers": {"mine": {"base_url": door.address, "read_timeout": "290s"}},
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return prepared


@pytest.fixture
def worker(
    one: System, ledger_url: str, redis_server: str, tmp_path: Path
) -> "Iterator[subprocess.Popen[bytes]]":
    with Redis.from_url(redis_server) as client:
        client.flushall()
    environment = {
        "PATH": os.environ["PATH"],
        "ALINA_CONFIG": str(tmp_path / "config.yaml"),
        "ALINA_DATABASE_URL": ledger_url,
        "ALINA_REDIS_URL": redis_server,
    }
    arguments = ("-Q", INFERENCE, "--concurrency", "1", "--without-gossip", "--without-mingle")
    with (tmp_path / "worker.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "workers.app", "--quiet", "worker", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    yield process
    end_worker(process)


def test_a_run_that_is_cancelled_in_its_answer_ends_failed_and_the_next_is_answered(
    one: System,
    worker: "subprocess.Popen[bytes]",
    door: ModelDoor,
    ledger_url: str,
    redis_server: str,
    tmp_path: Path,
) -> None:
    def wait_until(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            said = (tmp_path / "worker.log").read_text()[-3000:]
            assert worker.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def begins_to_answer(exchange: Exchange) -> None:
        exchange.begin()
        exchange.event(exchange.events()[0])
        exchange.hang()

    def ended(key: str) -> bool:
        with one.work() as uow:
            return uow.ledger.has_run(key) and uow.ledger.run(run_id_for(key)).state is not RunState.STARTED

    settings = load_settings(tmp_path / "config.yaml")
    with make_celery(settings, database_url=ledger_url, redis_url=redis_server) as app:

        def begin(key: str) -> PendingRun:
            return PendingRun(send(app, "market.run_cycle", "trading", one.symbol, NOW.isoformat(), key))

        door.plays = begins_to_answer
        cancelled = begin("cancelled")
        wait_until(lambda: door.asked)
        cancelled.cancel()
        wait_until(lambda: ended("cancelled"))
        with one.work() as uow:
            run = uow.ledger.run(run_id_for("cancelled"))
            assert (run.state, run.calls) == (RunState.FAILED, ())
            assert "stopped: revoked" in run.summary
            # nobody asks it again
            assert uow.ledger.unfinished_runs(older_than=timedelta(0)) == []

        door.plays = Exchange.answer
        begin("next")
        wait_until(lambda: ended("next"))
        with one.work() as uow:
            following = uow.ledger.run(run_id_for("next"))
        # the door's script is no answer to an agent's question: what matters is that it was asked and heard
        assert following.calls[0].completion.model.name == "some-model"
