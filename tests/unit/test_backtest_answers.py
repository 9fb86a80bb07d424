"""A model is asked a question once: its answers last, also where the process dies while it writes one."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from alina.backtest.answers import KeptAnswers
from alina.domain.runs import CompletionRequest, Message
from alina.llm.answers import answer_key
from alina.llm.scripted import ScriptedModel

MODEL = ScriptedModel("a.jsonl", b'{"text": "one"}\n{"text": "two"}\n', context_length=512, threads=1)
REQUEST = CompletionRequest(
    messages=(Message("user", "Buy?"),),
    json_schema=None,
    max_tokens=20,
    temperature=Decimal("0.5"),
    seed=0,
    deadline_seconds=Decimal(60),
)


def kept(path: Path) -> KeptAnswers:
    return KeptAnswers(lambda: MODEL, MODEL.identity, path)


def test_a_second_run_asks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "answers.jsonl"
    first = kept(path)
    other = replace(REQUEST, seed=1)
    answers = [first.complete(one) for one in (REQUEST, other, REQUEST)]
    assert (first.found, first.asked) == (1, 2)
    second = kept(path)
    assert [second.complete(one) for one in (REQUEST, other, REQUEST)] == answers
    assert (second.found, second.asked) == (3, 0)
    assert [one.text for one in answers] == ["one", "two", "one"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("left", [1, 40])
def test_an_answer_that_was_half_written_is_asked_for_again(tmp_path: Path, left: int) -> None:
    path = tmp_path / "answers.jsonl"
    kept(path).complete(REQUEST)
    other = replace(REQUEST, seed=1)
    kept(path).complete(other)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 1 + left])
    again = kept(path)
    assert again.complete(REQUEST).text == "one"
    assert again.complete(other).text == "two"
    assert (again.found, again.asked) == (1, 1)
    assert kept(path).complete(other).text == "two"
    assert len([line for line in path.read_text().splitlines() if line.endswith("}")]) == 2


def test_whatever_the_text_depends_on_is_another_question() -> None:
    known = answer_key(MODEL.identity, REQUEST)
    others = [
        replace(REQUEST, messages=(Message("system", "Buy?"),)),
        replace(REQUEST, json_schema={"type": "object"}),
        replace(REQUEST, max_tokens=21),
        replace(REQUEST, temperature=Decimal("0.6")),
        replace(REQUEST, seed=1),
    ]
    keys = [answer_key(MODEL.identity, other) for other in others]
    keys += [answer_key(replace(MODEL.identity, sha256="0" * 64), REQUEST)]
    assert len({known, *keys}) == 7
    patient = replace(REQUEST, deadline_seconds=Decimal(90), temperature=Decimal("0.50"))
    assert answer_key(MODEL.identity, patient) == known


def test_the_answer_of_a_model_that_stood_in_is_not_kept_as_this_one_s(tmp_path: Path) -> None:
    other = ScriptedModel("b.jsonl", b'{"text": "three"}\n', context_length=512, threads=1)
    stood_in = KeptAnswers(lambda: other, MODEL.identity, tmp_path / "answers.jsonl")
    assert stood_in.complete(REQUEST).model == other.identity
    assert kept(tmp_path / "answers.jsonl").complete(REQUEST).text == "one"
