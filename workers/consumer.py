"""A consumer that survives a restart of Redis.

With late acks, celery 5.7 closes the connection and then restores unacknowledged messages on the closed
client, which ends the worker with an AttributeError. A ConnectionError there lets it reconnect instead.
"""

from celery.worker.consumer import Consumer as CeleryConsumer
from redis.exceptions import ConnectionError as RedisConnectionError


class Consumer(CeleryConsumer):
    """celery's consumer; a lost connection is always a lost connection."""

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError as error:
            raise RedisConnectionError("the broker connection was closed while restoring messages") from error
