"""Tasks for the tests of a worker's models: `celery -A model_tasks worker` is `workers.app` and these."""

import os
from decimal import Decimal
from typing import Any

from alina.domain.runs import CompletionRequest, Message
from workers.app import app, models

_KEPT: list[bytes] = []


@app.task(name="test.ask")
def ask(number: int) -> dict[str, Any]:
    """Ask twice, as a repair does; who answered, and where."""
    asked = [models.chosen().complete(_request(number)) for _ in range(2)]
    return {
        "pid": os.getpid(),
        "models": [one.model.name for one in asked],
        "texts": [one.text for one in asked],
    }


@app.task(name="test.words")
def words(_: int) -> list[str]:
    """Hashes of the model files whose words this child has from before its fork."""
    return list(models.vocabularies)


@app.task(name="test.grow")
def grow(size: int) -> int:
    """Keep memory for good, as a leak does. Returns the pid."""
    _KEPT.append(os.urandom(1) * size)
    return os.getpid()


def _request(number: int) -> CompletionRequest:
    return CompletionRequest(
        messages=(Message("user", f"Case {number}: buy or hold?"),),
        json_schema=None,
        max_tokens=3,
        temperature=Decimal(0),
        seed=number,
        deadline_seconds=Decimal(60),
    )
