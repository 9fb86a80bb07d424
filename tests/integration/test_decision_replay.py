"""A decision is replayed bit for bit on any worker; where the model is another, that is said and shown.

`make soak` does the same with 200 decisions.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from ledger_cases import IN_POSTGRES, run
from replay_cases import stored_and_replayed

from alina.domain.ports import Model
from alina.domain.runs import Completion, CompletionRequest, Message, ModelCall, ModelIdentity, Run
from alina.errors import ModelError
from alina.ledger import Ledger
from alina.orchestrator.replay import is_same, replay

IDENTITY = ModelIdentity(
    name="small.gguf",
    backend="llama_cpp",
    sha256="a" * 64,
    build="0.3.36, ggml 1",
    context_length=512,
    threads=1,
    batch=64,
)
REQUEST = CompletionRequest(
    messages=(Message("user", "Buy?"),),
    json_schema=None,
    max_tokens=20,
    temperature=Decimal(0),
    seed=1,
    deadline_seconds=Decimal(200),
)


@pytest.mark.timeout(900)  # seconds where nothing else runs, minutes where much does
@IN_POSTGRES
def test_twenty_decisions_of_a_worker_are_replayed_bit_for_bit_by_another(ledger: Ledger) -> None:
    pairs = stored_and_replayed(ledger, 20)
    for stored, calls in pairs:
        assert is_same(calls), (stored.key, [call.difference() for call in calls])
    assert len({calls[0].now for _, calls in pairs}) > 5


class Answers:
    """A model that says one thing."""

    def __init__(self, identity: ModelIdentity, text: str) -> None:
        self.identity, self._text = identity, text

    def complete(self, request: CompletionRequest, on_text: Any = None) -> Completion:
        return Completion(
            text=self._text,
            model=self.identity,
            prompt_tokens=1,
            completion_tokens=1,
            elapsed_ms=1,
            finish_reason="stop",
        )


def decided(model: Model) -> Run:
    call = ModelCall(attempt=1, request=REQUEST, completion=model.complete(REQUEST))
    return run(calls=(call,))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"sha256": "b" * 64, "name": "other.gguf"}, ("sha256",)),
        ({"build": "0.3.37, ggml 2"}, ("build",)),
        ({"threads": 4, "batch": 512}, ("threads", "batch")),
        ({"name": "the same file under another name"}, ()),
    ],
)
def test_another_model_build_or_layout_is_named_beside_the_text(
    changes: dict[str, Any], names: tuple[str, ...]
) -> None:
    now = replace(IDENTITY, **changes)
    (call,) = calls = replay(decided(Answers(IDENTITY, "hold")), lambda _: Answers(now, "hold"))
    assert call.is_equal
    assert call.changed == names
    assert is_same(calls) == (not names)
    removed = [line for line in call.difference() if line.startswith("-") and line != "--- then"]
    assert removed == [f"-{name}: {getattr(IDENTITY, name)}" for name in names]


def test_another_text_is_shown_as_a_difference() -> None:
    calls = replay(decided(Answers(IDENTITY, "hold\nor not")), lambda _: Answers(IDENTITY, "buy\nor not"))
    assert not is_same(calls)
    assert calls[0].difference()[3:] == ["-hold", "+buy", " or not"]


def test_a_run_that_asked_no_model_says_so() -> None:
    with pytest.raises(ModelError, match="nothing to replay"):
        replay(run(), lambda _: Answers(IDENTITY, ""))
