"""Local models: speed beside raw llama-cpp-python, prefixes, memory of several children, and their layout."""

import os
import shutil
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from llama_cpp import Llama
from model_children import CONTEXT, Child, children, context_bytes, request
from rich.console import Console
from rich.table import Table

from alina.agents.trading import SYSTEM_PROMPT
from alina.config import Settings
from alina.domain.runs import CompletionRequest, Message
from alina.llm import opening, registry
from alina.llm.prefix_store import PrefixStore

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
SOURCE = Settings().models.default
TOKENS, ROUNDS = 100, 7
USER = "BTC/USDT, 1h candles, price 6700.2. What does the trend say? Write about it at length."
#: repeats of a sentence of 23 tokens or so
PREFIX = 44
CORES = len(os.sched_getaffinity(0))
MB = 10**6


def test_tokens_a_second_beside_the_bare_library() -> None:
    """Free text, and another prompt each round: neither side may keep what it has evaluated before."""
    ours = registry.open_model(SOURCE, context_length=CONTEXT, threads=1)
    raw = Llama(
        str(registry.model_path(SOURCE)), n_ctx=CONTEXT, n_threads=1, n_threads_batch=1, verbose=False
    )

    def messages(number: int) -> tuple[Message, ...]:
        return Message("system", f"Round {number}. {SYSTEM_PROMPT}"), Message("user", USER)

    def through_us(number: int) -> int:
        request = CompletionRequest(
            messages=messages(number),
            json_schema=None,
            max_tokens=TOKENS,
            temperature=Decimal(0),
            seed=1,
            deadline_seconds=Decimal(120),
        )
        return ours.complete(request).completion_tokens

    def bare(number: int) -> int:
        asked = [{"role": message.role, "content": message.content} for message in messages(number)]
        answer = raw.create_chat_completion(messages=asked, max_tokens=TOKENS, temperature=0.0, seed=1)
        return int(answer["usage"]["completion_tokens"])

    speeds: dict[str, list[float]] = {"ours": [], "raw llama-cpp-python": []}
    for number in range(ROUNDS):  # by turns, so that a busy machine slows both
        speeds["ours"].append(_speed(through_us, number))
        speeds["raw llama-cpp-python"].append(_speed(bare, number))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    table = Table("tokens/s, 1 thread", "median", title=f"{TOKENS} tokens, prompt time included")
    for name, median in medians.items():
        table.add_row(name, f"{median:.1f}")
    table.add_row("ratio (target: 0.97 or more)", f"{medians['ours'] / medians['raw llama-cpp-python']:.2f}")
    Console(width=100).print(table)
    assert all(value > 0 for value in medians.values())


def test_time_to_the_first_token_after_a_prefix_that_was_evaluated_before(tmp_path: Path) -> None:
    """A prefix of 1,000 tokens: the first call, the second, and those of four agents who take turns."""
    rules = (
        PREFIX * "Rules of the desk: buy low, sell high, never chase, size by risk, and say why in one line. "
    )
    store = PrefixStore(tmp_path, ram_bytes=256 * MB, disk_bytes=1000 * MB)
    on_disk = PrefixStore(tmp_path, ram_bytes=0, disk_bytes=1000 * MB)
    model, other = (
        registry.open_model(SOURCE, context_length=CONTEXT, threads=1, prefixes=each)
        for each in (store, on_disk)
    )

    def seconds(agent: int, number: int, asked: object = model) -> float:
        question = request(number, system=f"You are agent {agent}. " + rules, tokens=1)
        began = time.perf_counter()
        asked.complete(question)  # type: ignore[attr-defined]
        return time.perf_counter() - began

    first = [seconds(agent, 0) for agent in range(4)]
    alternating = [seconds(agent, number) for number in (1, 2) for agent in range(4)]
    disk = [seconds(agent, 3, other) for agent in range(4)]
    alone = [seconds(3, number) for number in range(4, 8)]
    table = Table("first token", "median s", "beside the first call", title="1 thread")
    for name, times in (
        ("first call", first),
        ("second call, the same agent", alone),
        ("four agents by turns", alternating),
        ("another process, from disk", disk),
    ):
        median = statistics.median(times)
        table.add_row(name, f"{median:.3f}", f"{median / statistics.median(first):.3f}")
    table.caption = "target: 0.15 or less"
    Console(width=100).print(table)
    assert statistics.median(alternating) < statistics.median(first)


def test_memory_of_four_children_beside_one(tmp_path: Path, quantised: Callable[[Path, str], Path]) -> None:
    """What a worker and its children take beyond Python, beside one set of weights and four contexts."""
    q4_0 = str(quantised(tmp_path / "Q4_0.gguf", "Q4_0"))
    # a copy: weights that others have mapped would be counted in part
    q4_1 = str(shutil.copy(registry.model_path(SOURCE), tmp_path))
    script = tmp_path / "answers.jsonl"
    script.write_text('{"text": "hold"}\n')
    python = {count: _memory(count, Child(f"scripted:{script}")) for count in (1, 4)}
    table = Table("MB", "one", "four", "bound", "ratio", "beside keys and values alone")
    for name, child in (
        ("Q4_1, as shipped", Child(q4_1)),
        ("the same, words not shared", Child(q4_1, shares_words=False)),
        ("Q4_0", Child(q4_0)),
        ("Q4_0, repacked by llama.cpp", Child(q4_0, repack=True)),
    ):
        one, four = (_memory(count, child) - python[count] for count in (1, 4))
        need, context = registry.memory_needed(child.source, CONTEXT), context_bytes(child.source)
        bound, least = need.weights + 4 * context, need.weights + 4 * need.context
        cells = (f"{each / MB:.0f}" for each in (one, four, bound))
        table.add_row(name, *cells, f"{four / bound:.2f}", f"{four / least:.2f}")
    table.caption = (
        f"target: 1.15 or less. Bound: {need.weights / MB:.0f} MB of weights, and four contexts as llama.cpp "
        f"makes them, {context / MB:.0f} MB for {CONTEXT} tokens, keys and values {need.context / MB:.0f} MB "
        "of it. "
        f"Python aside: {python[1] / MB:.0f} and {python[4] / MB:.0f} MB"
    )
    Console(width=100).print(table)


def _memory(count: int, child: Child) -> int:
    with children(count, child) as some:
        return some.pss()


def test_tokens_a_second_of_children_and_threads() -> None:
    """The layouts between which the defaults choose."""
    chosen = opening.threads_a_child(Settings())
    concurrency = Settings().execution.concurrency
    table = Table("children x threads", "tokens/s in all", title=f"{CORES} cores, eight answers each")
    rates = {}
    for count, threads in ((4, 1), (2, 1), (1, 2), (1, 1)):
        with children(count, Child(SOURCE, threads=threads)) as some:
            rates[count, threads] = some.tokens_per_second(8)
    for (count, threads), rate in rates.items():
        default = "  (the default here)" if (count, threads) == (concurrency, chosen) else ""
        table.add_row(f"{count} x {threads}{default}", f"{rate:.0f}")
    Console(width=100).print(table)
    assert all(rate > 0 for rate in rates.values())


def _speed(call: Callable[[int], int], number: int) -> float:
    began = time.perf_counter()
    return call(number) / (time.perf_counter() - began)
