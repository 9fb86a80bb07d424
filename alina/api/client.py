"""The Python door: enqueue tasks, wait for typed results."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from celery.exceptions import TimeoutError as CeleryTimeout
from celery.result import AsyncResult
from kombu.exceptions import OperationalError

from alina import bootstrap
from alina.config import load_settings
from alina.domain.runs import RunResult
from alina.errors import BrokerUnavailable, TransientError
from alina.queues import make_celery

#: seconds between two looks at the result's row
_INTERVAL = 0.05


class PendingRun:
    """A run that was enqueued. `id` is the Celery task's id."""

    def __init__(self, result: "AsyncResult[Any]") -> None:
        self._result = result
        self.id = str(result.id)

    def get(self, timeout: float | None = None) -> RunResult:
        """Wait for the result, at most `timeout` seconds.

        Raises what the task raised (an AlinaError), or TransientError when the time is over.
        """
        try:
            return RunResult.from_json(self._result.get(timeout=timeout, interval=_INTERVAL))
        except CeleryTimeout:
            raise TransientError(
                f"run {self.id} has no result after {timeout} s: see `alina status`, or wait longer"
            ) from None

    def ready(self) -> bool:
        """Whether the result is there."""
        return bool(self._result.ready())


class Client:
    """A connection to a running system, found through config.yaml and the environment.

    >>> Client().run("trading", symbol="BTC/USDT").get(timeout=60)  # doctest: +SKIP
    """

    def __init__(self, config: Path | str | None = None) -> None:
        settings = load_settings(config)
        urls = bootstrap.connections(settings)
        #: the Celery app, for everything that has no method here: `client.app.send_task(name, args)`
        self.app = make_celery(settings, database_url=urls.database_url, redis_url=urls.redis_url)

    def run(self, agent: str, *, symbol: str) -> PendingRun:
        """Enqueue one cycle of `agent` over `symbol` at the newest closed candle.

        Raises BrokerUnavailable when Redis does not answer.
        """
        return PendingRun(self.send("market.run_cycle", agent, symbol, None, str(uuid4())))

    def send(self, task: str, *arguments: Any) -> "AsyncResult[Any]":
        """Enqueue any task by name. Raises BrokerUnavailable when Redis does not answer."""
        try:
            return self.app.send_task(task, arguments, retry=False)
        except OperationalError as error:
            raise BrokerUnavailable(
                f"Redis does not answer ({type(error).__name__}): start the system with `alina up`, "
                "or check ALINA_REDIS_URL"
            ) from None
