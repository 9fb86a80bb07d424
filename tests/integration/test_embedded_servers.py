"""Postgres and Redis from their wheels: started, taken over after a kill -9, stopped."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres
from alina.embedded.redis import EmbeddedRedis
from alina.embedded.server import Server
from alina.errors import SystemStateError

START_AND_WAIT = """
import sys
from alina.embedded.folder import DataFolder
from alina.embedded.{name} import {kind}
server = {kind}(DataFolder(sys.argv[1]))
print(server.start(), server.pid, flush=True)
sys.stdin.read()
"""
SERVERS = [EmbeddedPostgres, EmbeddedRedis]


@pytest.fixture(scope="module")
def folder() -> Iterator[DataFolder]:
    """One for all tests here, each of which leaves its servers stopped: a cluster takes its time to make."""
    path = Path(tempfile.mkdtemp(prefix="alina-tests-"))
    yield DataFolder(path / "a folder, with a comma" / ("deep" * 30))  # too long for a socket's name
    shutil.rmtree(path)


@pytest.fixture
def run(folder: DataFolder) -> Iterator[Callable[[type[Server]], Server]]:
    servers: list[Server] = []

    def make(kind: type[Server]) -> Server:
        servers.append(quick(kind, folder))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def quick(kind: type[Server], folder: DataFolder) -> Server:
    return EmbeddedPostgres(folder, settings={"fsync": "off"}) if kind is EmbeddedPostgres else kind(folder)


def start_elsewhere(kind: type[Server], folder: DataFolder) -> tuple[subprocess.Popen[str], str, int]:
    code = START_AND_WAIT.format(name=kind.name, kind=kind.__name__)
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    url, pid = parent.stdout.readline().split(" ")
    return parent, url, int(pid)


def wait_until(holds: Callable[[], bool], *, within: float = 200.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_over(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def query(url: str, statement: str) -> object:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        return connection.scalar(text(statement))


def test_a_start_that_is_cut_short_before_the_server_has_named_itself_leaves_none(
    folder: DataFolder, run: Callable[[type[Server]], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the fork and the first word of the server."""
    stopping, began, sleep = tmp_path / "stopping", tmp_path / "pid", time.sleep
    slow = f'echo $$ > {began}; until [ -e {stopping} ]; do sleep 0.05; done; echo $$ >&0 && exec "$@"'
    monkeypatch.setattr("alina.embedded.server._NAME_YOURSELF", ("/bin/sh", "-c", slow, "sh"))
    server = run(EmbeddedRedis)

    def interrupt(seconds: float) -> None:
        if began.exists() and began.read_text():
            monkeypatch.setattr(time, "sleep", go_on)
            raise KeyboardInterrupt
        sleep(seconds)

    def go_on(seconds: float) -> None:
        stopping.touch()
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    server.stop()
    assert is_over(int(began.read_text()))


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_whose_parent_was_killed_is_taken_over(
    kind: type[Server], folder: DataFolder, run: Callable[[type[Server]], Server]
) -> None:
    parent, url, pid = start_elsewhere(kind, folder)
    parent.kill()
    parent.communicate()
    server = run(kind)
    assert server.start() == url
    assert server.pid == pid
    server.stop()
    assert server.pid is None
    assert is_over(pid)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_second_start_on_one_folder_finds_the_first_server(
    kind: type[Server], folder: DataFolder, run: Callable[[type[Server]], Server]
) -> None:
    parent, url, pid = start_elsewhere(kind, folder)
    second = run(kind)
    assert second.start() == url
    assert second.pid == pid
    parent.communicate("")
    assert second.pid == pid


@pytest.mark.parametrize("kind", SERVERS)
def test_a_killed_server_is_started_again_with_its_data(
    kind: type[Server], run: Callable[[type[Server]], Server]
) -> None:
    server = run(kind)
    url = server.start()
    keep(url)
    assert server.pid
    first = server.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: server.pid is None)
    assert server.start() == url
    assert server.pid != first
    assert is_kept(url)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_stopped_server_keeps_its_data_and_its_url(
    kind: type[Server], run: Callable[[type[Server]], Server]
) -> None:
    server = run(kind)
    url = server.start()
    keep(url)
    server.stop()
    assert server.start() == url
    assert is_kept(url)


def test_postgres_lets_nobody_in_without_the_password(postgres_server: str) -> None:
    url = make_url(postgres_server)
    for wrong in (url.set(password="guess"), url.set(username="postgres")):
        with pytest.raises(OperationalError, match="authentication failed"):
            query(wrong.render_as_string(hide_password=False), "SELECT 1")
    rules = query(
        url.render_as_string(hide_password=False),
        "SELECT string_agg(auth_method, ' ') FROM pg_hba_file_rules",
    )
    assert set(str(rules).split()) == {"scram-sha-256"}


def test_postgres_listens_on_a_unix_socket_only_and_writes_durably(folder: DataFolder) -> None:
    server = EmbeddedPostgres(folder)
    url = server.start()
    try:
        assert query(url, "SELECT current_setting('listen_addresses')") == ""
        assert query(url, "SELECT current_setting('fsync')") == "on"
        assert query(url, "SELECT current_setting('synchronous_commit')") == "on"
    finally:
        server.stop()


def test_postgres_carries_pgvector(database_url: str) -> None:
    query(database_url, "CREATE EXTENSION vector; SELECT 1")
    assert query(database_url, "SELECT '[1,2]'::vector <-> '[1,3]'::vector") == 1.0


def test_a_cluster_that_a_crash_left_half_made_is_made_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres.new"
    (unfinished / "data").mkdir(parents=True)
    (unfinished / "data" / "PG_VERSION").write_text("18")
    server = quick(EmbeddedPostgres, DataFolder(tmp_path))
    try:
        assert query(server.start(), "SELECT current_database()") == "alina"
        assert not unfinished.exists()
    finally:
        server.stop()


def test_postgres_started_after_its_pid_was_given_to_another_process(
    folder: DataFolder, run: Callable[[type[Server]], Server]
) -> None:
    server = run(EmbeddedPostgres)
    server.start()
    server.stop()
    stale = folder.path / "postgres" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{folder.path}/postgres\n1\n5432\n/nowhere\n\n 1 1\nready\n")
    shutil.chown(stale, (folder.path / "postgres").stat().st_uid)
    assert query(server.start(), "SELECT 1") == 1


def test_a_lost_password_file_is_named(folder: DataFolder, run: Callable[[type[Server]], Server]) -> None:
    server = run(EmbeddedPostgres)
    server.start()
    file = folder.path / "secrets" / "postgres"
    kept = file.rename(file.with_suffix(".kept"))
    with pytest.raises(SystemStateError, match="secrets/postgres"):
        server.start()
    kept.rename(file)


def test_redis_lets_nobody_in_without_the_password(redis_server: str) -> None:
    port = make_url(redis_server).port
    assert port
    with Redis(port=port, retry=Retry(NoBackoff(), 0)) as client, pytest.raises(AuthenticationError):
        client.ping()


def test_redis_appends_to_its_file_and_never_evicts(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        for name, value in (("appendonly", "yes"), ("maxmemory-policy", "noeviction"), ("bind", "127.0.0.1")):
            assert client.config_get(name)[name] == value


def test_no_password_stands_on_a_command_line(
    run: Callable[[type[Server]], Server], folder: DataFolder
) -> None:
    for kind in SERVERS:
        server = run(kind)
        server.start()
        assert folder.secret(server.name) not in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another user")
def test_started_as_root_the_folders_above_the_data_are_opened_to_nobody_else(
    folder: DataFolder, run: Callable[[type[Server]], Server]
) -> None:
    server = run(EmbeddedPostgres)
    server.start()
    assert psutil.Process(server.pid).uids().effective != 0
    for path in (folder.path, folder.path / "secrets", folder.path / "postgres", folder.path.parents[1]):
        assert path.stat().st_mode & 0o007 == 0


def keep(url: str) -> None:
    if url.startswith("redis"):
        with Redis.from_url(url) as client:
            client.flushall()
            client.set("kept", "yes")
    else:
        query(url, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT true AS kept; SELECT 1")


def is_kept(url: str) -> bool:
    if url.startswith("redis"):
        with Redis.from_url(url) as client:
            return client.get("kept") == b"yes"
    return bool(query(url, "SELECT kept FROM kept"))
