"""Tokens a second of our layer beside raw llama-cpp-python: same file, threads, prompt and length."""

import statistics
import time
from collections.abc import Callable
from decimal import Decimal

import pytest
from llama_cpp import Llama
from rich.console import Console
from rich.table import Table

from alina.agents.trading import SYSTEM_PROMPT
from alina.config import Settings
from alina.domain.runs import CompletionRequest, Message
from alina.llm import registry

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
TOKENS, ROUNDS = 100, 7
USER = "BTC/USDT, 1h candles, price 6700.2. What does the trend say? Write about it at length."


def test_tokens_a_second_beside_the_bare_library() -> None:
    """Free text, and another prompt each round: neither side may keep what it has evaluated before."""
    source = Settings().models.default
    ours = registry.open_model(source, context_length=2048, threads=1)
    raw = Llama(str(registry.model_path(source)), n_ctx=2048, n_threads=1, n_threads_batch=1, verbose=False)

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
    table.add_row("ratio", f"{medians['ours'] / medians['raw llama-cpp-python']:.2f}")
    Console(width=100).print(table)
    assert all(value > 0 for value in medians.values())


def _speed(call: Callable[[int], int], number: int) -> float:
    began = time.perf_counter()
    return call(number) / (time.perf_counter() - began)
