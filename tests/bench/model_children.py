"""Processes that hold a model each, as the children of the inference worker do."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import psutil

from alina.domain.runs import CompletionRequest, Message
from alina.llm import native, registry

CONTEXT, TOKENS = 2048, 64


@dataclass(frozen=True)
class Child:
    """What one child does: nothing but importing, where `source` is None."""

    source: str | None
    threads: int = 1
    #: let llama.cpp repack weights for this processor, as it does by default
    repack: bool = False


class Children:
    """Several at once, all warm."""

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
    started = []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_live, args=(theirs, child))
        process.start()
        started.append((process, ours))
    try:
        for _, pipe in started:
            pipe.recv()  # warm
        yield Children([pipe for _, pipe in started], [process.pid or 0 for process, _ in started])
    finally:
        for process, pipe in started:
            pipe.send(None)
            process.join(30)


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


def _live(pipe: "Connection[Any, Any]", child: Child) -> None:
    model = None
    if child.source is not None:
        _repacking(child.repack)
        model = registry.open_model(child.source, context_length=CONTEXT, threads=child.threads)
        model.complete(request(0, tokens=8))
    pipe.send("warm")
    while (calls := pipe.recv()) is not None:
        assert model is not None
        pipe.send(sum(model.complete(request(number)).completion_tokens for number in range(calls)))


def _repacking(wanted: bool) -> None:
    options = native._model_options

    def changed() -> Any:
        made = options()
        made.use_extra_bufts = wanted
        return made

    native._model_options = changed
