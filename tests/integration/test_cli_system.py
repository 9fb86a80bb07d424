"""A whole system started, asked, stopped and killed through the command, as a person would."""

import json
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_command import InProcess, Said, alina, start
from sqlalchemy import NullPool, create_engine, text

from alina.embedded.folder import DataFolder
from alina.embedded.postgres import EmbeddedPostgres

CONFIG = """\
execution: {concurrency: 1, soft_shutdown: 1s}
market: {poll_interval: 1h}  # nothing runs but what is asked for
models: {default: "scripted:answers.jsonl"}
trading: {gate_always_ask: true}
"""
BUY = {
    "rationale": "the trend is up",
    "action": "buy",
    "size_percent": 50,
    "confidence": 80,
    "stop_percent": 2,
}
WITHIN = 200.0  # wall seconds for a start or an end


class Home:
    """A folder with a config, and `alina up` in it."""

    def __init__(self, path: Path, command: InProcess) -> None:
        self.path = path
        self.alina = command
        self.data = path / ".alina/data"
        self.process: subprocess.Popen[bytes] | None = None
        (path / "config.yaml").write_text(CONFIG)
        (path / "answers.jsonl").write_text(json.dumps(BUY) + "\n")

    def up(self) -> None:
        self.process = start(self.path, ["up"], self.path / "up.log")
        deadline = time.monotonic() + WITHIN
        while not self.alina("status", "--json").json["ready"]:
            assert self.process.poll() is None, (self.path / "up.log").read_text()
            assert time.monotonic() < deadline, (self.path / "up.log").read_text()
            time.sleep(0.2)

    def proposed_run(self) -> Said:
        """A run that ends in a proposal: not before the balances were read, which starts with the system."""
        deadline = time.monotonic() + WITHIN
        while True:
            ran = self.alina("run", "trading", "BTC/USDT", "--json")
            if ran.code == 0 and ran.json["run"]["state"] == "proposed":
                return ran
            assert time.monotonic() < deadline, ran

    def end(self) -> None:
        """Whatever the test did: stop it, and be sure that nothing is left."""
        self.alina("down")
        if self.process is not None:
            self.process.wait(WITHIN)

    def assert_nothing_is_left(self) -> None:
        """No process of this folder lives any more; what lost its parent may take a moment to end."""
        deadline = time.monotonic() + WITHIN
        while left := self._living():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def _living(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if any(str(self.path) in word for word in process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Home]:
    # not pytest's own folder: the user that Postgres runs as needs its rights on the way to it
    folder = Path(tempfile.mkdtemp(prefix="alina-cli-"))
    one = Home(folder, InProcess(folder, monkeypatch, capsys))
    yield one
    one.end()
    shutil.rmtree(folder)


def test_a_system_is_started_asked_stopped_and_read_again(home: Home) -> None:
    home.up()
    up_log = (home.path / "up.log").read_text()
    assert "Flower   http://127.0.0.1:" in up_log
    assert "metrics  http://127.0.0.1:" in up_log
    password = (home.data / "secrets/flower_password").read_text()
    assert password not in up_log

    second = alina(home.path, "up")
    assert (second.code, second.out) == (2, "")
    assert "already running" in second.err

    status = home.alina("status", "--json")
    assert status.code == 0
    names = {process["name"] for process in status.json["processes"]}
    workers = {"execution", "inference", "default", "beat", "flower", "metrics"}
    assert names == {"supervisor", "postgres", "redis", "venue"} | workers
    assert status.json["account"]["trading_state"] == "ACTIVE"
    assert set(status.json["waiting"]) == {"inference", "execution", "default"}

    assert [one.code for one in (home.alina("status"), home.alina("doctor"))] == [0, 0]

    assert home.alina("halt", "--reason", "a test").code == 0
    assert home.alina("status", "--json").json["account"]["reason"] == "a test"
    denied = home.proposed_run()
    assert denied.json["decision"]["reason"] == "TRADING_HALTED"
    assert denied.json["order"] is None
    assert home.alina("resume", "--json").json["now"] == "ACTIVE"
    ran = home.proposed_run()
    assert ran.json["decision"]["verdict"] == "approved"
    assert ran.json["order"]["state"] == "filled"
    run_id, decision_id = ran.json["run"]["id"], ran.json["decision"]["id"]

    trails = home.alina("decisions", "--json").json
    decisions = [trail for trail in trails if trail["proposal"]["run_id"] is not None]  # none of a stop
    assert [trail["decision"]["verdict"] for trail in decisions] == ["approved", "denied"]
    assert decisions[1]["decision"]["reason_code"] == 101
    assert len(home.alina("decisions", "--limit", "1", "--symbol", "BTC/USDT", "--json").json) == 1
    trades = home.alina("trades", "--json").json
    assert [trade["closed_at"] for trade in trades] == [None]

    assert home.alina("resume", "--new-peak", "--reason", "withdrew 500", "--by", "dana").code == 0
    peak = home.alina("status", "--json").json["new_peak"]
    assert (peak["number"], peak["reason"], peak["begun_by"]) == (1, "withdrew 500", "dana")
    assert re.search("^new peak    1, .* UTC by dana: withdrew 500$", home.alina("status").out, re.MULTILINE)

    down = home.alina("down", "--json")
    assert (down.code, down.json) == (0, {"stopped": True})
    assert home.process is not None
    assert home.process.wait(WITHIN) == 0
    home.assert_nothing_is_left()
    assert home.alina("status").code == 3

    # what was recorded is read without the system, and replayed
    assert home.alina("trades", "--json").json == trades
    assert home.alina("decisions").code == 0
    prompts = home.alina("prompts", "list", "--json").json
    revision = prompts["revisions"][0]["revision"]["id"]
    assert home.alina("prompts", "restore", revision[:8]).code == 0
    assert home.alina("prompts", "restore", "ffffffff").code == 2
    for name in (decision_id, decision_id[:6], run_id):
        replayed = home.alina("replay", name, "--json")
        assert (replayed.code, replayed.json["equal"]) == (0, True), replayed.err
    assert home.alina("replay", "abc").code == 2
    home.assert_nothing_is_left()

    change_what_was_answered(home)
    different = home.alina("replay", decision_id)
    assert different.code == 1
    assert "DIFFERENT" in different.out
    assert "-tampered" in different.out

    (home.path / "answers.jsonl").write_text(json.dumps(BUY | {"action": "hold"}) + "\n")
    other_model = home.alina("replay", decision_id)
    assert other_model.code == 1
    assert "not as it was then: sha256" in other_model.out


def change_what_was_answered(home: Home) -> None:
    server = EmbeddedPostgres(DataFolder(home.data))
    engine = create_engine(server.start(), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE model_calls SET text = 'tampered'"))
    server.stop()


def test_a_killed_system_is_reported_and_cleaned_up(home: Home) -> None:
    home.up()
    assert home.process is not None
    home.process.send_signal(signal.SIGKILL)
    home.process.wait(WITHIN)
    assert home.alina("status").code == 1  # the servers outlive it
    assert home.alina("down", "--json").json == {"stopped": True}
    home.assert_nothing_is_left()
    assert home.alina("down", "--json").json == {"stopped": False}


def test_a_start_that_is_interrupted_leaves_no_server(home: Home) -> None:
    home.process = start(home.path, ["up"], home.path / "up.log")
    deadline = time.monotonic() + WITHIN
    while not (home.data / "run/postgres.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    home.process.send_signal(signal.SIGTERM)
    assert home.process.wait(WITHIN) in (0, 130)
    home.assert_nothing_is_left()


def test_a_venue_alone_says_where_it_is(home: Home) -> None:
    venue = start(home.path, ["venue", "--folder", "venue", "--json"], home.path / "venue.log")
    try:
        deadline = time.monotonic() + WITHIN
        while not (home.path / "venue/venue.url").exists():
            assert venue.poll() is None, (home.path / "venue.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        said = json.JSONDecoder().raw_decode((home.path / "venue.log").read_text())[0]
        assert said["url"] == (home.path / "venue/venue.url").read_text()
        assert Path(said["secret_file"]).stat().st_mode & 0o777 == 0o600
    finally:
        venue.send_signal(signal.SIGINT)
        assert venue.wait(WITHIN) == 0
