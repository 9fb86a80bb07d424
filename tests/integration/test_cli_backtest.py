"""`alina backtest`, as a person and as a program use it."""

import json
from pathlib import Path

import pytest
from cli_command import InProcess, alina

from alina.llm.scripted import SHIPPED

ANSWERS = [
    {
        "rationale": "The trend is up.",
        "action": "buy",
        "size_percent": 40,
        "confidence": 70,
        "stop_percent": 1,
    },
    {"rationale": "The move is over.", "action": "sell", "confidence": 70},
]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    command = InProcess(tmp_path, monkeypatch, capsys)
    assert command("init").code == 0
    return command


def test_a_rule_is_tried_on_the_venues_own_data_and_reported(command: InProcess, tmp_path: Path) -> None:
    said = command("backtest", "--agent", "rule", "--out", "report")
    assert said.code == 0, said.err
    assert "trades, result" in said.out
    assert {"report.html", "report.json", "trades.csv"} <= {one.name for one in Path("report").iterdir()}
    told = alina(tmp_path, "backtest", "--agent", "rule", "--json").json
    assert told["agent"] == "rule"
    assert told["answers"] is None
    assert told["metrics"]["trades"] > 0


def test_an_agent_whose_every_wish_is_denied_is_told_why(command: InProcess) -> None:
    said = command("backtest", "--agent", "rule", "--cash", "1000000", "--to", "2018-11-01")
    assert said.code == 0, said.err
    assert "Nothing was traded: " in said.out
    assert "as MAX_TRADE_AMOUNT, the first since notional" in said.out


def test_a_second_run_of_a_model_asks_it_nothing_and_says_the_same(
    command: InProcess, tmp_path: Path
) -> None:
    script = tmp_path / "script.jsonl"
    script.write_text("".join(json.dumps(answer) + "\n" for answer in ANSWERS))
    span = ("--from", "2018-10-01", "--to", "2018-10-08")  # of the sample
    first = alina(tmp_path, "backtest", "--model", f"scripted:{script}", *span, "--json").json
    second = alina(tmp_path, "backtest", "--model", f"scripted:{script}", *span, "--json").json
    assert first["answers"]["asked"] > 0
    assert second["answers"] == {"kept": first["answers"]["asked"] + first["answers"]["kept"], "asked": 0}
    assert second["metrics"] == first["metrics"]


def test_a_registered_model_is_asked_by_its_name_and_the_shipped_script_by_scripted(
    command: InProcess, tmp_path: Path
) -> None:
    assert command("models", "add", "small", f"scripted:{SHIPPED}").code == 0
    span = ("--from", "2018-10-01", "--to", "2018-10-04")  # of the sample
    registered = alina(tmp_path, "backtest", "--model", "small", *span, "--json")
    shipped = alina(tmp_path, "backtest", "--model", "scripted", *span, "--json")
    assert registered.code == shipped.code == 0, registered.err + shipped.err
    assert shipped.json["metrics"] == registered.json["metrics"]
    assert shipped.json["answers"]["asked"] == 0
    assert registered.json["answers"]["asked"] > 0
    unknown = command("backtest", "--model", "large", *span)
    assert (unknown.code, "no model large is registered" in unknown.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--symbols", "ETH/USDT"), "the data holds no ETH/USDT"),
        (("--cash", "much"), "write an amount"),
        (("--cash", "NaN"), "write an amount"),
        (("--cash", "0"), "write an amount above zero"),
        (("--out", "config.yaml"), "config.yaml: File exists: name another path"),
        (("--agent", "ghost"), "no installed agent"),
        (("--to", "1999-01-01"), "is of 2018-09-20 18:00 to 2019-10-17 10:00: choose times within"),
        (("--model", "nobody"), "nor registered"),
        (("--data", "A/EUR=synthetic:7"), "holds no EUR"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_exit_code_2(
    command: InProcess, arguments: tuple[str, ...], said: str
) -> None:
    done = command("backtest", "--agent", "rule", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1


def test_what_looked_ahead_is_asked_for_by_an_option(command: InProcess) -> None:
    said = command("backtest", "--agent", "rule", "--check-lookahead", "--cuts", "2")
    assert said.code == 0, said.err
    assert "nothing looked ahead" in said.out
