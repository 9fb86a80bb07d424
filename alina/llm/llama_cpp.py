"""A GGUF model in this process.

The same request gives the same text, bit for bit, whatever was asked before and in whichever
process: the prompt is always evaluated in the same batches, and the draws are seeded by the
request alone. Put what stays the same first, in the system message: it is evaluated once.
"""

import codecs
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from pathlib import Path
from threading import Lock

from alina.domain.runs import Completion, CompletionRequest, ModelIdentity
from alina.errors import ModelBusy, ModelUnavailable
from alina.llm.engine import Engine, Prompt
from alina.llm.grammar import grammar_from_schema
from alina.llm.limits import check_fits
from alina.llm.native import BATCH, build
from alina.llm.prefix_store import NO_PREFIXES, PrefixStore
from alina.llm.vocabulary import Vocabulary


def identity(path: Path, *, sha256: str, context_length: int, threads: int) -> ModelIdentity:
    """Which weights and which engine answer."""
    return ModelIdentity(
        name=path.name,
        backend="llama_cpp",
        sha256=sha256,
        build=build(),
        context_length=context_length,
        threads=threads,
        batch=BATCH,
    )


class LlamaCppModel:
    """A `Model` over one GGUF file that was already checked. Threads wait for one another."""

    def __init__(
        self,
        path: Path,
        *,
        sha256: str,
        context_length: int,
        threads: int,
        prefixes: PrefixStore = NO_PREFIXES,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """Map the file. `vocabulary`: its own, if it is in memory already.

        Raises ModelUnavailable with the engine's own reason.
        """
        self._lock = Lock()
        self._is_closed = False
        self._identity = identity(path, sha256=sha256, context_length=context_length, threads=threads)
        self._engine = Engine(
            path,
            context_length=context_length,
            threads=threads,
            prefixes=prefixes.of(str(self._identity)),
            vocabulary=vocabulary,
        )

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Answer once, in the property order of `request.json_schema`.

        A stored schema must therefore keep its order: as JSON text, never as jsonb.
        Raises ModelBusy at the deadline and ModelError for a prompt that does not fit the
        context or a schema that a grammar cannot keep.
        """
        started = time.monotonic()
        deadline = started + float(request.deadline_seconds)
        with self._turn(request.deadline_seconds):
            prompt = self._fitting_prompt(request)
            text, tokens = self._answer(request, prompt, deadline, on_text)
        return Completion(
            text=text,
            model=self._identity,
            prompt_tokens=len(prompt.tokens),
            completion_tokens=tokens,
            elapsed_ms=int((time.monotonic() - started) * 1000),
            finish_reason="length" if tokens == request.max_tokens else "stop",
        )

    def close(self) -> None:
        """Wait for the call that runs, then give the memory back: later calls raise ModelUnavailable."""
        with self._lock:
            self._is_closed = True
            self._engine.close()

    @contextmanager
    def _turn(self, seconds: Decimal) -> Iterator[None]:
        """The one context, for one call at a time."""
        if not self._lock.acquire(timeout=max(float(seconds), 0)):
            raise ModelBusy(f"model {self._identity.name} answered another call for {seconds} s")
        try:
            if self._is_closed:
                raise ModelUnavailable(f"model {self._identity.name} was closed: open it again")
            yield
        finally:
            self._lock.release()

    def _fitting_prompt(self, request: CompletionRequest) -> Prompt:
        prompt = self._engine.prompt(request.messages)
        check_fits(len(prompt.tokens), request, self._identity.context_length)
        return prompt

    def _answer(
        self,
        request: CompletionRequest,
        prompt: Prompt,
        deadline: float,
        on_text: Callable[[str], None] | None,
    ) -> tuple[str, int]:
        """The text and the number of its tokens."""
        generated = self._engine.generate(
            prompt,
            grammar=None if request.json_schema is None else _grammar(json.dumps(request.json_schema)),
            temperature=request.temperature,
            seed=request.seed,
            interrupt=_busy_after(deadline, request.deadline_seconds),
        )
        # Closed here, not by the collector: the sampler's memory is native.
        with closing(generated):
            return written(map(self._engine.spelt, islice(generated, request.max_tokens)), on_text)


def written(parts: Iterator[bytes], on_text: Callable[[str], None] | None) -> tuple[str, int]:
    """UTF-8 as it comes, told piece by piece: the whole text, and of how many parts it was made."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    pieces: list[str] = []

    def tell(piece: str) -> None:
        pieces.append(piece)
        if piece and on_text is not None:
            on_text(piece)

    for part in parts:
        tell(decoder.decode(part))
    tell(decoder.decode(b"", final=True))
    return "".join(pieces), len(pieces) - 1


def _busy_after(deadline: float, seconds: Decimal) -> Callable[[], None]:
    def interrupt() -> None:
        if time.monotonic() >= deadline:
            raise ModelBusy(f"no answer within models.deadline of {seconds} s")

    return interrupt


@lru_cache(maxsize=32)
def _grammar(schema: str) -> str:
    return grammar_from_schema(json.loads(schema))
