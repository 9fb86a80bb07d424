import hashlib

import pytest

from alina.agents.trading import FlatAnswer, HoldingAnswer
from alina.errors import ModelUnavailable
from alina.llm.scripted import SHIPPED, ScriptedModel, parse_script


def test_the_identity_is_the_hash_of_the_script() -> None:
    script = b'{"action": "hold"}\n'
    model = ScriptedModel("calm.jsonl", script, context_length=512, threads=1)
    assert model.identity.sha256 == hashlib.sha256(script).hexdigest()
    assert model.identity.backend == "scripted"


@pytest.mark.parametrize("bad", [b"[1]", b"not json", b'{"error": "unknown"}', b"\xff\xfe"])
def test_a_line_that_is_no_answer_is_named(bad: bytes) -> None:
    with pytest.raises(ModelUnavailable, match=r"script calm\.jsonl, line 2: write a JSON object"):
        parse_script("calm.jsonl", b'{"action": "hold"}\n' + bad)


def test_an_empty_script_is_refused() -> None:
    with pytest.raises(ModelUnavailable, match="is empty"):
        parse_script("calm.jsonl", b"")


def test_the_shipped_script_has_an_answer_for_either_question_in_every_two_lines() -> None:
    answers = parse_script("shipped", SHIPPED.read_bytes())
    flat, holding = answers[::2], answers[1::2]
    assert {FlatAnswer.model_validate(one).action for one in flat} == {"buy", "hold"}
    assert {HoldingAnswer.model_validate(one).action for one in holding} == {"sell", "hold"}
    assert len(flat) == len(holding)
