"""The Python door against the running system."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from running_system import SYMBOL, RunningSystem

from alina import Client
from alina.domain.runs import Answer, RunResult, RunState
from alina.errors import ConfigError
from alina.llm.streaming import StreamKind

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def client(system: RunningSystem) -> Iterator[Client]:
    client = Client(system.config)
    with closing(client.app):
        yield client


def test_a_run_from_python_gives_a_typed_result(client: Client, system: RunningSystem) -> None:
    result = client.run("trading", symbol=SYMBOL).get(timeout=200)

    assert isinstance(result, RunResult)
    assert (result.agent, result.symbol) == ("trading", SYMBOL)
    assert result.state is not RunState.STARTED
    with system.runtime.unit_of_work() as uow:
        assert uow.ledger.run(result.run_id).summary == result.summary


def test_a_plain_celery_task_gives_the_same_result_as_json(client: Client) -> None:
    answer = client.app.send_task("market.run_cycle", ["trading", SYMBOL]).get(timeout=200)

    assert RunResult.from_json(answer).symbol == SYMBOL


def test_the_same_key_twice_gives_the_same_run(client: Client) -> None:
    sent = [client.send("market.run_cycle", "trading", SYMBOL, None, "a key of a test") for _ in range(2)]

    first, second = (RunResult.from_json(one.get(timeout=200)) for one in sent)

    assert first == second


def test_a_question_is_answered_while_it_is_read(client: Client) -> None:
    pending = client.ask("What is slippage?")
    *before, end = client.stream(pending, timeout=200)
    begin = max(number for number, event in enumerate(before) if event.kind is StreamKind.BEGIN)

    assert end.answer == pending.get(timeout=200)
    assert end.answer is not None
    assert "".join(event.text for event in before[begin + 1 :]) == end.answer.text
    assert end.answer.completion_tokens > 0


def test_a_run_tells_what_its_model_answers(client: Client, system: RunningSystem) -> None:
    pending = client.run("trading", symbol=SYMBOL)
    end = list(client.stream(pending, timeout=200))[-1]
    result = pending.get(timeout=200)

    assert result.run_id == pending.stream_id
    with system.runtime.unit_of_work() as uow:
        calls = uow.ledger.run(result.run_id).calls
    if end.kind is StreamKind.END:
        assert end.answer == Answer.of(calls[-1].completion)
    else:  # a failure that was worth repeating, or an end without an answer
        assert end.kind is StreamKind.ERROR
        assert end.text


@pytest.mark.parametrize(
    ("agent", "symbol", "setting"),
    [("nobody", SYMBOL, "trading.agents"), ("trading", "ETH/USDT", "market.symbols")],
)
def test_an_unknown_name_is_our_error_at_the_client(
    client: Client, agent: str, symbol: str, setting: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(setting)):
        client.run(agent, symbol=symbol).get(timeout=200)


def test_the_example_of_the_readme_runs_as_it_stands(system: RunningSystem) -> None:
    example = re.search(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    if example is None:
        pytest.skip("README.md has no example in Python yet")

    done = subprocess.run(
        [sys.executable, "-c", example[1]],
        env={**os.environ, "ALINA_CONFIG": str(system.config)},
        cwd=system.home,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
