"""The queues as Redis shows them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alina.errors import BrokerUnavailable, ConfigError
from alina.orchestrator.restarts import QueueState

_TIMEOUT = 5  # seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """What a task answered last, and when (wall time)."""

    at: datetime
    answer: Any


class Broker:
    """A connection for looking only. Raises ConfigError for what is no Redis URL."""

    def __init__(self, redis_url: str) -> None:
        import redis

        try:
            self._redis = redis.Redis.from_url(
                redis_url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, decode_responses=True
            )
        except ValueError:
            raise ConfigError("ALINA_REDIS_URL is no URL: write redis://host:6379/0") from None

    def queues(self) -> Mapping[str, QueueState]:
        """Every queue: what waits, and when one of its tasks last began. Raises BrokerUnavailable."""
        from alina.queues import QUEUES, started_key

        with _our_errors():
            waiting = {queue: int(self._redis.llen(queue)) for queue in QUEUES}
            told = {queue: self._redis.get(started_key(queue)) for queue in QUEUES}
            started = {queue: _moment(moment) if moment else None for queue, moment in told.items()}
        return {queue: QueueState(waiting=waiting[queue], last_started=started[queue]) for queue in QUEUES}

    def answered(self, task: str) -> Answer | None:
        """What the task answered last; None before its first end. Raises BrokerUnavailable."""
        from alina.queues import answered_key

        with _our_errors():
            kept = self._redis.get(answered_key(task))
            if kept is None:
                return None
            told = json.loads(str(kept))
            return Answer(_moment(told["at"]), told["answer"])


@contextmanager
def _our_errors() -> Iterator[None]:
    from redis.exceptions import RedisError

    try:
        yield
    except RedisError as error:
        raise BrokerUnavailable(
            f"Redis does not answer ({error}): check ALINA_REDIS_URL, "
            "or start the embedded one with `alina up`"
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise BrokerUnavailable(
            f"Redis holds what no worker of ours wrote ({error}): delete the keys alina:started:* and "
            "alina:answered:*, and ask who else has its password"
        ) from None


def _moment(told: object) -> datetime:
    moment = datetime.fromisoformat(str(told))
    if moment.tzinfo is None:
        raise ValueError(f"a time without its zone: {moment}")
    return moment
