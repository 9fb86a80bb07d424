"""A person writes a prompt: tried before it is stored, with a parent, and used when that is asked for."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_command import InProcess, Said
from ledger_cases import run, with_agent
from system import migrated

from alina.db.engine import make_engine, session_factory, transaction
from alina.domain.runs import RunState
from alina.ledger import Ledger


@pytest.fixture(scope="module")
def url(postgres_server: str) -> Iterator[str]:
    """A ledger whose agent has one revision, and saw a symbol and a price last."""
    with migrated(postgres_server) as url:
        engine = make_engine(url)
        with transaction(session_factory(engine)) as session:
            ledger = Ledger(session)
            with_agent(ledger)
            started = ledger.start_run(run())
            seen = {"symbol": "BTC/USDT", "price": "100", "figures": []}
            ledger.finish_run(replace(started, state=RunState.HELD, context=seen))
        engine.dispose()
        yield url


class Prompts:
    def __init__(self, command: InProcess, folder: Path, url: str) -> None:
        self._command, self._folder, self._url = command, folder, url

    def __call__(self, *arguments: str) -> Said:
        return self._command("prompts", *arguments, env={"ALINA_DATABASE_URL": self._url})

    def file(self, text: str) -> str:
        (self._folder / "part.txt").write_text(text)
        return "part.txt"

    @property
    def numbers(self) -> list[int]:
        return [one["revision"]["number"] for one in self("list", "--json").json["revisions"]]


@pytest.fixture
def prompts(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Prompts:
    (tmp_path / "config.yaml").write_text("")
    return Prompts(InProcess(tmp_path, monkeypatch, capsys), tmp_path, url)


def test_a_revision_of_a_person_follows_the_one_in_use_and_is_used_when_asked_for(prompts: Prompts) -> None:
    waiting = prompts("add", "trading", "--system", prompts.file("Trade {{ symbol }} calmly."), "--json").json
    assert (waiting["revision"]["author"], waiting["is_active"]) == ("person", False)
    used = prompts(
        "add", "trading", "--template", prompts.file("At {{ price }}?"), "--activate", "--json"
    ).json
    first = used["revision"]["parent_id"]
    assert used["is_active"]
    assert waiting["revision"]["parent_id"] == first

    shown = prompts("show", used["revision"]["id"][:8], "--json").json
    assert shown["revision"] == used["revision"]
    assert shown["parent"]["id"] == first
    text = prompts("show", used["revision"]["id"], "--diff").out
    assert "by person, after revision 1" in text
    assert "+  At {{ price }}?" in text
    assert "Trade." in prompts("show", first).out

    again = prompts("add", "trading", "--template", prompts.file("At {{ price }}?"), "--json").json
    assert again["revision"]["id"] == used["revision"]["id"]
    assert prompts("restore", first).code == 0


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("one\n{% if %}", "line 2"),
        ("{{ mood }}", "line 1: 'mood' is undefined"),
        ("{{ symbol.__class__ }}", "unsafe"),
        ("{% for n in range(9) %}{% endfor %}", "Call is not allowed"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_not_stored(prompts: Prompts, text: str, fault: str) -> None:
    before = prompts.numbers
    refused = prompts("add", "trading", "--template", prompts.file(text), "--activate")
    assert (refused.code, refused.out) == (2, "")
    assert fault in refused.err
    assert prompts.numbers == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "nobody", "--system", "part.txt"), "trading.agents"),
        (("add", "trading"), "nothing to add"),
        (("add", "trading", "--system", "missing.txt"), "cannot be read"),
        (("show", "ffffffff"), "begins 0 revisions"),
    ],
)
def test_what_cannot_be_done_is_one_message(prompts: Prompts, arguments: tuple[str, ...], words: str) -> None:
    refused = prompts(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert words in refused.err
    assert refused.err.count("\n") == 1
