"""`alina optimize` over the sample: what it finds, what it tests, and what it refuses."""

from pathlib import Path

import pytest
from cli_command import InProcess, alina

SPAN = ("--from", "2018-10-01", "--to", "2018-11-01")  # of the sample


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    command = InProcess(tmp_path, monkeypatch, capsys)
    assert command("init").code == 0
    return command


def test_a_search_tells_what_it_found_and_what_that_did_unseen(command: InProcess, tmp_path: Path) -> None:
    few = ("--trials", "3", "--folds", "2", "--out", "report")
    done = alina(tmp_path, "optimize", "--parameter", "trading.rule.ema_fast=5:15:5", *SPAN, *few, "--json")
    told = done.json
    assert done.code == (0 if told["holds"] else 1), done.err
    assert [fold["to"] for fold in told["folds"]][-1].startswith("2018-11-01")
    assert told["folds"][0]["to"] == told["folds"][1]["from"]
    assert all(fold["parameters"]["trading.rule.ema_fast"] in {"5", "10", "15"} for fold in told["folds"])
    assert 1 <= told["trials"] <= 3
    assert told["report"] == "report/search.html"
    assert "Search of rule" in (tmp_path / "report" / "search.html").read_text()


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("trading.rule.ema_fast", "NAME=LOW:HIGH:STEP"),
        ("trading.rule.ema_fats=5,6", "ema_fats"),
        ("trading.rule.ema_fast=30,40", "ema_fast must be below ema_slow"),
        ("market.venue.taker_fee=0,0.001", "only settings of trading and risk"),
    ],
)
def test_a_search_that_cannot_be_made_names_the_remedy(command: InProcess, parameter: str, said: str) -> None:
    done = command("optimize", "--parameter", parameter, *SPAN, "--trials", "2", "--folds", "1")
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_search_whose_report_cannot_be_written_is_not_begun(
    command: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alina.backtest.search.search", lambda *_, **__: pytest.fail("it was begun"))
    done = command("optimize", "--parameter", "trading.stop_loss=0.01,0.02", *SPAN, "--out", "config.yaml")
    assert done.code == 2
    assert "config.yaml: File exists: name another path" in done.err


def test_an_agent_that_asks_a_model_is_not_searched(command: InProcess) -> None:
    done = command("optimize", "--agent", "trading", "--parameter", "trading.stop_loss=0.01,0.02")
    assert done.code == 2
    assert "trading asks a model at every trial" in done.err
