import json
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from alina.domain.runs import Message
from alina.errors import ModelBusy, ModelError
from alina.llm.scripted import ScriptedModel
from alina.llm.structured import Structured, ask, replay, schema_of

MESSAGES = (Message("system", "Trade carefully."), Message("user", "BTC/USDT fell."))
GOOD = {"action": "hold", "confidence": 60, "reason": {"text": "calm"}}
WRONG = GOOD | {"confidence": 900}


class Reason(BaseModel):
    text: str = Field(max_length=20)


class Answer(BaseModel):
    action: Literal["buy", "hold"]
    confidence: Annotated[int, Field(ge=0, le=100)]
    reason: Reason


def scripted(*answers: dict[str, Any]) -> ScriptedModel:
    lines = "\n".join(json.dumps(answer) for answer in answers)
    return ScriptedModel("test.jsonl", lines.encode(), context_length=1000, threads=1)


def asked(model: ScriptedModel, **changes: Any) -> Structured[Answer]:
    settings: dict[str, Any] = {
        "max_tokens": 100,
        "temperature": Decimal("0.7"),
        "seed": 0,
        "deadline_seconds": Decimal(10),
    } | changes
    return ask(model, MESSAGES, Answer, **settings)


def test_a_valid_answer_takes_one_call() -> None:
    result = asked(scripted(GOOD))
    assert result.answer == Answer.model_validate(GOOD)
    assert result.error is None
    assert [call.attempt for call in result.calls] == [1]


def test_an_invalid_answer_is_asked_again_once_with_what_was_wrong() -> None:
    result = asked(scripted(WRONG, GOOD))
    assert result.answer == Answer.model_validate(GOOD)
    first, second = result.calls
    assert (first.attempt, second.attempt) == (1, 2)
    *same, shown, complaint = second.request.messages
    assert tuple(same) == MESSAGES
    assert shown == Message("assistant", first.completion.text)
    assert "confidence: Input should be less than or equal to 100" in complaint.content
    assert second.request.seed == first.request.seed + 1


def test_an_answer_that_is_invalid_twice_is_no_answer() -> None:
    result = asked(scripted(WRONG, {"text": "I would buy!"}))
    assert result.answer is None
    assert len(result.calls) == 2
    assert result.error is not None
    assert "confidence" in result.error
    assert "Invalid JSON" in result.error


def test_an_answer_that_makes_no_sense_is_asked_again() -> None:
    def check(answer: Answer) -> None:
        if answer.action == "buy":
            raise ValueError("there is no money to buy with")

    result = asked(scripted(GOOD | {"action": "buy"}, GOOD), check=check)
    assert result.answer is not None
    assert result.answer.action == "hold"
    assert "there is no money to buy with" in result.calls[1].request.messages[-1].content


def test_an_answer_that_was_cut_off_is_never_used() -> None:
    result = asked(scripted(GOOD), max_tokens=5)
    assert result.answer is None
    assert result.error is not None
    assert "cut off at 5 tokens" in result.error


def test_a_repair_that_misses_the_deadline_is_no_answer_and_keeps_the_first_call() -> None:
    result = asked(scripted(WRONG, {"error": "busy"}))
    assert result.answer is None
    assert [call.attempt for call in result.calls] == [1]
    assert "deadline" in str(result.error)


def test_a_first_call_that_misses_the_deadline_is_raised_for_the_task_to_repeat() -> None:
    with pytest.raises(ModelBusy):
        asked(scripted({"error": "busy"}))


def test_a_stored_call_replays_to_the_same_text() -> None:
    model = scripted(WRONG, GOOD)
    for call in asked(model).calls:
        assert replay(model, call).text == call.completion.text


class Heard:
    """A stream that keeps what it is told."""

    def __init__(self) -> None:
        self.attempts: list[str] = []

    def begin(self, attempt: int) -> None:
        assert attempt == len(self.attempts) + 1
        self.attempts.append("")

    def text(self, piece: str) -> None:
        self.attempts[-1] += piece


def test_whoever_listens_is_told_both_attempts_as_they_are_written() -> None:
    heard = Heard()
    result = asked(scripted(WRONG, GOOD), stream=heard)
    assert heard.attempts == [call.completion.text for call in result.calls]


def test_the_schema_survives_json_text_in_the_order_of_the_fields() -> None:
    schema = schema_of(Answer)
    stored = json.loads(json.dumps(schema))
    assert stored == schema
    assert list(stored["properties"]) == ["action", "confidence", "reason"]
    assert "$ref" not in json.dumps(schema)
    assert "$defs" not in schema


def test_a_type_with_an_unbounded_string_is_refused_before_any_call() -> None:
    class Chatty(BaseModel):
        text: str

    with pytest.raises(ModelError, match=r"\$\.text: string is unbounded; give it a whole maxLength"):
        schema_of(Chatty)


def test_a_type_that_contains_itself_is_refused() -> None:
    class Tree(BaseModel):
        children: list["Tree"] = Field(max_length=2)

    with pytest.raises(ModelError, match="Tree contains itself"):
        schema_of(Tree)


def test_a_replay_is_not_hurried_by_the_deadline_of_then() -> None:
    model = scripted(GOOD)
    (call,) = asked(model).calls
    late = replace(call, request=replace(call.request, deadline_seconds=Decimal(0)))
    assert replay(model, late).text == call.completion.text
