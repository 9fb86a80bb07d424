"""Processes that hold a model each, forked from one as the children of the inference worker are."""

import gc
import importlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import llama_cpp
import psutil

from alina.domain.runs import CompletionRequest, Message
from alina.llm import native, registry
from alina.llm.vocabulary import Vocabulary

CONTEXT, TOKENS = 2048, 64
#: what opening a model imports: Python's, whatever the model
CODE = ("alina.llm.llama_cpp", "gguf.constants")


@dataclass(frozen=True)
class Child:
    """What one child does. One whose source is a script shows what Python takes."""

    source: str
    threads: int = 1
    #: let llama.cpp repack weights for this processor, as it does by default
    repack: bool = False
    #: read the vocabulary before the fork, as the worker does
    shares_words: bool = True


class Children:
    """Several at once, all warm, and the worker that they were forked from."""

    def __init__(self, pipes: list[Any], pids: list[int]) -> None:
        self._pipes, self._pids = pipes, pids

    def pss(self) -> int:
        """Bytes of all of them together; a page that several share counts once."""
        return sum(psutil.Process(pid).memory_full_info().pss for pid in self._pids)

    def tokens_per_second(self, calls: int) -> float:
        """Of all together, from the first question to the last answer."""
        began = time.perf_counter()
        for pipe in self._pipes:
            pipe.send(calls)
        tokens = sum(pipe.recv() for pipe in self._pipes)
        return tokens / (time.perf_counter() - began)


@contextmanager
def children(count: int, child: Child) -> Iterator[Children]:
    """So many of this kind, until the block ends."""
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    worker = context.Process(target=_fork, args=([theirs for _, theirs in pipes], child))
    worker.start()
    ours = [pipe for pipe, _ in pipes]
    try:
        pids = [pipe.recv() for pipe in ours]  # warm
        yield Children(ours, [worker.pid or 0, *pids])
    finally:
        for pipe in ours:
            pipe.send(None)
        worker.join(30)


def context_bytes(source: str) -> int:
    """What one more context of an open model takes: keys and values, and llama.cpp's working memory."""
    with get_context("spawn").Pool(1) as processes:
        return int(processes.apply(_context_bytes, (source,)))


def request(number: int, *, system: str = "You trade.", tokens: int = TOKENS) -> CompletionRequest:
    """Another question for each number, after the same system message."""
    asked = f"Case {number}: BTC/USDT, price {6000 + number}. What does the trend say? Write at length."
    return CompletionRequest(
        messages=(Message("system", system), Message("user", asked)),
        json_schema=None,
        max_tokens=tokens,
        temperature=Decimal(0),
        seed=1,
        deadline_seconds=Decimal(600),
    )


def _fork(pipes: "list[Connection[Any, Any]]", child: Child) -> None:
    """The worker: it reads words before it forks, and nothing else of a model; see `workers.app`."""
    _repacking(child.repack)
    for module in CODE:
        importlib.import_module(module)
    words = registry.read_vocabularies(child.source) if child.shares_words else registry.NO_VOCABULARIES
    gc.freeze()
    forks = [get_context("fork").Process(target=_live, args=(pipe, child, words)) for pipe in pipes]
    for fork in forks:
        fork.start()
    for fork in forks:
        fork.join()


def _live(pipe: "Connection[Any, Any]", child: Child, words: registry.Vocabularies) -> None:
    model = registry.open_model(
        child.source, context_length=CONTEXT, threads=child.threads, vocabularies=words
    )
    model.complete(request(0, tokens=8))
    pipe.send(os.getpid())
    while (calls := pipe.recv()) is not None:
        pipe.send(sum(model.complete(request(number)).completion_tokens for number in range(calls)))


def _repacking(wanted: bool) -> None:
    options = native._model_options

    def changed(vocabulary: Vocabulary | None = None) -> Any:
        made = options(vocabulary)
        made.use_extra_bufts = wanted
        return made

    native._model_options = changed


def _context_bytes(source: str) -> int:
    model = native.NativeModel(registry.model_path(source), context_length=CONTEXT, threads=1)
    tokens = model.words.tokens(b"The price rose, then fell. " * native.BATCH)[: native.BATCH]
    model.evaluate(tokens)
    before = psutil.Process().memory_full_info().uss
    options = native._context_options(CONTEXT, 1)
    model.context = llama_cpp.llama_init_from_model(model.model, options)
    model.evaluate(tokens)
    return int(psutil.Process().memory_full_info().uss - before)
