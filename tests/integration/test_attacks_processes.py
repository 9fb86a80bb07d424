"""Who may have the exchange's keys: the worker of the execution queue alone. Others refuse to start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from alina.cli.diagnosis import Level, _database
from alina.config import Settings

KEYS = {"ALINA_EXCHANGE_API_KEY": "key-of-a-test", "ALINA_EXCHANGE_SECRET": "secret-of-a-test"}
SERVERS = {
    "ALINA_DATABASE_URL": "postgresql://alina@127.0.0.1:1/alina",
    "ALINA_REDIS_URL": "redis://127.0.0.1:1/0",
}
CELERY = ("celery", "--app", "workers.app")
FORGED = """
from uuid import uuid4
from workers.trading import execute_proposal, reconcile
try:
    execute_proposal(str(uuid4()))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""

EXECUTOR = """
from workers.app import executor, runtime
parts = executor()
print(parts.agents, parts.tools)
try:
    runtime()
except Exception as error:
    print(type(error).__name__)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"system": {"data_folder": str(tmp_path / "data")}}))
    return path


def test_doctor_warns_where_agents_log_in_as_the_owner(database_url: str) -> None:
    owner = SecretStr(database_url)
    level, finding, remedy = _database(Settings(database_url=owner))
    assert level is Level.WARN
    assert "may write orders" in finding
    assert "ALINA_AGENT_DATABASE_URL" in remedy
    apart = Settings(database_url=owner, agent_database_url=owner, executor_database_url=owner)
    assert _database(apart)[0] is Level.OK


def test_role_urls_without_the_owners_are_refused() -> None:
    with pytest.raises(ValidationError, match="go with ALINA_DATABASE_URL"):
        Settings(agent_database_url=SecretStr("postgresql://alina_agent@localhost/alina"))


def python(config: Path, *arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """A process of ours with nothing but these variables."""
    environment = {"PATH": os.environ["PATH"], "ALINA_CONFIG": str(config), **SERVERS, **env}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        (*CELERY, "worker", "-Q", "inference"),
        (*CELERY, "worker", "--queues=execution,default"),
        (*CELERY, "worker"),
        (*CELERY, "beat"),
        (*CELERY, "flower", "--address=127.0.0.1", "--port=0"),
        ("alina.api.metrics", "0"),
        ("alina.venue", "spec.json"),
    ],
    ids=" ".join,
)
def test_a_process_that_must_not_have_the_keys_refuses_to_start_with_them(
    config: Path, command: tuple[str, ...]
) -> None:
    done = python(config, "-m", *command, **KEYS)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "ALINA_EXCHANGE_API_KEY and ALINA_EXCHANGE_SECRET must be in the environment of the exec" in said
    assert not any(key in said for key in KEYS.values())


def test_one_key_is_one_too_many(config: Path) -> None:
    done = python(config, "-m", *CELERY, "beat", ALINA_EXCHANGE_SECRET=KEYS["ALINA_EXCHANGE_SECRET"])
    assert done.returncode != 0
    assert "ALINA_EXCHANGE_SECRET must be" in done.stdout + done.stderr


def test_a_task_of_the_executor_does_nothing_in_another_process_and_reads_no_key_file(config: Path) -> None:
    exchange = {"mode": "live", "api_key_file": "unreadable", "secret_file": "unreadable"}
    config.write_text(yaml.safe_dump({"market": {"exchange": exchange}}))
    done = python(config, "-c", FORGED)
    assert done.stdout.startswith("ConfigError: only the worker of the queue `execution`")


def test_the_executor_loads_neither_agents_nor_tools_beside_the_keys(config: Path) -> None:
    foreign = {"trading": {"agents": ["foreign"]}, "tools": {"foreign": {}}}
    config.write_text(yaml.safe_dump({"market": {"exchange": {"mode": "live"}}, **foreign}))
    done = python(config, "-c", EXECUTOR, "-Q", "execution", **KEYS)
    assert done.stdout.splitlines() == ["{} ()", "ConfigError"], done.stderr


def test_a_health_check_may_ask_from_within_the_executors_container(config: Path) -> None:
    done = python(config, "-m", *CELERY, "inspect", "ping", "--timeout=1", **KEYS)
    assert "must be in the environment" not in done.stdout + done.stderr
