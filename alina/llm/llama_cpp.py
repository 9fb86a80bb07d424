"""A GGUF model in this process.

The same request gives the same text, bit for bit, whatever was asked before and in whichever
process: the prompt is always evaluated in the same batches, and the draws are seeded by the
request alone. Put what stays the same first: whole batches that two prompts in a row begin
with are evaluated once.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import Path
from threading import Lock

import llama_cpp

from alina.domain.runs import Completion, CompletionRequest, ModelIdentity
from alina.errors import ModelBusy
from alina.llm.engine import Engine
from alina.llm.grammar import grammar_from_schema
from alina.llm.limits import check_fits


class LlamaCppModel:
    """A `Model` over one GGUF file that was already checked. Threads wait for one another."""

    def __init__(self, path: Path, *, sha256: str, context_length: int, threads: int) -> None:
        """Map the file. Raises ModelUnavailable with the engine's own reason."""
        self._engine = Engine(path, context_length=context_length, threads=threads)
        self._lock = Lock()
        self._identity = ModelIdentity(
            name=path.name,
            backend="llama_cpp",
            sha256=sha256,
            build=llama_cpp.__version__,
            context_length=context_length,
            threads=threads,
        )

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def complete(self, request: CompletionRequest) -> Completion:
        """Answer once, in the property order of `request.json_schema`.

        A stored schema must therefore keep its order: as JSON text, never as jsonb.
        Raises ModelBusy at the deadline and ModelError for a prompt that does not fit the
        context or a schema that a grammar cannot keep.
        """
        started = time.monotonic()
        deadline = started + float(request.deadline_seconds)
        with self._turn(request.deadline_seconds):
            prompt = self._fitting_prompt(request)
            tokens, finish_reason = self._answer(request, prompt, deadline)
            text = self._engine.text(tokens)
        return Completion(
            text=text,
            model=self._identity,
            prompt_tokens=len(prompt),
            completion_tokens=len(tokens),
            elapsed_ms=int((time.monotonic() - started) * 1000),
            finish_reason=finish_reason,
        )

    @contextmanager
    def _turn(self, seconds: Decimal) -> Iterator[None]:
        """The one context, for one call at a time."""
        if not self._lock.acquire(timeout=max(float(seconds), 0)):
            raise ModelBusy(f"model {self._identity.name} answered another call for {seconds} s")
        try:
            yield
        finally:
            self._lock.release()

    def _fitting_prompt(self, request: CompletionRequest) -> list[int]:
        prompt = self._engine.prompt_tokens(request.messages)
        check_fits(len(prompt), request, self._identity.context_length)
        return prompt

    def _answer(
        self, request: CompletionRequest, prompt: list[int], deadline: float
    ) -> tuple[list[int], str]:
        tokens: list[int] = []
        generated = self._engine.generate(
            prompt,
            grammar=None if request.json_schema is None else _grammar(json.dumps(request.json_schema)),
            temperature=request.temperature,
            seed=request.seed,
            interrupt=_busy_after(deadline, request.deadline_seconds),
        )
        # Closed here, not by the collector: the sampler's memory is native.
        with closing(generated):
            tokens.extend(islice(generated, request.max_tokens))
        return tokens, "length" if len(tokens) == request.max_tokens else "stop"


def _busy_after(deadline: float, seconds: Decimal) -> Callable[[], None]:
    def interrupt() -> None:
        if time.monotonic() >= deadline:
            raise ModelBusy(f"no answer within models.deadline of {seconds} s")

    return interrupt


@lru_cache(maxsize=32)
def _grammar(schema: str) -> str:
    return grammar_from_schema(json.loads(schema))
