"""llama.cpp as this project uses it: one loaded file, one context, quiet.

Everything that touches llama-cpp-python's own classes is here and in `sampling`.
"""

import ctypes
import re
from collections import deque
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Any

import llama_cpp
from jinja2 import TemplateError
from llama_cpp._ggml import libggml
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from alina.domain.runs import Message
from alina.errors import ModelError, ModelUnavailable
from alina.llm.sampling import Sampler

#: tokens evaluated between two looks at the clock; larger batches are no faster on a CPU
BATCH = 64
_ERROR_LEVEL = 4  # ggml_log_level
_complaints: deque[str] = deque(maxlen=2)


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_errors(level: int, text: bytes, user_data: Any) -> None:
    """Stands in for llama.cpp's own printing: its errors explain a failed load."""
    if level == _ERROR_LEVEL:
        _complaints.append(text.decode(errors="replace").strip())


def build() -> str:
    """The version of llama-cpp-python, of the ggml in it, and what of this processor that one uses.

    Texts are the same bit for bit only where all of it is.
    """
    parts = []
    for function in (libggml.ggml_version, libggml.ggml_commit):
        function.restype = ctypes.c_char_p
        parts.append(function().decode())
    features = re.findall(r"(\w+) = 1\b", llama_cpp.llama_print_system_info().decode())
    return f"{llama_cpp.__version__}, ggml {'-'.join(parts)}, {' '.join(features)}"


class Engine:
    """One model file, mapped and ready. Not safe to use from two threads at once."""

    def __init__(self, path: Path, *, context_length: int, threads: int) -> None:
        """Raises ModelUnavailable with llama.cpp's own reason."""
        llama_cpp.llama_log_set(_keep_errors, None)
        _complaints.clear()
        try:
            self._llama = llama_cpp.Llama(
                str(path),
                n_ctx=context_length,
                n_batch=BATCH,
                n_threads=threads,
                n_threads_batch=threads,
                verbose=False,
            )
        except (ValueError, RuntimeError, MemoryError) as error:
            reason = "; ".join(_complaints) or str(error)
            raise ModelUnavailable(
                f"model {path} does not load with llama-cpp-python {llama_cpp.__version__}: {reason}. "
                "Free some memory, lower models.context_length, or name another file in models.default"
            ) from error
        self._template = _chat_template(self._llama, path)
        self._control = _control_tokens(self._llama)
        self._evaluated: list[int] = []

    def prompt_tokens(self, messages: tuple[Message, ...]) -> list[int]:
        """The conversation in the model's own chat template, ready for its answer."""
        turns: list[Any] = [{"role": each.role, "content": self._defused(each.content)} for each in messages]
        try:
            prompt = self._template(messages=turns).prompt.encode()
        except (TemplateError, ValueError) as error:
            raise ModelError(f"the model's chat template refuses these messages: {error}") from error
        return self._llama.tokenize(prompt, add_bos=False, special=True)

    def generate(
        self,
        prompt: list[int],
        *,
        grammar: str | None,
        temperature: Decimal,
        seed: int,
        interrupt: Callable[[], None],
    ) -> Generator[int]:
        """Tokens of an answer until the model ends it.

        `interrupt` is called before each evaluation and stops generation by raising.
        """
        with Sampler(self._llama, grammar, temperature, seed) as sampler:
            for start in range(self._rewind(prompt), len(prompt), BATCH):
                interrupt()
                self._evaluate(prompt[start : start + BATCH])
            self._evaluated = prompt
            while not sampler.ends_answer(token := sampler.next_token()):
                yield token
                interrupt()
                self._evaluate([token])

    def _rewind(self, prompt: list[int]) -> int:
        """Empty the context but for the whole batches that the last prompt began with as well.

        Batches begin at fixed places, so a kept batch holds exactly what evaluating it again
        would give: whether it is kept changes the speed and never the text.
        """
        pairs = zip(prompt, self._evaluated, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        # The last token is always evaluated again: the first draw needs its logits.
        kept = min(common, len(prompt) - 1) // BATCH * BATCH
        self._evaluated = []
        memory = llama_cpp.llama_get_memory(self._llama.ctx)
        if not llama_cpp.llama_memory_seq_rm(memory, 0, kept, -1):
            llama_cpp.llama_memory_clear(memory, True)
            kept = 0
        self._llama.n_tokens = kept
        return kept

    def spelt(self, token: int) -> bytes:
        """The token's part of the text, in UTF-8; a character may go on in the next one's."""
        return self._llama.detokenize([token])

    def _evaluate(self, tokens: list[int]) -> None:
        try:
            self._llama.eval(tokens)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp could not evaluate the prompt: {error}") from error

    def _defused(self, content: str) -> str:
        """`content` in which no control token, such as the end of a turn, can be read."""
        return self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", content)


class _ChatTemplate(Jinja2ChatFormatter):
    """The model's template with a fixed date: a prompt must not depend on the day it is rendered."""

    @staticmethod
    def strftime_now(f: str) -> str:
        return datetime(2025, 1, 1, tzinfo=UTC).strftime(f)


def _chat_template(llama: llama_cpp.Llama, path: Path) -> _ChatTemplate:
    source = llama.metadata.get("tokenizer.chat_template")
    if source is None:
        raise ModelUnavailable(f"model {path} has no chat template: use an instruction-tuned GGUF file")
    vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
    bos, eos = (
        llama_cpp.llama_vocab_get_text(vocabulary, token).decode() if token != -1 else ""
        for token in (llama.token_bos(), llama.token_eos())
    )
    return _ChatTemplate(template=source, bos_token=bos, eos_token=eos)


def _control_tokens(llama: llama_cpp.Llama) -> re.Pattern[str]:
    """Matches the text of every token that structures a conversation instead of being said in it."""
    vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
    texts = (
        llama_cpp.llama_vocab_get_text(vocabulary, token).decode(errors="replace")
        for token in range(llama_cpp.llama_vocab_n_tokens(vocabulary))
        if llama_cpp.llama_vocab_is_control(vocabulary, token)
    )
    return re.compile("|".join(re.escape(text) for text in texts if len(text) > 1) or r"(?!)")
