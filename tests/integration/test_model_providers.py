"""Models elsewhere, through real sockets: what is asked of a provider, and how each of its failures ends."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from model_door import Exchange, ModelDoor, model_door
from pydantic import BaseModel, ConfigDict, Field

from alina.config.settings import Models, Provider
from alina.domain.ports import Model
from alina.domain.runs import CompletionRequest, Message
from alina.errors import ConfigError, ModelBusy, ModelError, ModelRefused, ProviderUnavailable
from alina.llm import structured
from alina.llm.providers import open_provider

KEY = "sk-a-key-that-nobody-may-see"
MESSAGES = (Message("system", "Answer in JSON."), Message("user", "Buy or hold?"))


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    action: str = Field(max_length=8)
    confidence: int = Field(ge=0, le=100)
    rationale: str = Field(min_length=1, max_length=24)


REQUEST = CompletionRequest(
    messages=MESSAGES,
    json_schema=structured.schema_of(Answer),
    max_tokens=60,
    temperature=Decimal("0.7"),
    seed=1,
    deadline_seconds=Decimal(200),
)
NAMES = ("openai", "anthropic")


@pytest.fixture
def door() -> Iterator[ModelDoor]:
    with model_door() as opened:
        yield opened


def model_at(door: ModelDoor, name: str = "openai", **options: Any) -> Model:
    patient = {"base_url": door.address, "connect_timeout": "60s", "read_timeout": "60s"}
    models = Models.model_validate({"providers": {name: {**patient, **options}}})
    return open_provider(f"provider:{name}/some-model", models, lambda *_: KEY)


# What is asked


def test_openai_is_told_the_schema_the_bound_and_the_seed(door: ModelDoor) -> None:
    model_at(door).complete(REQUEST)
    (asked,) = door.asked
    assert asked.path == "/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body["model"] == "some-model"
    assert asked.body["max_completion_tokens"] == 60
    assert asked.body["seed"] == 1
    told = asked.body["response_format"]["json_schema"]
    assert told["strict"] is True
    Draft202012Validator.check_schema(told["schema"])
    assert list(told["schema"]["properties"]) == ["action", "confidence", "rationale"]
    assert told["schema"]["additionalProperties"] is False
    assert (
        told["schema"]["properties"]["rationale"]["description"]
        == "at least 1 characters; at most 24 characters"
    )


def test_anthropic_is_told_the_system_prompt_apart_and_the_schema(door: ModelDoor) -> None:
    model_at(door, "anthropic").complete(REQUEST)
    (asked,) = door.asked
    assert asked.path == "/v1/messages"
    assert KEY in asked.headers.values() or f"Bearer {KEY}" in asked.headers.values()
    assert asked.body["system"] == "Answer in JSON."
    assert [message["role"] for message in asked.body["messages"]] == ["user"]
    assert asked.body["output_config"]["format"]["schema"]["required"] == [
        "action",
        "confidence",
        "rationale",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_door_without_schemas_is_given_a_tool(door: ModelDoor, name: str) -> None:
    completion = model_at(door, name, structured="tool").complete(REQUEST)
    assert json.loads(completion.text)["action"]
    assert completion.finish_reason == "stop"
    (asked,) = door.asked
    assert len(asked.body["tools"]) == 1
    assert "response_format" not in asked.body


def test_a_door_with_json_only_is_told_the_schema_in_words(door: ModelDoor) -> None:
    model_at(door, structured="json_object").complete(REQUEST)
    (asked,) = door.asked
    assert asked.body["response_format"] == {"type": "json_object"}
    assert '"rationale"' in asked.body["messages"][0]["content"]
    assert [message["content"] for message in asked.body["messages"][1:]] == [
        "Answer in JSON.",
        "Buy or hold?",
    ]


def test_a_parameter_that_a_door_refuses_is_left_out(door: ModelDoor) -> None:
    model_at(door, omit=["temperature", "seed"]).complete(REQUEST)
    assert not {"temperature", "seed"} & set(door.asked[0].body)


def test_headers_from_the_environment_reach_no_other_door(
    door: ModelDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "https://elsewhere.invalid")
    model_at(door, "groq").complete(REQUEST)
    assert "elsewhere" not in str(door.asked[0].headers)


# What comes back


@pytest.mark.parametrize("name", NAMES)
def test_the_completion_says_which_model_answered_and_what_it_took(door: ModelDoor, name: str) -> None:
    completion = model_at(door, name).complete(REQUEST)
    assert completion.model.name == "some-model"
    assert completion.model.backend == name
    assert completion.model.build.startswith("m-2026")
    assert completion.prompt_tokens == (3 if name == "anthropic" else 7)  # the system prompt is apart there
    assert completion.completion_tokens == 17


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_told_while_it_comes(door: ModelDoor, name: str) -> None:
    pieces: list[str] = []
    completion = model_at(door, name).complete(REQUEST, pieces.append)  # type: ignore[call-arg]
    assert len(pieces) > 5
    assert "".join(pieces) == completion.text


def test_unknown_fields_and_unknown_events_are_ignored(door: ModelDoor) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        exchange.raw(b": a comment\n\n")
        exchange.event({"object": "something.new", "choices": None, "news": {"a": [1]}})
        for event in exchange.events():
            exchange.event({**event, "extra": {"deep": [None]}})
        exchange.end()

    door.plays = play
    assert json.loads(model_at(door).complete(REQUEST).text)["action"] == "buy"


def test_what_no_database_takes_does_not_come_through(door: ModelDoor) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        first, *rest = exchange.events()
        first["choices"][0]["delta"]["content"] = "a\0b\ud800c"
        for event in [first, *rest]:
            exchange.event(event)
        exchange.end()

    door.plays = play
    text = model_at(door).complete(REQUEST).text
    assert text.startswith("a\ufffdb?c")
    text.encode()


def test_without_usage_the_cost_is_counted_too_high_never_too_low(door: ModelDoor) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        for event in exchange.events():
            exchange.event({**event, "usage": None})
        exchange.end()

    door.plays = play
    completion = model_at(door).complete(REQUEST)
    assert completion.prompt_tokens > 7
    assert completion.completion_tokens == REQUEST.max_tokens


# Failures


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, ModelRefused, "ALINA_MODEL_KEYS__"),
        (403, ModelRefused, "ALINA_MODEL_KEYS__"),
        (404, ModelRefused, "does not know the model 'some-model'"),
        (400, ModelRefused, "structured and omit"),
        (307, ModelRefused, "base_url"),
        (429, ProviderUnavailable, "cannot answer now"),
        (500, ProviderUnavailable, "cannot answer now"),
        (529, ProviderUnavailable, "cannot answer now"),
    ],
)
def test_a_status_becomes_an_error_with_its_remedy_and_is_not_repeated(
    door: ModelDoor, name: str, status: int, error: type[ModelError], words: str
) -> None:
    body = {"type": "error", "error": {"type": "some_error", "message": f"you sent {KEY}"}}
    door.plays = lambda exchange: exchange.status(status, body, Location=door.address)
    with pytest.raises(error, match=words) as caught:
        model_at(door, name).complete(REQUEST)
    assert KEY not in repr(caught.getrepr(style="long"))
    assert len(door.asked) == 1
    if isinstance(caught.value, ProviderUnavailable):
        assert caught.value.is_unanswered


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("told", "seconds"), [("7", 7), ("0.5", 0.5), ("soon", None), ("nan", None)])
def test_a_rate_limit_says_how_long_it_lasts(
    door: ModelDoor, name: str, told: str, seconds: float | None
) -> None:
    door.plays = lambda exchange: exchange.status(429, {"error": {"message": "slow down"}}, Retry_After=told)
    with pytest.raises(ProviderUnavailable) as caught:
        model_at(door, name).complete(REQUEST)
    wait = caught.value.retry_after
    assert (wait.total_seconds() if wait else None) == seconds


@pytest.mark.parametrize("name", NAMES)
def test_the_key_is_in_no_log_at_any_level(
    door: ModelDoor, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    model = model_at(door, name)
    with caplog.at_level(0):
        model.complete(REQUEST)
        door.plays = lambda exchange: exchange.status(400, {"error": {"message": f"you sent {KEY}"}})
        with pytest.raises(ModelRefused):
            model.complete(REQUEST)
    assert KEY not in caplog.text + "".join(capfd.readouterr()) + repr(model) + repr(model.identity)


def after(events: int, then: str) -> Any:
    """Plays so many events of a good answer, then `then` of the exchange."""

    def play(exchange: Exchange) -> None:
        exchange.begin()
        for event in exchange.events()[:events]:
            exchange.event(event)
        getattr(exchange, then)()

    return play


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("then", ["break_off", "end"])
@pytest.mark.parametrize("events", [0, 8])
def test_an_answer_that_breaks_off_is_none(door: ModelDoor, name: str, then: str, events: int) -> None:
    door.plays = after(events, then)
    with pytest.raises(ProviderUnavailable, match="broke off") as caught:
        model_at(door, name).complete(REQUEST)
    assert not caught.value.is_unanswered


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("events", [0, 8])
def test_a_provider_that_hangs_is_left_at_the_deadline(door: ModelDoor, name: str, events: int) -> None:
    door.plays = after(events, "hang")
    with pytest.raises(ModelBusy, match="deadline"):
        model_at(door, name).complete(replace(REQUEST, deadline_seconds=Decimal("0.5")))


def test_a_provider_that_only_keeps_the_line_open_is_left_at_the_deadline(door: ModelDoor) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        while not exchange.stopped.wait(0.01):
            exchange.raw(b": still thinking\n\n")

    door.plays = play
    with pytest.raises(ModelBusy, match="deadline"):
        model_at(door).complete(replace(REQUEST, deadline_seconds=Decimal("0.5")))


@pytest.mark.parametrize("name", NAMES)
def test_silence_is_borne_as_long_as_read_timeout(door: ModelDoor, name: str) -> None:
    door.plays = after(3, "hang")
    with pytest.raises(ProviderUnavailable, match="ReadTimeout"):
        model_at(door, name, read_timeout="300ms").complete(REQUEST)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "data",
    [b"data: {broken\n\n", b"data: 5\n\n", b'data: {"choices": 7}\n\n', b"<html>no</html>", b"\xff\xfe\n\n"],
)
def test_a_malformed_stream_is_no_answer(door: ModelDoor, name: str, data: bytes) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        head = b"event: message_delta\n" if exchange.is_anthropic else b""
        exchange.raw(head + data)
        exchange.end()

    door.plays = play
    with pytest.raises(ProviderUnavailable):
        model_at(door, name).complete(REQUEST)


@pytest.mark.parametrize("name", NAMES)
def test_an_error_in_the_middle_of_a_stream_is_transient(door: ModelDoor, name: str) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        for event in exchange.events()[:5]:
            exchange.event(event)
        exchange.raw(b'event: error\ndata: {"type": "error", "error": {"message": "overloaded"}}\n\n')
        exchange.end()

    door.plays = play
    with pytest.raises(ProviderUnavailable):
        model_at(door, name).complete(REQUEST)


def test_a_withheld_answer_is_none(door: ModelDoor) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        for event in exchange.events():
            if event["choices"] and event["choices"][0]["finish_reason"]:
                event["choices"][0]["finish_reason"] = "content_filter"
            exchange.event(event)
        exchange.end()

    door.plays = play
    with pytest.raises(ModelRefused, match="withheld its answer"):
        model_at(door).complete(REQUEST)


def test_a_door_that_writes_without_end_is_cut(door: ModelDoor) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        chunk = exchange.events()[1]
        chunk["choices"][0]["delta"]["content"] = "x" * 1000
        while not exchange.stopped.is_set():
            exchange.event(chunk)

    door.plays = play
    completion = model_at(door).complete(REQUEST)
    assert completion.finish_reason == "length"
    assert len(completion.text) < 10_000


def test_nobody_at_the_address_is_transient_and_costs_nothing() -> None:
    with model_door() as door:
        pass
    with pytest.raises(ProviderUnavailable, match="ConnectError") as caught:
        model_at(door).complete(REQUEST)
    assert caught.value.is_unanswered


def test_a_signal_ends_a_call_within_a_piece(door: ModelDoor) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: Any) -> None:
        raise Stopped

    def play(exchange: Exchange) -> None:
        exchange.begin()
        exchange.event(exchange.events()[0])
        os.kill(os.getpid(), signal.SIGUSR1)
        exchange.hang()

    door.plays = play
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(Stopped):
            model_at(door).complete(REQUEST)
    finally:
        signal.signal(signal.SIGUSR1, before)


# Structured answers


@pytest.mark.parametrize("name", NAMES)
def test_wrong_json_is_asked_for_once_more_with_what_was_wrong(door: ModelDoor, name: str) -> None:
    def play(exchange: Exchange) -> None:
        exchange.begin()
        events = exchange.events()
        if len(door.asked) == 1:
            for event in events:
                delta = event.get("delta") or (event.get("choices") or [{}])[0].get("delta") or {}
                for key in ("text", "content"):
                    if delta.get(key):
                        delta[key] = "["
        for event in events:
            exchange.event(event)
        exchange.end()

    door.plays = play
    answered = ask(model_at(door, name))
    assert answered.answer is not None
    assert len(answered.calls) == 2
    roles = [message["role"] for message in door.asked[1].body["messages"] if message["role"] != "system"]
    assert roles == ["user", "assistant", "user"]
    assert "not usable" in door.asked[1].body["messages"][-1]["content"]


def test_an_answer_out_of_bounds_twice_is_a_recorded_failure(door: ModelDoor) -> None:
    class Narrow(Answer):
        confidence: int = Field(ge=90, le=100)

    answered = ask(model_at(door), Narrow)
    assert answered.answer is None
    assert len(answered.calls) == 2
    assert answered.error is not None
    assert "confidence" in answered.error


def ask(model: Model, answer_type: type[BaseModel] = Answer) -> "structured.Structured[BaseModel]":
    return structured.ask(
        model,
        MESSAGES,
        answer_type,
        max_tokens=60,
        temperature=Decimal(0),
        seed=1,
        deadline_seconds=Decimal(200),
    )


# Opening


def test_a_missing_key_an_unknown_provider_and_a_nameless_model_are_refused() -> None:
    models = Models()
    for source, words in [
        ("provider:openai/m", "ALINA_MODEL_KEYS__OPENAI"),
        ("provider:nobody/m", "known are openai, anthropic"),
        ("provider:openai", "provider:NAME/MODEL"),
        ("provider:/m", "provider:NAME/MODEL"),
    ]:
        with pytest.raises(ConfigError, match=words):
            open_provider(source, models, lambda *_: None)


@pytest.mark.parametrize("key", [f"{KEY}\r", f"{KEY} ", f"“{KEY}”", f"{KEY}\nx"])
def test_a_key_that_was_copied_badly_is_refused_before_it_is_sent(key: str) -> None:
    with pytest.raises(ConfigError, match="copied along with it") as caught:
        open_provider("provider:openai/m", Models(), lambda *_: key)
    assert KEY not in str(caught.value)


def test_a_door_of_ones_own_needs_no_key(door: ModelDoor) -> None:
    models = Models(providers={"mine": Provider(base_url=door.address)})
    assert open_provider("provider:mine/m", models, lambda *_: None).complete(REQUEST).text
