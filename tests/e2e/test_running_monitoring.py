"""What is seen from outside: Flower, the metrics, and who may look."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from running_system import WORKERS, RunningSystem, eventually

from alina.queues import QUEUES


@pytest.fixture
def flower(system: RunningSystem) -> str:
    url = system.status().flower
    assert url is not None
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
        return status.health is not None and status.reconciliation is not None

    eventually(both, "a health check and a reconciliation have ended")
    shown = system.answer("status")
    assert shown["health"]["answer"]["database"].startswith("ok")
    assert isinstance(shown["reconciliation"]["answer"], list)
    for_people = system.command("status").stdout
    assert "\nhealth      2" in for_people
    assert "\nreconciled  2" in for_people


def test_nothing_listens_beyond_this_machine(system: RunningSystem) -> None:
    listening = [
        connection.laddr.ip
        for process in system.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert len(listening) >= 4, "Redis, venue, Flower and metrics listen"
    assert set(listening) == {"127.0.0.1"}
