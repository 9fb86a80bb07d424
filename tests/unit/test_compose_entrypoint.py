"""How the secret files of a container become the environment of its process."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

ENTRYPOINT = Path(__file__).parents[2] / "deploy" / "entrypoint.py"


@pytest.fixture
def environment() -> Callable[[Path], dict[str, str]]:
    spec = importlib.util.spec_from_file_location("entrypoint", ENTRYPOINT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    read: Callable[[Path], dict[str, str]] = module.environment
    return read


def test_a_container_without_secrets_gets_none(
    tmp_path: Path, environment: Callable[[Path], dict[str, str]]
) -> None:
    assert environment(tmp_path) == {}


def test_any_password_fits_into_the_urls(
    tmp_path: Path, environment: Callable[[Path], dict[str, str]]
) -> None:
    (tmp_path / "postgres_password").write_text("p@ss/w:rd%\n")
    (tmp_path / "redis_password").write_text("p@ss/w:rd%\n")
    found = environment(tmp_path)
    for variable in ("ALINA_DATABASE_URL", "ALINA_REDIS_URL"):
        assert make_url(found[variable]).password == "p@ss/w:rd%"


@pytest.mark.parametrize("role", ["agent", "executor", "monitor"])
def test_a_container_with_one_roles_password_reaches_the_database_as_that_role(
    tmp_path: Path, environment: Callable[[Path], dict[str, str]], role: str
) -> None:
    (tmp_path / f"{role}_password").write_text("p@ss\n")
    found = environment(tmp_path)
    assert set(found) == {"ALINA_DATABASE_URL"}
    assert make_url(found["ALINA_DATABASE_URL"]).username == f"alina_{role}"


def test_the_owners_container_knows_every_role_to_set_them_up(
    tmp_path: Path, environment: Callable[[Path], dict[str, str]]
) -> None:
    for role in ("postgres", "agent", "executor", "monitor"):
        (tmp_path / f"{role}_password").write_text(f"of {role}\n")
    users = {name: make_url(url).username for name, url in environment(tmp_path).items()}
    assert users == {
        "ALINA_DATABASE_URL": "alina",
        "ALINA_AGENT_DATABASE_URL": "alina_agent",
        "ALINA_EXECUTOR_DATABASE_URL": "alina_executor",
        "ALINA_MONITOR_DATABASE_URL": "alina_monitor",
    }


def test_the_exchange_keys_are_there_only_where_they_are_mounted(
    tmp_path: Path, environment: Callable[[Path], dict[str, str]]
) -> None:
    (tmp_path / "exchange_api_key").write_text("key\n")
    (tmp_path / "exchange_secret").write_text("secret\n")
    assert environment(tmp_path) == {"ALINA_EXCHANGE_API_KEY": "key", "ALINA_EXCHANGE_SECRET": "secret"}
