"""`/metrics` for Prometheus: the counts of the main path, read from the ledger at each scrape."""

import sys
from collections.abc import Callable, Iterable, Mapping
from threading import Event

import redis
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alina import bootstrap
from alina.config import load_settings
from alina.errors import AlinaError
from alina.llm.answers import cache_counts
from alina.orchestrator.halting import is_stopped
from alina.queues import QUEUES

_GAUGES = frozenset({"open_positions", "trading_state", "stop_file"})


class PathCollector(Collector):
    """Turns the ledger's counts and the queues' lengths into metrics.

    `counts` gives "name" or "name:label" -> number, as `Ledger.counts` does; `answers` how often the cache
    of answers had one, by result.
    """

    def __init__(
        self,
        counts: Callable[[], Mapping[str, int]],
        lengths: Callable[[], Mapping[str, int]],
        answers: Callable[[], Mapping[str, int]],
    ) -> None:
        self._counts = counts
        self._lengths = lengths
        self._answers = answers

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("alina_up", "1 while the part answers", labels=["part"])
        yield from self._part("database", self._path, up)
        yield from self._part("broker", self._queues, up)
        yield up

    def _part(self, name: str, read: Callable[[], list[Metric]], up: GaugeMetricFamily) -> list[Metric]:
        try:
            metrics = read()
        except (AlinaError, redis.RedisError):
            up.add_metric([name], 0)
            return []
        up.add_metric([name], 1)
        return metrics

    def _path(self) -> list[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for key, value in sorted(self._counts().items()):
            name, _, label = key.partition(":")
            family = families.get(name)
            if family is None:
                family = families[name] = _family(name)
            family.add_metric([label] if label else [""], value)
        return list(families.values())

    def _queues(self) -> list[Metric]:
        family = GaugeMetricFamily("celery_queue_length", "messages waiting", labels=["queue_name"])
        for queue, length in self._lengths().items():
            family.add_metric([queue], length)
        cache = CounterMetricFamily(
            "alina_answer_cache", "questions that the cache of answers was asked", labels=["result"]
        )
        for result, times in self._answers().items():
            cache.add_metric([result], times)
        return [family, cache]


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    if name in _GAUGES:
        return GaugeMetricFamily(f"alina_{name}", f"{name.replace('_', ' ')} now", labels=["kind"])
    return CounterMetricFamily(f"alina_{name}", f"{name.replace('_', ' ')} in the ledger", labels=["kind"])


def serve(port: int, address: str = "127.0.0.1") -> None:
    """Serve /metrics until the process ends; on loopback unless told otherwise."""
    settings = load_settings()
    bootstrap.refuse_exchange_keys(settings)
    urls = bootstrap.connections(settings)
    unit_of_work = bootstrap.make_unit_of_work(urls.database_url, bootstrap.candles_of(settings))
    broker = redis.Redis.from_url(urls.redis_url, socket_timeout=5, socket_connect_timeout=5)

    def counts() -> Mapping[str, int]:
        with unit_of_work() as uow:
            return {**uow.ledger.counts(), "stop_file": int(is_stopped(settings.stop_file))}

    registry = CollectorRegistry()

    def lengths() -> Mapping[str, int]:
        return {queue: broker.llen(queue) for queue in QUEUES}

    registry.register(PathCollector(counts, lengths, lambda: cache_counts(broker)))
    start_http_server(port, addr=address, registry=registry)
    Event().wait()


if __name__ == "__main__":
    serve(int(sys.argv[1]), *sys.argv[2:3])
