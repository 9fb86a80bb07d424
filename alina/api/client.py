"""The Python door: enqueue tasks, wait for typed results."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from celery.result import AsyncResult

from alina import bootstrap, queues
from alina.config import load_settings
from alina.llm.streaming import AnswerReader, StreamEvent


class Client:
    """A connection to a running system, found through config.yaml and the environment.

    >>> Client().run("trading", symbol="BTC/USDT").get(timeout=60)  # doctest: +SKIP
    """

    def __init__(self, config: Path | str | None = None) -> None:
        settings = load_settings(config)
        urls = bootstrap.connections(settings)
        #: the Celery app, for everything that has no method here: `client.app.send_task(name, args)`
        self.app = queues.make_celery(settings, database_url=urls.database_url, redis_url=urls.redis_url)
        self._reader = AnswerReader(urls.redis_url)

    def run(self, agent: str, *, symbol: str) -> queues.PendingRun:
        """Enqueue one cycle of `agent` over `symbol` at the newest closed candle.

        Raises BrokerUnavailable when Redis does not answer.
        """
        return queues.run_now(self.app, agent, symbol=symbol)

    def ask(self, question: str) -> queues.PendingAnswer:
        """Enqueue a question to the model. Raises BrokerUnavailable when Redis does not answer."""
        return queues.ask(self.app, question)

    def stream(
        self, pending: queues.Pending[Any] | UUID, *, after: str = "0", timeout: float = 90
    ) -> Iterator[StreamEvent]:
        """What a model answers, while it writes: pieces of text, and at last the answer or an error.

        `pending`: a run or a question that was enqueued, or the id of any run. To go on after an
        interruption, give the last event's id as `after`. A stream is kept for an hour. Raises
        BrokerUnavailable, or TransientError when nothing came for `timeout` seconds.

        >>> client = Client()  # doctest: +SKIP
        >>> for event in client.stream(client.ask("What is slippage?")):  # doctest: +SKIP
        ...     if event.kind == "text":
        ...         print(event.text, end="")
        """
        stream_id = pending if isinstance(pending, UUID) else pending.stream_id
        return self._reader.read(stream_id, after=after, timeout=timeout)

    def send(self, task: str, *arguments: Any) -> "AsyncResult[Any]":
        """Enqueue any task by name. Raises BrokerUnavailable when Redis does not answer."""
        return queues.send(self.app, task, *arguments)
