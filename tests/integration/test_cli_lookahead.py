"""`alina backtest --check-lookahead` with plug-ins that look ahead: named, and exit code 1."""

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from cli_command import InProcess, Said
from peeking import Foresight

#: of the sample
RULE = ("--agent", "smoothed", "--from", "2018-10-01", "--to", "2018-10-20")
MODEL = ("--model", "scripted", "--from", "2018-10-01", "--to", "2018-10-02T12:00:00")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    """With the plug-ins installed; the trading agent asks the tool beside the built-in one."""
    offered = {
        "alina.tools": EntryPoint("oracle", "peeking:Oracle", "alina.tools"),
        "alina.agents": EntryPoint("smoothed", "peeking:Smoothed", "alina.agents"),
    }
    for module in ("alina.tools.registry", "alina.agents.base"):
        monkeypatch.setattr(f"{module}.entry_points", lambda group: [offered[group]])
    command = InProcess(tmp_path, monkeypatch, capsys)
    assert command("init").code == 0
    config = tmp_path / "config.yaml"
    written = config.read_text().replace("gate_always_ask: false", "gate_always_ask: true")
    config.write_text(written.replace("cooldown: 1h", "cooldown: 1m"))
    return command


ASKED = ("--check-lookahead", "--cuts", "2")


def told(said: Said) -> dict[str, Any]:
    """What it says to programs. What is logged stands before it: in a test's process nothing is set up."""
    found: dict[str, Any] = json.loads(said.out[said.out.index("{\n") :])
    return found


def with_tool(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("{indicators: {}}", "{indicators: {}, oracle: {}}"))


@pytest.mark.parametrize(
    ("part", "arguments"),
    [("tool oracle", MODEL), ("candidates of smoothed", RULE), ("memory", MODEL)],
)
def test_a_plug_in_that_looks_ahead_is_named_and_the_exit_code_is_1(
    command: InProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    arguments: tuple[str, ...],
) -> None:
    if part == "tool oracle":
        with_tool(tmp_path)
    if part == "memory":
        monkeypatch.setattr("alina.backtest.runtime.InMemoryMemory", Foresight)
    said = command("backtest", *arguments, *ASKED, "--json")
    assert said.code == 1, said.err
    assert [finding["part"] for finding in told(said)["looked_ahead"]] == [part]
    assert len(told(said)["cuts"]) == 2


def test_a_person_is_told_in_one_line_who_knew_what_and_when(command: InProcess) -> None:
    said = command("backtest", *RULE, *ASKED)
    assert said.code == 1, said.err
    last = said.out.splitlines()[-1]
    assert last.startswith("candidates of smoothed on BTC/USDT at 2018-10-")
    assert last.endswith("is another with the future removed")


def test_without_them_the_same_run_is_clean(command: InProcess) -> None:
    said = command("backtest", *MODEL, *ASKED, "--json")
    assert said.code == 0, said.err
    assert told(said)["looked_ahead"] == []
