"""The shared request budget in Redis."""

from typing import cast

import redis

from alina.exchange.budget import SharedBudgetAway


class BudgetServer:
    """Runs the budget's scripts, each atomic, on one Redis. The URL carries a password: never log it."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=2, socket_connect_timeout=2)

    def evaluate(self, script: str, keys: tuple[str, ...], arguments: tuple[str, ...]) -> int:
        """The script's number. Raises SharedBudgetAway."""
        try:
            return int(cast("int", self._redis.eval(script, len(keys), *keys, *arguments)))
        except redis.RedisError as error:
            raise SharedBudgetAway(type(error).__name__) from error
