"""A model that answers from a file. For tests, drills and demos without a GGUF file.

Each line of the file is one JSON object: the answer itself, `{"text": "..."}` for raw text
(to play a malformed answer), or `{"error": "busy"}` for a missed deadline. A request gets line
`seed % lines`, so its answer is a function of the request and can be replayed anywhere.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from alina.domain.runs import Completion, CompletionRequest, ModelIdentity
from alina.errors import ModelBusy, ModelUnavailable
from alina.llm.limits import TOKEN_CHARACTERS, check_fits, estimated_tokens

#: a script that comes with us, to buy and sell now and then: answers of who holds nothing and of who holds
#: take turns, so that one fits at the second attempt at the latest, which has the next line
SHIPPED = Path(__file__).with_name("scripted.jsonl")


class ScriptedModel:
    """A `Model` whose answers were written beforehand: `script` is the content of its file."""

    def __init__(self, name: str, script: bytes, *, context_length: int, threads: int) -> None:
        """Raises ModelUnavailable naming the first line that is no answer."""
        self._answers = parse_script(name, script)
        self._identity = ModelIdentity(
            name=name,
            backend="scripted",
            sha256=hashlib.sha256(script).hexdigest(),
            build="1",
            context_length=context_length,
            threads=threads,
        )

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """The line that the seed picks, cut at `max_tokens`. Raises ModelBusy where the script says so."""
        prompt_tokens = estimated_tokens(request.messages)
        check_fits(prompt_tokens, request, self._identity.context_length)
        if request.deadline_seconds <= 0:
            raise ModelBusy(f"no answer within models.deadline of {request.deadline_seconds} s")
        text = _text(self._answers[request.seed % len(self._answers)])
        kept = text[: request.max_tokens * TOKEN_CHARACTERS]
        if on_text is not None:
            for start in range(0, len(kept), TOKEN_CHARACTERS):
                on_text(kept[start : start + TOKEN_CHARACTERS])
        return Completion(
            text=kept,
            model=self._identity,
            prompt_tokens=prompt_tokens,
            completion_tokens=_tokens(kept),
            elapsed_ms=0,
            finish_reason="stop" if kept == text else "length",
        )


def parse_script(name: str, script: bytes) -> tuple[Mapping[str, Any], ...]:
    """The answers of a script, one a line. Raises ModelUnavailable for anything else."""
    lines = script.splitlines()
    if not lines:
        raise ModelUnavailable(f"script {name} is empty: write one JSON object a line")
    return tuple(_answer(name, number, line) for number, line in enumerate(lines, start=1))


def _answer(name: str, number: int, line: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("error", "busy") != "busy":
        raise ModelUnavailable(
            f'script {name}, line {number}: write a JSON object, {{"text":"..."}} or {{"error":"busy"}}'
        )
    return answer


def _text(answer: Mapping[str, Any]) -> str:
    if answer == {"error": "busy"}:
        raise ModelBusy("the script says that this call misses its deadline")
    if list(answer) == ["text"]:
        return str(answer["text"])
    return json.dumps(answer)


def _tokens(text: str) -> int:
    return -(-len(text) // TOKEN_CHARACTERS)
