"""Measuring a model: the same schema-bound questions to each, so that models can be compared."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alina.domain.models import Measurement
from alina.domain.ports import Model
from alina.domain.runs import Completion, CompletionRequest, Message
from alina.errors import InvalidAnswer, ModelBusy
from alina.llm.structured import schema_of

_SYSTEM = "You are a trader of one crypto symbol on the spot market. You answer with one JSON object."
_MARKETS = (
    "rose steadily on growing volume",
    "fell without a pause",
    "moved nowhere all day",
    "swung widely",
)


class ProbeAnswer(BaseModel):
    """As a trading agent answers: a reason, a choice and two whole numbers."""

    model_config = ConfigDict(extra="forbid")

    rationale: str = Field(min_length=12, max_length=80)
    action: Literal["buy", "sell", "hold"]
    confidence: int = Field(ge=0, le=100)
    size_percent: int = Field(ge=1, le=100)


def probe(
    model: Model,
    *,
    answers: int,
    max_tokens: int,
    deadline_seconds: Decimal,
    prices: tuple[Decimal, Decimal] | None,
) -> Measurement:
    """Ask `answers` questions, each once. An answer past the deadline counts as not valid.

    `prices` are those of a million tokens asked and answered; None: nobody knows.

    Raises ModelError for a model that cannot be asked at all.
    """
    completions = []
    latencies = []
    for number in range(answers):
        request = _question(number, max_tokens, deadline_seconds)
        try:
            completions.append(model.complete(request))
            latencies.append(completions[-1].elapsed_ms)
        except (ModelBusy, InvalidAnswer):
            latencies.append(int(deadline_seconds * 1000))
    seconds = Decimal(max(sum(latencies), 1)) / 1000
    return Measurement(
        at=datetime.now(UTC),
        answers=answers,
        tokens_per_second=_rounded(Decimal(sum(one.completion_tokens for one in completions)) / seconds),
        latency_p50_ms=percentile(latencies, 50),
        latency_p99_ms=percentile(latencies, 99),
        valid_fraction=_rounded(Decimal(sum(map(_is_valid, completions))) / answers),
        cost_per_answer=None if prices is None else _cost(completions, prices) / answers,
    )


def _cost(completions: Sequence[Completion], prices: tuple[Decimal, Decimal]) -> Decimal:
    asked = sum(one.prompt_tokens for one in completions)
    answered = sum(one.completion_tokens for one in completions)
    return (asked * prices[0] + answered * prices[1]) / 1_000_000


def percentile(values: Sequence[int], percent: int) -> int:
    """The smallest of the values that at least `percent` of them do not exceed."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def _question(number: int, max_tokens: int, deadline_seconds: Decimal) -> CompletionRequest:
    market = _MARKETS[number % len(_MARKETS)]
    asked = f"BTC/USDT {market}; RSI {30 + number * 7 % 41}. Nothing is held. What do you do, and why?"
    return CompletionRequest(
        messages=(Message("system", _SYSTEM), Message("user", asked)),
        json_schema=schema_of(ProbeAnswer),
        max_tokens=max_tokens,
        temperature=Decimal("0.5"),
        seed=number,
        deadline_seconds=deadline_seconds,
    )


def _is_valid(completion: Completion) -> bool:
    if completion.finish_reason == "length":
        return False
    try:
        ProbeAnswer.model_validate_json(completion.text)
    except ValueError:
        return False
    return True


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.001"))
