"""Text to vectors with WordLlama: static embeddings that travel inside its own package."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy

from alina.errors import MemoryStoreError

_DIMENSIONS = 256


class WordLlamaEmbedder:
    """An `Embedder` of unit vectors; a text without any token becomes all zeros.

    The weights are loaded at the first use, from the installed package, never from a network.
    """

    @property
    def dimensions(self) -> int:
        return _DIMENSIONS

    def embed(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Raises MemoryStoreError if WordLlama's files are not installed."""
        if not texts:
            return []
        vectors = self._model.embed(list(texts))
        lengths = numpy.linalg.norm(vectors, axis=1, keepdims=True)
        return [tuple(vector.tolist()) for vector in vectors / numpy.where(lengths == 0, 1, lengths)]

    @cached_property
    def _model(self) -> Any:
        spec = find_spec("wordllama")
        if spec is None or spec.origin is None:
            raise MemoryStoreError("WordLlama is not installed: run `pip install wordllama`")
        try:
            with _logging_untouched():
                from wordllama import WordLlama
            return WordLlama.load(cache_dir=Path(spec.origin).parent, dim=_DIMENSIONS, disable_download=True)
        except FileNotFoundError as error:
            raise MemoryStoreError(f"WordLlama is incomplete ({error}): install it again") from error


@contextmanager
def _logging_untouched() -> Iterator[None]:
    """WordLlama configures the root logger when it is imported; that is ours to do."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
