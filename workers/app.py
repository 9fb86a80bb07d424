"""The Celery application: queues, retry policy, schedule, and the runtime of each process."""

import argparse
import functools
import gc
import importlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import billiard.pool
import redis
import structlog
from celery import Celery
from celery.signals import (
    task_prerun,
    task_success,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
)
from kombu.exceptions import OperationalError

from alina import bootstrap
from alina.config import Settings, load_settings
from alina.errors import ConfigError, TransientError
from alina.llm.streaming import AnswerPublisher
from alina.log import configure_logging
from alina.orchestrator.runtime import Runtime
from alina.queues import EXECUTION, HEALTH, INFERENCE, RECONCILIATION, answered_key, make_celery, started_key
from beat_schedule import SCHEDULE
from workers.child_models import ChildModels

log = structlog.get_logger(__name__)

PARTS = ("market", "trading", "learning", "system", "asking", "endings")


def make_app(settings: Settings) -> Celery:
    """The app with its schedule; tasks are added by the modules that `include` names.

    Only a worker keeps results: beat and Flower are not even told where the database is.
    """
    database_url = bootstrap.connections(settings).database_url if "worker" in sys.argv else None
    app = make_celery(settings, database_url=database_url, redis_url=bootstrap.broker_url(settings))
    app.conf.update(
        include=[f"workers.{part}" for part in PARTS],
        worker_consumer="workers.consumer:Consumer",
        result_backend_max_retries=12,  # about 15 s: a restart of Postgres costs nobody a result
        # by memory, not by count: what leaks is replaced, what does not keeps its model
        worker_max_memory_per_child=settings.execution.child_memory // 1024,
        beat_schedule=_schedule(settings),
        beat_schedule_filename=str(settings.data_folder / "run" / "beat"),
    )
    return app


def _schedule(settings: Settings) -> dict[str, Any]:
    """beat_schedule.py with its intervals read from the settings; a late tick expires with its interval.

    Nobody waits for a tick's result, and one that is not stored cannot fail where Postgres is away.
    """
    entries = {}
    for name, entry in SCHEDULE.items():
        interval = attrgetter(entry["every"])(settings)
        options = {"expires": max(interval.total_seconds(), 1), "ignore_result": True}
        entries[name] = {"task": entry["task"], "schedule": interval, "options": options}
    return entries


def transient(settings: Settings) -> dict[str, Any]:
    """Task options: repeat after a transient error only, with backoff and jitter."""
    errors = settings.error_handling
    return {
        "autoretry_for": (TransientError,),
        "max_retries": errors.retry_max,
        "retry_backoff": max(1, int(errors.retry_backoff.total_seconds())),
        "retry_backoff_max": 60,
        "retry_jitter": True,
    }


def queues_of(argv: Sequence[str]) -> frozenset[str]:
    """The queues that a command line of Celery serves; none for a command that is no worker."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-Q", "--queues", default="")
    return frozenset(filter(None, parser.parse_known_args(list(argv))[0].queues.split(",")))


#: whether this process may send orders: nobody else may as much as have the exchange's keys
IS_EXECUTOR = queues_of(sys.argv[1:]) == {EXECUTION}

settings = load_settings()
if not IS_EXECUTOR and "inspect" not in sys.argv:  # a health check asks from within the executor's container
    bootstrap.refuse_exchange_keys(settings)
configure_logging(settings.logging.level, settings.logging.format)
app = make_app(settings)
models = ChildModels(settings)
TRANSIENT = transient(settings)
#: seconds until a task is delivered again whose child died, where somebody may wait for it; Celery's are 180
AFTER_A_DEATH = 1
#: seconds
MESSAGE_LIFE = settings.execution.task_time_limit.total_seconds()


@functools.cache
def redis_client() -> redis.Redis:
    url = bootstrap.broker_url(settings)
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)


@worker_init.connect
def load_what_children_share(**_: Any) -> None:
    """ccxt takes 50 MB, a model's vocabulary 16 or more: loaded before the fork, children share them.

    Frozen, what was loaded is left alone by the children's garbage collectors, whose marks would unshare it.
    """
    billiard.pool.mem_rss = models.own_kb  # type: ignore[attr-defined]  # the one seam for another measure
    importlib.import_module("ccxt")
    if INFERENCE in queues_of(sys.argv[1:]):
        models.read_vocabularies()
    gc.freeze()


@worker_process_init.connect
def load_model(**_: Any) -> None:
    """Once a child, after its fork: a model that was used before it would hang."""
    if INFERENCE in queues_of(sys.argv[1:]):
        models.warm_up()


@task_prerun.connect
def choose_model(**_: Any) -> None:
    """A task is answered by one model, the one that was active at its first question."""
    models.begin_task()


@task_prerun.connect
def note_start(task: Any = None, **_: Any) -> None:
    """Leave a sign of life a queue: the supervisor restarts a worker that takes nothing from a full one."""
    queue = (task.request.delivery_info or {}).get("routing_key") if task is not None else None
    try:
        redis_client().set(started_key(str(queue)), datetime.now(UTC).isoformat())
    except redis.RedisError as error:
        log.warning("start not noted", queue=queue, error=str(error))


@task_success.connect
def note_answer(sender: Any = None, result: Any = None, **_: Any) -> None:
    """Keep what those who look after the system found last: `alina status` shows it."""
    if sender.name in (HEALTH, RECONCILIATION):
        answer = json.dumps({"at": datetime.now(UTC).isoformat(), "answer": result})
        try:
            redis_client().set(answered_key(sender.name), answer)
        except redis.RedisError as error:
            log.warning("answer not noted", task=sender.name, error=str(error))


def send(task: str, *arguments: Any) -> None:
    """Enqueue by name. A broker that is away is no error here: the sweeper sends the row again.

    So a message that nobody took for long is dropped: without that, a worker that was away for a night
    would find one more copy of each row for every sweep.
    """
    try:
        app.send_task(task, arguments, retry=False, expires=MESSAGE_LIFE, ignore_result=True)
    except OperationalError as error:
        log.warning("not enqueued, the sweeper will", task=task, error=str(error))


@functools.cache
def publisher() -> AnswerPublisher:
    return AnswerPublisher(bootstrap.broker_url(settings))


@worker_process_shutdown.connect
def tell_the_rest(**_: Any) -> None:
    """A child that ends leaves no answer half told."""
    if publisher.cache_info().currsize:
        publisher().close()


@functools.cache
def runtime() -> Runtime:
    """This process's runtime, built on first use: after the fork, never before.

    Raises ConfigError in the execution worker: agents and tools have no place beside the keys.
    """
    if IS_EXECUTOR:
        raise ConfigError("the worker of the queue `execution` runs no tasks of agents: send them elsewhere")
    urls = bootstrap.connections(settings)
    return bootstrap.make_runtime(
        settings,
        database_url=urls.database_url,
        redis_url=urls.redis_url,
        send=send,
        sessions=models.sessions,
        model=models.chosen,
        stream=publisher().open,
    )


@functools.cache
def executor() -> Runtime:
    """The runtime with exchange keys. Raises ConfigError but in the worker of the execution queue alone.

    Every worker knows every task: a message forged for another queue ends here.
    """
    if not IS_EXECUTOR:
        raise ConfigError("only the worker of the queue `execution`, and of no other, may touch orders")
    urls = bootstrap.connections(settings)
    return bootstrap.make_runtime(
        settings,
        database_url=urls.database_url,
        redis_url=urls.redis_url,
        send=send,
        keys=bootstrap.exchange_keys(settings),
        agents={},
        tools=(),
    )
