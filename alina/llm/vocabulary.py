"""The words of a model: texts to tokens and back, and what else the head of its file says.

llama.cpp keeps them in ordinary memory, a copy in each process that opens the file: 16 MB for 49,000 tokens,
41 MB for 262,000. They are never written again, so what is read before a fork serves all children.
"""

import ctypes
import re
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import llama_cpp
from jinja2 import TemplateError
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from alina.errors import ModelError, ModelUnavailable


class ChatTemplate(Jinja2ChatFormatter):
    """The model's template with a fixed date: a prompt must not depend on the day it is rendered."""

    @staticmethod
    def strftime_now(f: str) -> str:
        return datetime(2025, 1, 1, tzinfo=UTC).strftime(f)


class Vocabulary:
    """Of one model file. Safe to use from several threads, and in processes that are forked later."""

    def __init__(self, model: Any) -> None:
        """`model`: llama.cpp's, which must outlive this."""
        self._model = model
        #: llama.cpp's
        self.handle = llama_cpp.llama_model_get_vocab(model)

    def __len__(self) -> int:
        return int(llama_cpp.llama_vocab_n_tokens(self.handle))

    def metadata(self, key: str) -> str | None:
        """A text of the file's header."""
        length = llama_cpp.llama_model_meta_val_str(self._model, key.encode(), None, 0)
        if length < 0:
            return None
        buffer = ctypes.create_string_buffer(length + 1)
        llama_cpp.llama_model_meta_val_str(self._model, key.encode(), buffer, length + 1)
        return buffer.value.decode(errors="replace")

    def tokens(self, text: bytes) -> list[int]:
        """`text` in the model's vocabulary, its control tokens read as such. Raises ModelError."""
        room = len(text) + 8  # no tokeniser makes more tokens than bytes, but for those it adds
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.handle, text, len(text), buffer, room, False, True)
        if count < 0:
            raise ModelError(f"llama.cpp cannot read a prompt of {len(text)} bytes: shorten it")
        return buffer[:count]

    def spelt(self, token: int) -> bytes:
        """The token's part of the text, in UTF-8; a character may go on in the next one's."""
        room = 128
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = llama_cpp.llama_token_to_piece(self.handle, token, buffer, room, 0, False)
            if length >= 0:
                return buffer.raw[:length]
            room = -length

    @cached_property
    def template(self) -> ChatTemplate | None:
        """How a conversation is written; None for a model that was not made for any.

        Raises ModelUnavailable for one that is no Jinja.
        """
        source = self.metadata("tokenizer.chat_template")
        if source is None:
            return None
        begin, end = llama_cpp.llama_vocab_bos(self.handle), llama_cpp.llama_vocab_eos(self.handle)
        try:
            return ChatTemplate(source, eos_token=self._name_of(end), bos_token=self._name_of(begin))
        except TemplateError as error:
            raise ModelUnavailable(
                f"the model's chat template cannot be read ({error}): name another GGUF file"
            ) from error

    @cached_property
    def control(self) -> re.Pattern[str]:
        """Finds the texts of the tokens that structure a conversation instead of being said in it."""
        every = range(len(self))
        tokens = (one for one in every if llama_cpp.llama_vocab_is_control(self.handle, one))
        texts = (re.escape(text) for text in map(self._name_of, tokens) if len(text) > 1)
        return re.compile("|".join(texts) or r"(?!)")

    def prepare(self) -> None:
        """Make now what its first use would make. Raises ModelUnavailable as `template` does."""
        _ = self.template, self.control
        self.tokens(b"It's 1")  # with tables of its own

    def _name_of(self, token: int) -> str:
        """The token as the vocabulary has it; empty for none."""
        text = llama_cpp.llama_vocab_get_text(self.handle, token) if token != -1 else b""
        return str(text.decode(errors="replace"))
