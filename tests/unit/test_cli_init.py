"""`alina init` and the front door: options, versions, refusals."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alina import __version__
from alina.cli import main
from alina.config import load_settings, render_config
from alina.errors import SystemStateError

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # it would bind the whole session's logging to the runner's short-lived streams
    monkeypatch.setattr("alina.log.configure_logging", lambda *_: None)


def test_init_writes_a_config_that_is_accepted() -> None:
    assert RUNNER.invoke(main.app, ["init"]).exit_code == 0
    assert Path("config.yaml").read_text() == render_config()
    load_settings("config.yaml")


def test_init_leaves_a_config_that_is_there_untouched() -> None:
    Path("config.yaml").write_text("# mine\n")
    refused = RUNNER.invoke(main.app, ["init"])
    assert isinstance(refused.exception, SystemStateError)
    assert "`alina init --force`" in str(refused.exception)
    assert Path("config.yaml").read_text() == "# mine\n"


def test_init_replaces_it_when_told_to_and_leaves_no_other_file() -> None:
    Path("config.yaml").write_text("# mine\n")
    assert RUNNER.invoke(main.app, ["init", "--force"]).exit_code == 0
    assert Path("config.yaml").read_text() == render_config()
    assert [path.name for path in Path().iterdir()] == ["config.yaml"]


def test_init_writes_where_config_says_and_tells_it_as_json() -> None:
    done = RUNNER.invoke(main.app, ["--config", "mine.yaml", "init", "--json"])
    assert json.loads(done.stdout) == {"config": str(Path("mine.yaml").absolute())}
    assert Path("mine.yaml").exists()


def test_init_names_a_folder_that_is_not_there() -> None:
    refused = RUNNER.invoke(main.app, ["--config", "no/such/config.yaml", "init"])
    assert "choose another path" in str(refused.exception)


def test_the_version_is_told() -> None:
    assert RUNNER.invoke(main.app, ["--version"]).stdout == f"alina {__version__}\n"


COMMANDS = [info.callback.__name__ for info in main.app.registered_commands if info.callback]


PROMPTS = [f"prompts {command}".strip() for command in ("", "list", "restore")]
MODELS = [f"models {one}".strip() for one in ("", "list", "add", "probe", "bench", "activate", "retire")]


@pytest.mark.parametrize("command", [*COMMANDS, *PROMPTS, *MODELS])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    shown = RUNNER.invoke(main.app, [*command.split(), "--help"])
    assert shown.exit_code == 0
    assert re.search(rf"Example: alina .*{command}", shown.stdout)


def test_a_full_disk_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(main, "app", full)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: the disk is full: free some space, or set system.data_folder to another disk\n"
    )
