"""llama.cpp as this project uses it: prompts in the model's own template, prefixes evaluated once.

Batches begin at fixed places, so what is kept of a prompt, in the context or in the prefix store, holds
exactly what evaluating it again would give: whether it is kept changes the speed and never the text.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from alina.domain.runs import Message
from alina.errors import ModelError, ModelUnavailable
from alina.llm.native import BATCH, NativeModel
from alina.llm.prefix_store import Prefixes
from alina.llm.sampling import Sampler
from alina.llm.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered conversation."""

    tokens: list[int]
    #: how many of them come from the system message alone, and so begin other prompts too
    static: int


class Engine:
    """One model file, mapped and ready. Not safe to use from two threads at once."""

    def __init__(
        self,
        path: Path,
        *,
        context_length: int,
        threads: int,
        prefixes: Prefixes,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """`vocabulary`: of this file, if it is in memory already. Raises ModelUnavailable with the reason."""
        self._native = NativeModel(
            path, context_length=context_length, threads=threads, vocabulary=vocabulary
        )
        self._words = self._native.words
        template = self._words.template
        if template is None:
            raise ModelUnavailable(f"model {path} has no chat template: use an instruction-tuned GGUF file")
        self._template = template
        self._prefixes = prefixes
        self._evaluated: list[int] = []

    def close(self) -> None:
        """Give the memory back. Nothing else may be called afterwards."""
        self._native.close()

    def prompt(self, messages: tuple[Message, ...]) -> Prompt:
        """The conversation in the model's own chat template, ready for its answer."""
        tokens = self._rendered(messages)
        system = tuple(takewhile(lambda each: each.role == "system", messages))
        rest = messages[len(system) :]
        if not (system and rest):
            return Prompt(tokens, 0)
        # Another first letter: whatever template and tokeniser do, only what is static stays.
        letter = "b" if rest[0].content.startswith("a") else "a"
        other = self._rendered((*system, Message(rest[0].role, letter)))
        return Prompt(tokens, _common(tokens, other))

    def generate(
        self,
        prompt: Prompt,
        *,
        grammar: str | None,
        temperature: Decimal,
        seed: int,
        interrupt: Callable[[], None],
    ) -> Generator[int]:
        """Tokens of an answer until the model ends it.

        `interrupt` is called before each evaluation and stops generation by raising.
        """
        native, tokens = self._native, prompt.tokens
        with Sampler(
            native.context, self._words.handle, grammar=grammar, temperature=temperature, seed=seed
        ) as sampler:
            # The last token is always evaluated again: the first draw needs its logits.
            static = _whole_batches(min(prompt.static, len(tokens) - 1))
            for start in range(self._resume(tokens, static), len(tokens), BATCH):
                interrupt()
                if start == static:
                    self._keep_prefix(tokens[:static])
                native.evaluate(tokens[start : start + BATCH])
            self._evaluated = tokens
            while not sampler.ends_answer(token := sampler.next_token()):
                yield token
                interrupt()
                native.evaluate([token])

    def spelt(self, token: int) -> bytes:
        """The token's part of the text, in UTF-8; a character may go on in the next one's."""
        return self._words.spelt(token)

    def _resume(self, tokens: list[int], static: int) -> int:
        """Empty the context but for whole batches that `tokens` begins with. Returns how many tokens stay."""
        common = min(_common(tokens, self._evaluated), len(tokens) - 1)
        self._evaluated = []
        kept = _whole_batches(common)
        state = self._prefixes.get(tokens[:static]) if kept < static else None
        if state is None:
            return self._native.keep(kept)
        if self._native.restore(state):
            return static
        self._prefixes.drop(tokens[:static])
        return self._native.keep(0)

    def _keep_prefix(self, prefix: list[int]) -> None:
        if prefix and self._prefixes.lacks(prefix):
            self._prefixes.put(prefix, self._native.state())

    def _rendered(self, messages: tuple[Message, ...]) -> list[int]:
        turns: list[Any] = [{"role": each.role, "content": self._defused(each.content)} for each in messages]
        try:
            text = self._template(messages=turns).prompt
        except (TemplateError, ValueError) as error:
            raise ModelError(f"the model's chat template refuses these messages: {error}") from error
        return self._words.tokens(text.encode())

    def _defused(self, content: str) -> str:
        """`content` in which no control token, such as the end of a turn, can be read."""
        return self._words.control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", content)


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _whole_batches(count: int) -> int:
    return count // BATCH * BATCH
