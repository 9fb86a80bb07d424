"""The Python door: enqueue tasks, wait for typed results."""

from pathlib import Path
from typing import Any

from celery.result import AsyncResult

from alina import bootstrap, queues
from alina.config import load_settings


class Client:
    """A connection to a running system, found through config.yaml and the environment.

    >>> Client().run("trading", symbol="BTC/USDT").get(timeout=60)  # doctest: +SKIP
    """

    def __init__(self, config: Path | str | None = None) -> None:
        settings = load_settings(config)
        urls = bootstrap.connections(settings)
        #: the Celery app, for everything that has no method here: `client.app.send_task(name, args)`
        self.app = queues.make_celery(settings, database_url=urls.database_url, redis_url=urls.redis_url)

    def run(self, agent: str, *, symbol: str) -> queues.PendingRun:
        """Enqueue one cycle of `agent` over `symbol` at the newest closed candle.

        Raises BrokerUnavailable when Redis does not answer.
        """
        return queues.run_now(self.app, agent, symbol=symbol)

    def send(self, task: str, *arguments: Any) -> "AsyncResult[Any]":
        """Enqueue any task by name. Raises BrokerUnavailable when Redis does not answer."""
        return queues.send(self.app, task, *arguments)
