"""Everything a person can get wrong is one message with its remedy, exit code 2, and nothing half-written."""

from pathlib import Path

import pytest
from cli_command import InProcess, Said, alina

from alina.embedded.folder import DataFolder

MODEL_LESS = {"ALINA_MODELS__DEFAULT": "no/such/model.gguf"}
NO_REDIS = {"ALINA_REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("models:\n  default: scripted:answers.jsonl\n")
    (tmp_path / "answers.jsonl").write_text('{"text": "hold"}\n')
    return tmp_path


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> InProcess:
    return InProcess(folder, monkeypatch, capsys)


def assert_refused(said: Said, *words: str) -> None:
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err


def test_a_typo_in_the_config_is_named_with_its_line(folder: Path) -> None:
    (folder / "config.yaml").write_text("risk:\n  coldown: 1h\n")
    assert_refused(alina(folder, "up"), "config.yaml:2: risk.coldown: unknown setting", "cooldown?")


def test_no_config_names_init(folder: Path, command: InProcess) -> None:
    (folder / "config.yaml").unlink()
    assert_refused(command("up"), "`alina init` writes one")


@pytest.mark.parametrize("name", ["up", "doctor"])
def test_a_missing_model_is_found_before_anything_starts(folder: Path, command: InProcess, name: str) -> None:
    said = command(name, env=MODEL_LESS)
    assert said.code == 2
    assert "names no file" in said.out + said.err
    assert not (folder / ".alina").exists()


@pytest.mark.parametrize("name", ["up", "doctor"])
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("TRADING__AGENTS", '["tradng"]', "'tradng' is no installed agent"),
        ("TOOLS__ASTROLOGY", "{}", "'astrology' is no installed tool"),
        ("RISK__CHECKS", '["nope"]', "'nope' is no known check"),
    ],
)
def test_what_no_package_offers_is_found_before_anything_starts(
    folder: Path, command: InProcess, name: str, setting: str, value: str, words: str
) -> None:
    said = command(name, env={f"ALINA_{setting}": value})
    assert said.code == 2
    assert words in " ".join((said.out + said.err).split())
    assert not (folder / ".alina").exists()


def test_doctor_tells_a_wrong_candle_from_what_to_do_about_it(folder: Path, command: InProcess) -> None:
    (folder / "candles.csv").write_text("timestamp,open,high,low,close,volume\n1500001200000,1,1,9,1,1\n")
    said = command("doctor", "--json", env={"ALINA_MARKET__VENUE__DATA": '["BTC/USDT=candles.csv"]'})
    found = next(one for one in said.json if one["check"] == "exchange")
    assert (said.code, found["level"]) == (2, "fail")
    assert found["finding"].endswith("candles.csv, line 2: open 1 or close 1 is outside low 9 to high 1")
    assert found["remedy"] == "correct or remove the row"


def test_doctor_knows_a_venue_that_was_killed_from_one_that_does_not_answer(
    folder: Path, command: InProcess
) -> None:
    left = folder / ".alina/data/venue/venue.url"
    left.parent.mkdir(parents=True)
    left.write_text("http://127.0.0.1:1")
    levels = {one["check"]: one["level"] for one in command("doctor", "--json").json}
    assert (levels["exchange"], levels["clock"]) == ("ok", "ok")


def test_doctor_warns_of_gaps_between_candles(folder: Path, command: InProcess) -> None:
    hours = [hour for hour in range(300) if not 100 <= hour < 105]
    rows = [f"{1_500_001_200_000 + hour * 3_600_000},1,1,1,1,1" for hour in hours]
    (folder / "candles.csv").write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]))
    said = command("doctor", "--json", env={"ALINA_MARKET__VENUE__DATA": '["BTC/USDT=candles.csv"]'})
    found = next(one for one in said.json if one["check"] == "exchange")
    assert found["level"] == "warn"
    assert "gaps between its candles: 1, the first from 2017-07-18 07:00 UTC" in found["finding"]


@pytest.mark.parametrize("name", ["prompts", "approvals"])
def test_a_group_of_commands_lists_as_json_too(folder: Path, command: InProcess, name: str) -> None:
    assert_refused(command(name, "--json"), "nothing was recorded yet")


def test_a_truncated_model_is_found_before_anything_starts(folder: Path, command: InProcess) -> None:
    (folder / "model.gguf").write_bytes(b"GGUF" + bytes(20))
    assert_refused(command("up", env={"ALINA_MODELS__DEFAULT": "model.gguf"}), "model.gguf is not usable")
    assert not (folder / ".alina").exists()


def test_missing_keys_are_found_before_anything_starts(folder: Path, command: InProcess) -> None:
    said = command("up", env={"ALINA_MARKET__EXCHANGE__MODE": "live"})
    assert_refused(said, "ALINA_EXCHANGE_API_KEY")
    assert not (folder / ".alina").exists()


def test_a_second_system_in_the_folder_is_refused(folder: Path) -> None:
    with DataFolder(folder / ".alina/data").lock():
        assert_refused(alina(folder, "up"), "already running", "`alina down`")


def test_a_database_that_does_not_answer_is_refused_and_nothing_is_left_running(
    folder: Path, command: InProcess
) -> None:
    env = NO_REDIS | {"ALINA_DATABASE_URL": "postgresql://nobody:hunter2@127.0.0.1:1/nothing"}
    for name in ("trades", "decisions", "halt", "resume", "prompts"):
        said = command(name, env=env)
        assert said.code == 2
        assert "check ALINA_DATABASE_URL" in said.err
        assert "hunter2" not in said.err
        assert "Traceback" not in said.err
    assert not (folder / ".alina").exists()


def test_a_broker_that_does_not_answer_stops_the_start_and_the_servers_before_it(
    folder: Path, command: InProcess, database_url: str
) -> None:
    said = alina(folder, "up", env=NO_REDIS | {"ALINA_DATABASE_URL": database_url})
    assert_refused(said, "Redis does not answer", "check ALINA_REDIS_URL")
    assert not (folder / ".alina/data/venue/venue.url").exists()
    assert command("status").code == 3


def test_a_run_without_a_broker_is_refused(folder: Path, command: InProcess, database_url: str) -> None:
    env = NO_REDIS | {"ALINA_DATABASE_URL": database_url}
    assert_refused(command("run", "trading", "BTC/USDT", env=env), "Redis does not answer", "`alina up`")


@pytest.mark.parametrize(
    ("agent", "symbol", "setting"),
    [("nobody", "BTC/USDT", "trading.agents"), ("trading", "X/Y", "market.symbols")],
)
def test_a_run_of_what_is_not_configured_is_refused(
    folder: Path, command: InProcess, agent: str, symbol: str, setting: str
) -> None:
    assert_refused(command("run", agent, symbol), setting)


@pytest.mark.parametrize("name", ["trades", "decisions", "prompts", "halt", "resume"])
def test_a_reading_command_before_the_first_start_makes_nothing(
    folder: Path, command: InProcess, name: str
) -> None:
    assert_refused(command(name), "nothing was recorded yet", "`alina up`")
    assert not (folder / ".alina").exists()


def test_a_database_without_tables_is_told_apart(folder: Path, command: InProcess, database_url: str) -> None:
    said = command("trades", env={"ALINA_DATABASE_URL": database_url})
    assert_refused(said, "no tables of this version", "`alina up`")


def test_status_and_down_before_the_first_start_make_nothing(folder: Path, command: InProcess) -> None:
    status = command("status", "--json")
    assert status.code == 3
    assert status.json["ready"] is False
    down = command("down", "--json")
    assert (down.code, down.json) == (0, {"stopped": False})
    assert not (folder / ".alina").exists()


@pytest.mark.parametrize("arguments", [("trades", "--limt", "3"), ("halp",), ("trades", "--limit", "0")])
def test_a_mistyped_command_line_shows_no_traceback(
    folder: Path, command: InProcess, arguments: tuple[str, ...]
) -> None:
    said = command(*arguments)
    assert (said.code, said.out) == (2, "")
    assert "Error: " in said.err
    assert "Traceback" not in said.err


def test_debug_shows_the_traceback(folder: Path) -> None:
    said = alina(folder, "--debug", "trades")
    assert said.code != 0
    assert "Traceback" in said.err


def test_a_venue_for_a_file_that_is_not_there_is_refused(folder: Path, command: InProcess) -> None:
    said = command("venue", "--data", "BTC/USDT=no.csv", "--folder", "venue")
    assert_refused(said, "no.csv is not there")
    assert not (folder / "venue").exists()


def test_an_unknown_check_of_the_kernel_is_found_before_anything_starts(
    folder: Path, command: InProcess
) -> None:
    with (folder / "config.yaml").open("a") as config:
        config.write("risk: {checks: [built_in, {any: [astrology]}]}\n")
    assert_refused(command("up"), "risk.checks: 'astrology' is no known check", "max_exposure")
    assert not (folder / ".alina").exists()
