"""What the probe makes of a model's answers."""

import json
from decimal import Decimal

import pytest

from alina.llm.probe import percentile, probe
from alina.llm.scripted import ScriptedModel

GOOD = {"rationale": "the trend is up", "action": "buy", "confidence": 70, "size_percent": 20}
BAD = ({"text": "no JSON"}, {**GOOD, "size_percent": 0}, {"error": "busy"})


FREE = (Decimal(0), Decimal(0))


def scripted(*answers: object) -> ScriptedModel:
    script = "\n".join(json.dumps(answer) for answer in answers).encode()
    return ScriptedModel("script", script, context_length=2048, threads=1)


def test_answers_that_do_not_fit_or_come_too_late_are_not_valid() -> None:
    measured = probe(
        scripted(GOOD, *BAD), answers=8, max_tokens=100, deadline_seconds=Decimal(30), prices=FREE
    )
    assert measured.valid_fraction == Decimal("0.25")
    assert measured.answers == 8
    assert measured.latency_p99_ms == 30_000
    assert measured.cost_per_answer == 0


def test_an_answer_that_is_cut_off_is_not_valid() -> None:
    measured = probe(scripted(GOOD), answers=2, max_tokens=5, deadline_seconds=Decimal(30), prices=FREE)
    assert measured.valid_fraction == 0


def test_an_answer_costs_what_its_tokens_do() -> None:
    model = scripted(GOOD)
    prices = (Decimal(1_000_000), Decimal(2_000_000))
    priced = probe(model, answers=4, max_tokens=100, deadline_seconds=Decimal(30), prices=prices)
    assert priced.cost_per_answer is not None
    assert priced.cost_per_answer > 2 * len(json.dumps(GOOD)) // 4
    unknown = probe(model, answers=4, max_tokens=100, deadline_seconds=Decimal(30), prices=None)
    assert unknown.cost_per_answer is None


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_a_percentile_is_one_of_the_values(percent: int, expected: int) -> None:
    assert percentile(range(100, 0, -1), percent) == expected
    assert percentile([7], percent) == 7
