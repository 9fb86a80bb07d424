"""What is seen from outside: Flower, the metrics, and who may look."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from running_system import WORKERS, RunningSystem, eventually

from alina.embedded.services import answers_http
from alina.queues import QUEUES


@pytest.fixture
def flower(system: RunningSystem) -> str:
    """Its address, once it listens."""
    url = system.status().flower
    assert url is not None
    eventually(lambda: answers_http(url), "Flower listens")
    return url


def _password(system: RunningSystem) -> str:
    credentials = f"{system.settings.monitoring.flower_user}:{system.folder.secret('flower_password')}"
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def _get(url: str, headers: Mapping[str, str] | None = None) -> str:
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=200) as answer:  # noqa: S310
        return str(answer.read().decode())


@pytest.mark.parametrize("page", ["/", "/api/workers", "/api/tasks", "/tasks"])
def test_flower_shows_nothing_without_its_password(flower: str, page: str) -> None:
    for headers in ({}, {"Authorization": "Basic " + base64.b64encode(b"alina:guessed").decode()}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            _get(flower + page, headers)
        assert refused.value.code == 401
        refused.value.close()


def test_flower_shows_the_tasks_of_every_worker_with_it(system: RunningSystem, flower: str) -> None:
    headers = {"Authorization": _password(system)}

    def workers_with_tasks() -> bool:
        tasks = json.loads(_get(f"{flower}/api/tasks?limit=500", headers)).values()
        return {str(task.get("worker")).partition("@")[0] for task in tasks} >= set(WORKERS)

    eventually(workers_with_tasks, "Flower knows a task of each worker")


def test_the_metrics_are_the_ledgers_counts(system: RunningSystem) -> None:
    url = system.status().metrics
    assert url is not None
    eventually(lambda: answers_http(url), "the metrics are served")
    before = system.counts()
    metrics = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(_get(url))
        for sample in family.samples
    }
    after = system.counts()

    assert metrics["alina_up", "database"] == 1
    assert metrics["alina_up", "broker"] == 1
    assert {key[1] for key in metrics if key[0] == "celery_queue_length"} == set(QUEUES)
    for name in ("runs:held", "decisions:approved", "denials:MAX_TRADE_AMOUNT", "orders:filled", "proposals"):
        metric, _, label = name.partition(":")
        assert before[name] <= metrics[f"alina_{metric}_total", label] <= after[name]


def test_status_shows_the_last_health_check_and_the_last_reconciliation(system: RunningSystem) -> None:
    def both() -> bool:
        status = system.status()
        is_well = status.health is not None and status.health.answer["database"].startswith("ok")
        return is_well and status.reconciliation is not None

    eventually(both, "a health check finds the database well, and a reconciliation has ended")
    shown = system.answer("status")
    assert set(shown["health"]["answer"]) >= {"database", "exchange"}
    assert isinstance(shown["reconciliation"]["answer"], list)
    for_people = system.command("status").stdout
    assert "\nhealth      2" in for_people
    assert "\nreconciled  2" in for_people


def test_nothing_listens_beyond_this_machine(system: RunningSystem) -> None:
    eventually(lambda: len(_listening(system)) >= 4, "Redis, venue, Flower and metrics listen")

    assert set(_listening(system)) == {"127.0.0.1"}


def _listening(system: RunningSystem) -> list[str]:
    """The addresses that processes of the system listen at."""
    found = []
    for process in system.processes():
        with suppress(psutil.NoSuchProcess):  # those of Postgres come and go with their connections
            connections = process.net_connections("inet")
            found += [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
    return found
