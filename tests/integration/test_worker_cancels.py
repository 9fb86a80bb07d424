"""Runs that are cancelled, or whose process dies, while their model answers in a child of a real worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
import yaml
from celery import Celery
from model_door import Exchange, ModelDoor, model_door
from redis import Redis
from system import NOW, RunningVenue, System, system
from worker_process import end_worker

from alina.config import load_settings
from alina.domain.runs import Run, RunState, run_id_for
from alina.llm.streaming import AnswerReader, StreamEvent, StreamKind
from alina.queues import DEFAULT, INFERENCE, PendingRun, make_celery, send

VENUE_SYMBOLS = 4
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
    arguments = ("-Q", f"{INFERENCE},{DEFAULT}", "--concurrency", "1", "--without-gossip", "--without-mingle")
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


@pytest.fixture
def asked(
    one: System,
    worker: "subprocess.Popen[bytes]",
    door: ModelDoor,
    ledger_url: str,
    redis_server: str,
    tmp_path: Path,
) -> "Iterator[Asked]":
    settings = load_settings(tmp_path / "config.yaml")
    with make_celery(settings, database_url=ledger_url, redis_url=redis_server) as app:
        yield Asked(one, worker, door, app, AnswerReader(redis_server), tmp_path / "worker.log")


@dataclass(frozen=True)
class Asked:
    """A worker, the door that it asks, and what came of it."""

    one: System
    worker: "subprocess.Popen[bytes]"
    door: ModelDoor
    app: Celery
    reader: AnswerReader
    log: Path

    def begin(self, key: str) -> PendingRun:
        sent = send(self.app, "market.run_cycle", "trading", self.one.symbol, NOW.isoformat(), key)
        return PendingRun(sent, run_id_for(key))

    def wait_until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            said = self.log.read_text()[-3000:]
            assert self.worker.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def end_of(self, key: str) -> Run:
        """The run of this key, once it has ended; nobody asks it again."""
        self.wait_until(lambda: self._has_ended(key))
        with self.one.work() as uow:
            assert uow.ledger.unfinished_runs(older_than=timedelta(0)) == []
            return uow.ledger.run(run_id_for(key))

    def _has_ended(self, key: str) -> bool:
        with self.one.work() as uow:
            return uow.ledger.has_run(key) and uow.ledger.run(run_id_for(key)).state is not RunState.STARTED

    def told(self, pending: PendingRun) -> StreamEvent:
        """The last word of its stream."""
        return list(self.reader.read(pending.stream_id, timeout=PATIENCE))[-1]


def begins_to_answer(exchange: Exchange) -> None:
    exchange.begin()
    exchange.event(exchange.events()[0])
    exchange.hang()


def test_a_run_that_is_cancelled_in_its_answer_ends_failed_and_the_next_is_answered(asked: Asked) -> None:
    asked.door.plays = begins_to_answer
    cancelled = asked.begin("cancelled")
    asked.wait_until(lambda: asked.door.asked)
    cancelled.cancel()
    run = asked.end_of("cancelled")
    assert (run.state, run.calls) == (RunState.FAILED, ())
    assert "stopped: revoked" in run.summary
    told = asked.told(cancelled)
    assert told.kind is StreamKind.ERROR
    assert "stopped: revoked" in told.text

    asked.door.plays = Exchange.answer
    asked.begin("next")
    # the door's script is no answer to an agent's question: what matters is that it was asked and heard
    assert asked.end_of("next").calls[0].completion.model.name == "some-model"


def test_a_run_that_is_terminated_with_its_process_is_not_asked_again(asked: Asked) -> None:
    asked.door.plays = begins_to_answer
    terminated = asked.begin("terminated")
    asked.wait_until(lambda: asked.door.asked)
    asked.app.control.revoke(terminated.id, terminate=True)  # as Flower does
    assert asked.end_of("terminated").state is RunState.FAILED
    assert asked.told(terminated).text == "stopped: revoked"


def test_a_run_whose_process_dies_begins_anew_and_its_stream_ends(asked: Asked) -> None:
    def kills(exchange: Exchange) -> None:
        exchange.begin()
        exchange.event(exchange.events()[0])
        exchange.event(exchange.events()[1])
        if len(asked.door.asked) == 1:
            os.kill(_child(asked.worker), signal.SIGKILL)
            exchange.hang()
        for event in exchange.events()[2:]:
            exchange.event(event)
        exchange.end()

    asked.door.plays = kills
    pending = asked.begin("died once")
    events = list(asked.reader.read(pending.stream_id, timeout=PATIENCE))
    assert events[-1].kind in (StreamKind.END, StreamKind.ERROR)
    run = asked.end_of("died once")
    assert run.calls
    begins = [number for number, event in enumerate(events) if event.kind is StreamKind.BEGIN]
    last = "".join(event.text for event in events[begins[-1] + 1 : -1])
    assert last == run.calls[-1].completion.text


def test_a_run_whose_process_dies_each_time_ends_failed_and_says_so(asked: Asked) -> None:
    def kills(exchange: Exchange) -> None:
        os.kill(_child(asked.worker), signal.SIGKILL)
        exchange.hang()

    asked.door.plays = kills
    pending = asked.begin("died")
    told = asked.told(pending)
    assert told.kind is StreamKind.ERROR
    assert "exited prematurely" in told.text
    assert asked.end_of("died").state is RunState.FAILED
    assert len(asked.door.asked) == 3


def _child(worker: "subprocess.Popen[bytes]") -> int:
    """The one that asks: the newest."""
    return int(max(psutil.Process(worker.pid).children(), key=psutil.Process.create_time).pid)
