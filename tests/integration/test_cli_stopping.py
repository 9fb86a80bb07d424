"""`alina halt` and `alina resume` against a ledger, with and without servers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cli_command import InProcess
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from alina import bootstrap
from alina.config import Settings
from alina.db import migrations
from alina.domain.portfolio import Equity
from alina.embedded.folder import DataFolder
from alina.ledger import Ledger

NO_REDIS = {"ALINA_REDIS_URL": "redis://127.0.0.1:1/0"}
NO_DATABASE = {"ALINA_DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:1/nothing"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".alina/data").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("system: {account: main}\n")
    return tmp_path


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    return InProcess(folder, monkeypatch, capsys)


@pytest.fixture
def env(database_url: str) -> dict[str, str]:
    migrations.upgrade(database_url)
    bootstrap.prepare_ledger(Settings(), database_url=database_url)
    return NO_REDIS | {"ALINA_DATABASE_URL": database_url}


def test_an_account_is_halted_and_resumed(command: InProcess, env: dict[str, str]) -> None:
    halted = command("halt", "--reason", "a drill", "--json", env=env).json
    assert (halted["before"], halted["now"], halted["reason"]) == ("ACTIVE", "HALTED", "a drill")
    resumed = command("resume", "--json", env=env).json
    assert (resumed["before"], resumed["now"], resumed["reason"]) == ("HALTED", "ACTIVE", "")


def test_a_halted_system_is_not_resumed_by_an_account(command: InProcess, env: dict[str, str]) -> None:
    command("halt", "--system", "--reason", "a drill", env=env)
    still = command("resume", "--json", env=env).json
    assert (still["now"], still["reason"]) == ("HALTED", "the whole system: a drill")
    assert command("resume", "--system", "--json", env=env).json["now"] == "ACTIVE"


def test_resuming_the_system_resumes_no_account(command: InProcess, env: dict[str, str]) -> None:
    command("halt", env=env)
    assert command("resume", "--system", "--json", env=env).json["now"] == "HALTED"


def recorded(env: dict[str, str], total: str) -> None:
    engine = create_engine(env["ALINA_DATABASE_URL"], poolclass=NullPool)
    with Session(engine) as session, session.begin():
        now = datetime.now(UTC)
        equity = Equity(account="main", as_of=now, cash=Decimal(total), holdings=Decimal(0))
        Ledger(session).record_equity(equity)


def new_peaks(env: dict[str, str]) -> list[tuple[Any, ...]]:
    with create_engine(env["ALINA_DATABASE_URL"], poolclass=NullPool).connect() as connection:
        query = text("SELECT account, number, reason, begun_by FROM new_peaks ORDER BY number")
        return [tuple(row) for row in connection.execute(query)]


def test_after_a_withdrawal_a_person_resumes_with_a_new_peak(command: InProcess, env: dict[str, str]) -> None:
    recorded(env, "1000")
    command("halt", env=env)
    with capture_logs() as logs:
        resumed = command(
            "resume", "--new-peak", "--reason", "withdrew 500", "--by", "dana", "--json", env=env
        )
    assert (resumed.code, resumed.json["now"]) == (0, "ACTIVE")
    told = resumed.json["new_peak"]
    assert (told["number"], told["reason"], told["begun_by"]) == (1, "withdrew 500", "dana")
    (log,) = logs
    assert (log["event"], log["account"], log["reason"]) == ("new peak", "main", "withdrew 500")
    assert log["by"] == "dana"
    assert new_peaks(env) == [("main", 1, "withdrew 500", "dana")]


def test_a_new_peak_is_begun_once_however_often_it_is_asked_for_before_the_next_equity(
    command: InProcess, env: dict[str, str]
) -> None:
    said = [command("resume", "--new-peak", env=env) for _ in range(2)]
    assert all("new peak 1: " in one.out for one in said)
    recorded(env, "500")
    assert "new peak 2: " in command("resume", "--new-peak", env=env).out
    assert [(number, why) for _, number, why, _ in new_peaks(env)] == [(1, "by hand"), (2, "by hand")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--new-peak", "--system"), "say --new-peak without --system"),
        (("--reason", "withdrew"), "say --new-peak too"),
        (("--by", "dana"), "say --new-peak too"),
        (("--new-peak", "--reason", " "), "--reason must say something"),
        (("--new-peak", "--by", "d" * 201), "at most 200 characters"),
    ],
)
def test_a_new_peak_that_is_asked_for_wrongly_changes_nothing(
    command: InProcess, env: dict[str, str], options: tuple[str, ...], words: str
) -> None:
    command("halt", env=env)
    said = command("resume", *options, env=env)
    assert said.code == 2
    assert words in said.err
    assert new_peaks(env) == []
    assert command("halt", "--json", env=env).json["before"] == "HALTED"


def test_a_whole_system_is_not_flattened(command: InProcess, env: dict[str, str]) -> None:
    said = command("halt", "--system", "--flatten", env=env)
    assert said.code == 2
    assert "for each account first" in said.err


@pytest.mark.parametrize("wish", ["--cancel", "--flatten"])
@pytest.mark.parametrize(
    ("broker", "why"), [(NO_REDIS, "Redis does not answer"), ({}, "was never started: `alina up` starts it")]
)
def test_what_a_halt_asks_for_is_kept_where_no_worker_can_be_asked(
    wish: str, broker: dict[str, str], why: str, command: InProcess, env: dict[str, str]
) -> None:
    env.pop("ALINA_REDIS_URL")
    halted = command("halt", wish, "--json", env=env | broker)
    assert halted.code == 0, halted.err
    assert halted.json["now"] == {"--cancel": "HALTED", "--flatten": "REDUCING"}[wish]
    (line,) = halted.json["remaining"]
    assert why in line
    assert "done once they run again" in line


def test_a_stop_file_is_written_without_any_server_and_resume_removes_it(
    command: InProcess, folder: Path, env: dict[str, str]
) -> None:
    stop_file = folder / ".alina/data/STOP"
    assert command("halt", "--file", env=NO_REDIS | NO_DATABASE).code == 0
    assert stop_file.exists()
    said = command("resume", env=env)
    assert f"removed {stop_file}" in said.out
    assert not stop_file.exists()


def test_a_halt_without_a_database_falls_back_to_the_stop_file_and_says_so(
    command: InProcess, folder: Path
) -> None:
    said = command("halt", env=NO_REDIS | NO_DATABASE)
    assert said.code == 2
    assert "STOP only, which the executor of this folder looks at" in said.err
    assert "check ALINA_DATABASE_URL" in said.err
    assert (folder / ".alina/data/STOP").exists()


@contextmanager
def locked_account_until(seen: Path, database_url: str) -> Iterator[None]:
    """Hold the account's lock, as a review does whose exchange does not answer, until the file is there."""
    engine = create_engine(database_url, poolclass=NullPool)

    def hold() -> None:
        with engine.begin() as connection:
            connection.execute(text("SELECT FROM accounts FOR NO KEY UPDATE"))
            held.set()
            while not seen.exists() and not over.is_set():
                time.sleep(0.01)

    held, over = threading.Event(), threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(60)
        yield
    finally:
        over.set()
        holder.join()


@pytest.mark.parametrize("how", [(), ("--cancel",), ("--flatten",), ("--system",)])
def test_a_halt_stops_before_the_account_is_free_and_leaves_no_file_once_it_is_stored(
    command: InProcess,
    folder: Path,
    env: dict[str, str],
    how: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alina.cli.stopping._WIND_DOWN_WITHIN", 0.0)
    stop_file = folder / ".alina/data/STOP"
    with locked_account_until(stop_file, env["ALINA_DATABASE_URL"]):
        halted = command("halt", *how, "--json", env=env)
    assert halted.code == 0, halted.err
    assert halted.json["now"] == ("REDUCING" if "--flatten" in how else "HALTED")
    assert not stop_file.exists()


def test_a_stop_file_of_a_persons_own_outlasts_a_halt(
    command: InProcess, folder: Path, env: dict[str, str]
) -> None:
    command("halt", "--file", env=env)
    assert command("halt", "--json", env=env).json["stop_file"] is True
    assert (folder / ".alina/data/STOP").exists()


@pytest.mark.parametrize("before", ["--file", "--system"])
def test_a_flattening_that_something_stricter_keeps_from_selling_says_so(
    before: str,
    command: InProcess,
    env: dict[str, str],
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("alina.cli.stopping._WIND_DOWN_WITHIN", 0.0)
    command("halt", before, "--reason", "a drill", env=env)
    halted = command("halt", "--flatten", "--json", env=env | {"ALINA_REDIS_URL": redis_url}).json
    line = halted["remaining"][-1]
    assert line.startswith("nothing is sold while this holds: the ")
    assert {"--file": "STOP", "--system": "a drill"}[before] in line


@pytest.mark.parametrize("more", ["--flatten", "--cancel", "--system"])
def test_a_stop_file_is_not_asked_for_more_than_it_can_do(
    more: str, command: InProcess, folder: Path, env: dict[str, str]
) -> None:
    said = command("halt", "--file", more, env=env)
    assert said.code == 2
    assert "leave out --file" in said.err
    assert not (folder / ".alina/data/STOP").exists()


def test_a_halt_that_is_refused_leaves_no_stop_file(
    command: InProcess, folder: Path, env: dict[str, str]
) -> None:
    (folder / "config.yaml").write_text("system: {account: nobody}\n")
    said = command("halt", env=env)
    assert said.code == 2
    assert "nobody" in said.err
    assert not (folder / ".alina/data/STOP").exists()


def test_a_halt_needs_no_folder_that_it_may_write(
    command: InProcess, folder: Path, env: dict[str, str]
) -> None:
    (folder / ".alina/data").rmdir()
    (folder / ".alina/data").symlink_to("/proc/self/net")  # a folder that not even root writes
    assert command("halt", "--json", env=env).json["now"] == "HALTED"


def test_a_halt_while_the_running_systems_own_postgres_is_away_is_by_the_file(
    command: InProcess, folder: Path
) -> None:
    data = DataFolder(folder / ".alina/data")
    (data.path / "postgres").mkdir()
    with data.lock():
        said = command("halt", env=NO_REDIS)
    assert said.code == 2
    assert "STOP only" in said.err
    assert "is being started" in said.err
    assert (data.path / "STOP").exists()


def test_a_stop_file_where_nothing_trades_is_refused(
    command: InProcess, folder: Path, tmp_path: Path
) -> None:
    (folder / ".alina/data").rmdir()
    said = command("halt", "--file")
    assert said.code == 2
    assert "nothing trades from it" in said.err


def test_doctor_warns_of_the_stop_file(folder: Path) -> None:
    from alina.cli.diagnosis import Level, _trading

    settings = Settings(system={"data_folder": folder / ".alina/data"})  # type: ignore[arg-type]
    assert _trading(settings)[0] is Level.OK
    settings.stop_file.touch()
    assert _trading(settings)[0] is Level.WARN
