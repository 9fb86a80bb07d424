"""Attacks by whoever has the password of Redis: what lies there is never taken for what our workers wrote."""

import pytest
from redis import Redis

from alina.cli.broker import Broker
from alina.errors import BrokerUnavailable
from alina.queues import EXECUTION, RECONCILIATION, answered_key, started_key


@pytest.mark.parametrize("forged", ["nonsense", "2026-01-01T00:00:00"], ids=["no time", "without its zone"])
def test_a_forged_sign_of_life_ends_neither_the_supervisor_nor_the_status(
    redis_url: str, forged: str
) -> None:
    """Both take an error of ours for a broker that is away; the supervisor's end would be everything's."""
    with Redis.from_url(redis_url) as client:
        client.set(started_key(EXECUTION), forged)
    with pytest.raises(BrokerUnavailable, match="no worker of ours wrote"):
        Broker(redis_url).queues()


@pytest.mark.parametrize("forged", ["nonsense", "[]", "{}", '{"at": 1, "answer": []}'])
def test_a_forged_answer_is_named_as_one(redis_url: str, forged: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.set(answered_key(RECONCILIATION), forged)
    with pytest.raises(BrokerUnavailable, match="no worker of ours wrote"):
        Broker(redis_url).answered(RECONCILIATION)
