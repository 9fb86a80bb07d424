"""Where secrets may be, and where they never are."""

from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
import redis
from running_system import RunningSystem
from sqlalchemy import NullPool, create_engine, inspect, text

from alina import bootstrap
from alina.db.roles import AGENT, EXECUTOR, MONITOR

EXCHANGE = ("venue_api_key", "venue_secret")
ROLES = (AGENT, EXECUTOR, MONITOR)
ALL = (*EXCHANGE, *ROLES, "flower_password", "postgres", "redis")


@pytest.fixture(scope="module")
def trading(one_system: RunningSystem) -> RunningSystem:
    """Running, with work done: whatever writes has written."""
    one_system.start()
    one_system.wait_for_more()
    return one_system


def _with_children(system: RunningSystem, name: str) -> set[int]:
    pid = system.pid(name)
    assert pid is not None
    process = psutil.Process(pid)
    return {one.pid for one in (process, *process.children(recursive=True))}


def test_the_exchange_keys_are_in_the_execution_workers_environment_only(trading: RunningSystem) -> None:
    before = _with_children(trading, "execution")
    holders = _holders(trading, *(trading.folder.secret(name) for name in EXCHANGE))

    assert holders
    assert holders <= before | _with_children(trading, "execution")


def test_each_process_has_the_database_password_of_its_own_role_only(trading: RunningSystem) -> None:
    role_of = {"inference": AGENT, "default": AGENT, "execution": EXECUTOR, "metrics": MONITOR}
    for name in (*role_of, "beat", "flower", "venue"):
        own = {role_of[name]} if name in role_of else set()
        assert _passwords(trading, trading.pid(name)) == own, name
        for pid in _with_children(trading, name):
            with suppress(psutil.NoSuchProcess):
                assert _passwords(trading, pid) <= own, name


def test_the_flower_password_is_in_flowers_environment_only(trading: RunningSystem) -> None:
    assert _holders(trading, trading.folder.secret("flower_password")) == {trading.pid("flower")}


def _holders(system: RunningSystem, *secrets: str) -> set[int]:
    """The processes with one of the secrets in their environment."""
    found: set[int] = set()
    for process in system.processes():
        with suppress(psutil.NoSuchProcess):
            if any(secret in value for secret in secrets for value in process.environ().values()):
                found.add(process.pid)
    return found


def _passwords(system: RunningSystem, pid: int | None) -> set[str]:
    """The roles whose passwords are in the environment of a process."""
    environment = " ".join(psutil.Process(pid).environ().values())
    return {one for one in (*ROLES, "postgres") if system.folder.secret(one) in environment}


def test_no_secret_is_on_a_command_line(trading: RunningSystem) -> None:
    lines = " ".join(_command_lines(trading))

    assert str(trading.config) in lines, "the command lines are readable"
    assert [name for name in ALL if trading.folder.secret(name) in lines] == []


def _command_lines(system: RunningSystem) -> Iterator[str]:
    for process in system.processes():
        with suppress(psutil.NoSuchProcess):
            yield " ".join(process.cmdline())


def test_no_secret_is_in_a_log(trading: RunningSystem) -> None:
    logs = [trading.up_log, *(path for path in trading.folder.path.rglob("*.log*") if path.is_file())]
    written = b"".join(path.read_bytes() for path in logs)

    assert b"trading.execute_proposal" in written
    assert [name for name in ALL if trading.folder.secret(name).encode() in written] == []


def test_every_process_gets_by_with_the_rights_of_its_role(trading: RunningSystem) -> None:
    refused = {
        path.name for path in trading.folder.path.rglob("*.log*") if b"permission denied" in path.read_bytes()
    }

    assert refused == set()


def test_no_secret_is_in_a_row(trading: RunningSystem) -> None:
    secrets = [f"%{trading.folder.secret(name)}%" for name in ALL]
    engine = create_engine(bootstrap.connections(trading.settings).database_url, poolclass=NullPool)
    with engine.connect() as connection:
        tables = inspect(connection).get_table_names()
        assert {"proposals", "decisions", "orders", "model_calls", "celery_taskmeta"} <= set(tables)
        for table in tables:
            query = text(f"SELECT count(*) FROM {table} AS one WHERE one::text LIKE ANY(:secrets)")  # noqa: S608
            assert connection.scalar(query, {"secrets": secrets}) == 0, table


def test_no_secret_is_in_redis(trading: RunningSystem) -> None:
    with redis.Redis.from_url(bootstrap.connections(trading.settings).redis_url) as client:
        values = b"".join(key + (client.dump(key) or b"") for key in client.scan_iter())

    assert b"alina:started:execution" in values
    assert [name for name in ALL if trading.folder.secret(name).encode() in values] == []


def test_only_their_owner_may_read_the_files_that_hold_secrets(trading: RunningSystem) -> None:
    secrets = [trading.folder.secret(name).encode() for name in ALL]
    told = []
    for path in trading.folder.path.rglob("*"):
        with suppress(FileNotFoundError):  # temporary ones come and go
            if path.is_file() and path.stat().st_mode & 0o077:
                told += [path for secret in secrets if secret in path.read_bytes()]

    assert trading.folder.path.stat().st_mode & 0o066 == 0
    assert told == []
