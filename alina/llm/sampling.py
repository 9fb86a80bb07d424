"""Drawing the next token: a seeded chain of samplers, held to a grammar.

The draw is made freely first and checked against the grammar; only a token that the grammar
refuses is drawn again with the grammar applied to the whole vocabulary. Most draws pass, and
applying a grammar to every token of the vocabulary each time costs a third of the speed.
"""

import ctypes
import math
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import llama_cpp
import numpy

from alina.errors import ModelError

_TOP_K, _TOP_P, _MIN_P = 40, 0.95, 0.05
_TOKEN_DATA = numpy.dtype([("id", numpy.int32), ("logit", numpy.float32), ("p", numpy.float32)])


class Sampler:
    """The draws of one answer. Use as a context manager: it owns native memory."""

    def __init__(
        self, context: Any, vocabulary: Any, *, grammar: str | None, temperature: Decimal, seed: int
    ) -> None:
        """Raises ModelError if the engine cannot read `grammar` (GBNF)."""
        self._context, self._vocabulary = context, vocabulary
        self._size = llama_cpp.llama_vocab_n_tokens(self._vocabulary)
        self._grammar = None if grammar is None else self._compiled(grammar)
        self._chain = _chain(temperature, seed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        llama_cpp.llama_sampler_free(self._chain)
        if self._grammar is not None:
            llama_cpp.llama_sampler_free(self._grammar)

    def next_token(self) -> int:
        """Draw from the logits of the last evaluated token."""
        token = int(llama_cpp.llama_sampler_sample(self._chain, self._context, -1))
        if self._grammar is None:
            return token
        if not self._allowed(token):
            token = self._constrained()
        llama_cpp.llama_sampler_accept(self._grammar, token)
        return token

    def ends_answer(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self._vocabulary, token))

    def _compiled(self, grammar: str) -> Any:
        sampler = llama_cpp.llama_sampler_init_grammar(self._vocabulary, grammar.encode(), b"root")
        if not sampler:
            raise ModelError(f"llama.cpp cannot read the grammar of this schema: {grammar[:200]}")
        return sampler

    def _allowed(self, token: int) -> bool:
        candidate = numpy.array([(token, 0.0, 0.0)], dtype=_TOKEN_DATA)
        llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(_candidates(candidate)))
        return bool(candidate["logit"][0] > -math.inf)

    def _constrained(self) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, -1)
        tokens = numpy.empty(self._size, dtype=_TOKEN_DATA)
        tokens["id"] = numpy.arange(self._size, dtype=numpy.int32)
        tokens["logit"] = numpy.ctypeslib.as_array(logits, shape=(self._size,))
        tokens["p"] = 0
        candidates = _candidates(tokens)
        llama_cpp.llama_sampler_apply(self._grammar, ctypes.byref(candidates))
        llama_cpp.llama_sampler_apply(self._chain, ctypes.byref(candidates))
        return int(candidates.data[candidates.selected].id)


def _chain(temperature: Decimal, seed: int) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if temperature <= 0:
        steps = [llama_cpp.llama_sampler_init_greedy()]
    else:
        steps = [
            llama_cpp.llama_sampler_init_top_k(_TOP_K),
            llama_cpp.llama_sampler_init_top_p(_TOP_P, 1),
            llama_cpp.llama_sampler_init_min_p(_MIN_P, 1),
            llama_cpp.llama_sampler_init_temp(float(temperature)),
            # The largest 32-bit seed means "draw one at random" to llama.cpp.
            llama_cpp.llama_sampler_init_dist(seed % llama_cpp.LLAMA_DEFAULT_SEED),
        ]
    for step in steps:
        llama_cpp.llama_sampler_chain_add(chain, step)
    return chain


def _candidates(tokens: Any) -> Any:
    data = tokens.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
    return llama_cpp.llama_token_data_array(data=data, size=len(tokens), selected=-1, sorted=False)
