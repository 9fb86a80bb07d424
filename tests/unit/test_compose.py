"""docker-compose.yml: its form, and what must hold between its parts.

The schema names only the keys of the Compose specification that the file uses, so a misspelt key is refused.
It is written here because no kept package validates the specification without a compiled parser.
"""

from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SETTINGS = yaml.safe_load((ROOT / "config.yaml").read_text())
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("alina:")}
LASTING = set(SERVICES) - {"migrate"}
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3}


def table(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def mapping(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": value}


TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}
SECONDS = {"type": "string", "pattern": "^[0-9]+s$"}
SIZE = {"type": "string", "pattern": "^[0-9]+[kmg]$"}
CONDITION = {"enum": ["service_healthy", "service_completed_successfully"]}
MOUNT = table(
    {"type": {"enum": ["bind", "volume"]}, "source": TEXT, "target": TEXT, "read_only": {"type": "boolean"}},
    "type",
    "source",
    "target",
)
HEALTH = table(
    {
        "test": {**TEXTS, "prefixItems": [{"enum": ["CMD", "CMD-SHELL"]}]},
        "interval": SECONDS,
        "timeout": SECONDS,
        "retries": {"type": "integer", "minimum": 1},
        "start_period": SECONDS,
    },
    "test",
    "interval",
    "timeout",
    "retries",
)
SERVICE = table(
    {
        "image": TEXT,
        "build": table({"context": TEXT, "dockerfile": TEXT}, "context", "dockerfile"),
        "hostname": TEXT,
        "user": TEXT,
        "command": TEXTS,
        "environment": mapping(TEXT),
        "secrets": {**TEXTS, "uniqueItems": True},
        "volumes": {"type": "array", "items": MOUNT},
        "tmpfs": TEXTS,
        "shm_size": SIZE,
        "ports": TEXTS,
        "networks": {**TEXTS, "uniqueItems": True},
        "depends_on": mapping(table({"condition": CONDITION}, "condition")),
        "healthcheck": HEALTH,
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "stop_grace_period": SECONDS,
        "init": {"type": "boolean"},
        "read_only": {"type": "boolean"},
        "cap_add": TEXTS,
        "cap_drop": TEXTS,
        "security_opt": TEXTS,
        "logging": table({"driver": TEXT, "options": mapping(TEXT)}, "driver"),
        "cpu_shares": {"type": "integer", "minimum": 2},
        "mem_limit": SIZE,
    },
    "image",
    "command",
    "networks",
    "cpu_shares",
    "mem_limit",
)
SCHEMA = {
    **table(
        {
            "name": TEXT,
            "services": mapping(SERVICE),
            "networks": mapping(table({"internal": {"type": "boolean"}})),
            "volumes": mapping(table({})),
            "secrets": mapping(table({"file": TEXT}, "file")),
        },
        "services",
    ),
    "patternProperties": {"^x-": {}},
}


def bytes_of(size: str) -> int:
    return int(size[:-1]) * UNITS[size[-1]]


def test_the_file_has_the_form_of_a_compose_file() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(COMPOSE, SCHEMA, cls=jsonschema.Draft202012Validator)


def test_every_name_that_is_used_is_defined() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        volumes = [mount["source"] for mount in service.get("volumes", []) if mount["type"] == "volume"]
        assert set(volumes) <= set(COMPOSE["volumes"])


def test_all_processes_of_the_design_are_there() -> None:
    workers = {"inference", "execution", "default"}
    assert set(SERVICES) == workers | {"postgres", "redis", "migrate", "beat", "flower", "metrics"}


@pytest.mark.parametrize("queue", ["inference", "execution", "default"])
def test_each_queue_has_its_worker(queue: str) -> None:
    command = SERVICES[queue]["command"]
    concurrency = SETTINGS["execution"]["concurrency"] if queue == "inference" else 1
    assert command[:3] == ["celery", "--app=workers.app", "worker"]
    assert f"--queues={queue}" in command
    assert f"--concurrency={concurrency}" in command


def test_cpu_shares_add_up_to_the_setting() -> None:
    assert sum(s["cpu_shares"] for s in SERVICES.values()) == SETTINGS["execution"]["cpu_shares"] == 2048


def test_memory_limits_stay_below_the_setting() -> None:
    limit = int(Decimal(SETTINGS["execution"]["ram_limit"].removesuffix("GB")) * 10**9)
    assert sum(bytes_of(service["mem_limit"]) for service in SERVICES.values()) <= limit < 48 * 10**9


def test_every_lasting_service_is_checked_and_restarted() -> None:
    for name in LASTING:
        assert "healthcheck" in SERVICES[name], name
        assert SERVICES[name]["restart"] == "unless-stopped", name
    assert SERVICES["migrate"]["restart"] == "no"


def test_everything_talks_on_a_network_without_a_way_out() -> None:
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name, service in SERVICES.items():
        assert "inside" in service["networks"], name
    for name in ("postgres", "redis", "migrate", "beat"):
        assert SERVICES[name]["networks"] == ["inside"], name


def test_ports_are_published_on_loopback_only() -> None:
    published = {name: port for name, s in SERVICES.items() for port in s.get("ports", [])}
    assert set(published) == {"flower", "metrics"}
    assert all(port.startswith("127.0.0.1:") for port in published.values())


def test_only_execution_gets_the_exchange_keys() -> None:
    for name, service in SERVICES.items():
        keys = {"exchange_api_key", "exchange_secret"} & set(service.get("secrets", []))
        assert len(keys) == (2 if name == "execution" else 0), name


def test_each_container_has_the_database_password_of_its_own_role_only() -> None:
    passwords = {f"{role}_password" for role in ("postgres", "agent", "executor", "monitor")}
    role_of = {
        "postgres": "postgres",
        "inference": "agent",
        "default": "agent",
        "execution": "executor",
        "metrics": "monitor",
    }
    for name, service in SERVICES.items():
        own = {f"{role_of[name]}_password"} if name in role_of else set()
        expected = passwords if name == "migrate" else own
        assert passwords & set(service.get("secrets", [])) == expected, name


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            secret = any(word in variable for word in ("PASSWORD", "SECRET", "KEY", "TOKEN", "URL"))
            assert not secret or value.startswith("/run/secrets/"), (name, variable)
    assert all(secret["file"].startswith("./deploy/secrets/") for secret in COMPOSE["secrets"].values())
    assert "*" in (ROOT / "deploy/secrets/.gitignore").read_text().splitlines()


def test_images_are_pinned_to_a_version() -> None:
    for name, service in SERVICES.items():
        _, _, tag = service["image"].rpartition(":")
        assert tag != "latest", name
        assert "/" not in tag, name
    assert SERVICES["postgres"]["image"].endswith("pg18")


def test_containers_have_no_more_rights_than_they_need() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert all("user" in SERVICES[name] and "cap_add" not in SERVICES[name] for name in OURS)


def test_ours_start_after_the_schema_and_the_broker() -> None:
    for name in OURS - {"migrate"}:
        assert SERVICES[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "redis": {"condition": "service_healthy"},
        }, name
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_what_lasts_is_on_a_volume() -> None:
    for name in ("postgres", "redis"):
        assert [mount["type"] for mount in SERVICES[name]["volumes"]] == ["volume"], name
    settings = SERVICES["redis"]["command"][-1]
    assert "appendonly yes" in settings
    assert "maxmemory-policy noeviction" in settings


def test_a_stop_file_on_the_host_reaches_whoever_looks_for_it_and_outlives_a_restart() -> None:
    looks = {"execution": {}, "migrate": {}, "metrics": {"read_only": True}}  # migrate: where people halt
    for name, rights in looks.items():
        assert SERVICES[name]["environment"]["ALINA_SYSTEM__DATA_FOLDER"] == "/data"
        mount = {"type": "bind", "source": "./deploy/data", "target": "/data", **rights}
        assert mount in SERVICES[name]["volumes"], name
        assert not any(path.startswith("/data") for path in SERVICES[name]["tmpfs"]), name
    assert "*" in (ROOT / "deploy/data/.gitignore").read_text().splitlines()


def test_a_stopped_worker_gets_longer_than_its_soft_shutdown() -> None:
    soft = int(SETTINGS["execution"]["soft_shutdown"].removesuffix("s"))
    for queue in ("inference", "execution", "default"):
        assert int(SERVICES[queue]["stop_grace_period"].removesuffix("s")) > soft + 5
        assert SERVICES[queue]["environment"]["REMAP_SIGTERM"] == "SIGQUIT"


def test_the_image_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "deploy/Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]
    assert not any(line.startswith("FROM") and line.split()[1].endswith("latest") for line in lines)
