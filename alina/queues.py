"""The queues, which task goes where, and the Celery settings that every process shares.

Producers and workers must agree on these: the shortest visibility timeout of any client wins.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from uuid import UUID, uuid4

from celery import Celery
from celery.backends.database import DatabaseBackend
from celery.exceptions import BackendGetMetaError, TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult
from kombu.exceptions import OperationalError as BrokerError

from alina.config import Settings
from alina.domain.runs import Answer, RunResult, run_id_for
from alina.errors import BrokerUnavailable, DatabaseUnavailable, SystemStateError, TransientError

ResultT = TypeVar("ResultT")

INFERENCE, EXECUTION, DEFAULT = "inference", "execution", "default"
QUEUES = (INFERENCE, EXECUTION, DEFAULT)
#: seconds between two looks at a result's row
_INTERVAL = 0.05

ROUTES = {
    "market.run_cycle": {"queue": INFERENCE},
    "learning.advance_experiment": {"queue": INFERENCE},
    "asking.ask": {"queue": INFERENCE},
    "trading.execute_proposal": {"queue": EXECUTION},
    "trading.reconcile": {"queue": EXECUTION},
    "trading.wind_down": {"queue": EXECUTION},
    "trading.protect": {"queue": EXECUTION},
}


def started_key(queue: str) -> str:
    """The Redis key that holds when a task of this queue last began (ISO, UTC)."""
    return f"alina:started:{queue}"


#: the tasks whose newest answer is kept for `alina status`
HEALTH, RECONCILIATION = "system.check_health", "trading.reconcile"


def answered_key(task: str) -> str:
    """The Redis key of a task's last answer: JSON, {"at": ISO in UTC, "answer": ...}."""
    return f"alina:answered:{task}"


def make_celery(settings: Settings, *, database_url: str | None, redis_url: str) -> Celery:
    """A Celery app on this broker and result backend, without tasks; None: no results are kept or read.

    Late acks and a visibility timeout above the longest task: nothing is lost, so any task may run twice.
    """
    app = Celery("alina", broker=redis_url, backend=f"db+{database_url}" if database_url else None)
    app.loader.override_backends = {"db": f"{__name__}:{ResultBackend.__name__}"}
    limit = int(settings.execution.task_time_limit.total_seconds())
    app.conf.update(
        task_default_queue=DEFAULT,
        task_routes=ROUTES,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        enable_utc=True,
        timezone="UTC",
        task_acks_late=True,
        task_retry_on_worker_lost=True,
        task_reject_on_worker_lost=True,
        task_acks_on_timeout=True,
        task_time_limit=limit,
        task_soft_time_limit=int(settings.execution.task_soft_time_limit.total_seconds()),
        result_expires=24 * 3600,
        database_create_tables_at_setup=False,  # alembic makes them
        database_engine_options={"pool_pre_ping": True},
        broker_transport_options={
            "visibility_timeout": 2 * limit,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60,
        worker_soft_shutdown_timeout=settings.execution.soft_shutdown.total_seconds(),
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        worker_hijack_root_logger=False,
    )
    return app


class ResultBackend(DatabaseBackend):
    """Celery's own, but for one thing: it reads JSON only.

    Celery unpickles what is no JSON, for results of old versions. Whoever may write a result, which every
    worker may, could then run code in whatever process reads it.
    """

    def _decode_stored_result(self, payload: bytes | None) -> Any:
        return None if payload is None else self.decode(bytes(payload))


class Pending(Generic[ResultT]):
    """A task that was enqueued. `id` is the Celery task's id."""

    def __init__(
        self,
        result: "AsyncResult[Any]",
        read: Callable[[Any], ResultT],
        *,
        what: str,
        stream_id: UUID | None = None,
    ) -> None:
        self._result, self._read, self._what = result, read, what
        self.id = str(result.id)
        #: of the stream on which the answer is told while it is written
        self.stream_id = stream_id or UUID(self.id)

    def get(self, timeout: float | None = None) -> ResultT:
        """Wait for the result, at most `timeout` seconds.

        Raises what the task raised (an AlinaError), DatabaseUnavailable, SystemStateError if it was
        cancelled, or TransientError when the time is over.
        """
        try:
            with _our_errors():
                self._wait(timeout)
                return self._read(self._result.get())
        except TaskRevokedError:
            raise SystemStateError(f"{self._what} {self.id} was cancelled: send it again") from None
        except CeleryTimeout:
            raise TransientError(
                f"{self._what} {self.id} has no result after {timeout} s: see `alina status`, or wait longer"
            ) from None

    def _wait(self, timeout: float | None) -> None:
        """Until the result is there. Celery's own wait counts its pauses, not what its looks take."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self._result.ready():
            if time.monotonic() >= deadline:
                raise CeleryTimeout
            time.sleep(_INTERVAL)

    def cancel(self) -> None:
        """Stop it: where it waits it is dropped, where it runs its model stops at the next token.

        A run that was begun ends as FAILED. Raises BrokerUnavailable.
        """
        try:
            # What a soft time limit sends: it is raised in the task, and the child lives on.
            self._result.revoke(terminate=True, signal="SIGUSR1")
        except BrokerError as error:
            raise _away(error) from None

    def ready(self) -> bool:
        """Whether the result is there. Raises DatabaseUnavailable."""
        with _our_errors():
            return bool(self._result.ready())


class PendingRun(Pending[RunResult]):
    """A run that was enqueued."""

    def __init__(self, result: "AsyncResult[Any]", stream_id: UUID | None = None) -> None:
        super().__init__(result, RunResult.from_json, what="run", stream_id=stream_id)


class PendingAnswer(Pending[Answer]):
    """A question that was enqueued."""

    def __init__(self, result: "AsyncResult[Any]") -> None:
        super().__init__(result, Answer.from_json, what="question")


@contextmanager
def _our_errors() -> Iterator[None]:
    """What Celery raises when it cannot read a result, in the project's words."""
    try:
        yield
    except BackendGetMetaError as error:
        reason = getattr(error.__cause__, "orig", None) or error.__cause__ or error
        raise DatabaseUnavailable(
            f"Postgres does not answer ({str(reason).strip()}): check ALINA_DATABASE_URL, "
            "or start the embedded one with `alina up`"
        ) from None


def run_now(app: Celery, agent: str, *, symbol: str) -> PendingRun:
    """Enqueue one cycle of `agent` over `symbol` at the newest closed candle.

    Raises BrokerUnavailable when Redis does not answer.
    """
    key = str(uuid4())
    return PendingRun(send(app, "market.run_cycle", agent, symbol, None, key), run_id_for(key))


def ask(app: Celery, question: str) -> PendingAnswer:
    """Enqueue a question to the model. Raises BrokerUnavailable when Redis does not answer."""
    return PendingAnswer(send(app, "asking.ask", question))


def send(app: Celery, task: str, *arguments: Any) -> "AsyncResult[Any]":
    """Enqueue any task by name. Raises BrokerUnavailable when Redis does not answer."""
    try:
        return app.send_task(task, arguments, retry=False)
    except BrokerError as error:
        raise _away(error) from None


def _away(error: BrokerError) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"Redis does not answer ({error}): start the system with `alina up`, or check ALINA_REDIS_URL"
    )
