"""How long is waited for the result of a task."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from alina import queues
from alina.errors import TransientError


class NeverReady:
    """A result that does not come, each look at which takes a second."""

    def __init__(self) -> None:
        self.id, self.looks = str(uuid4()), 0

    def ready(self) -> bool:
        self.looks += 1
        return False

    def get(self, **_: Any) -> None:
        pytest.fail("it is not there")


def test_a_wait_is_over_in_time_however_long_each_look_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    result = NeverReady()
    clock = SimpleNamespace(monotonic=lambda: float(result.looks), sleep=lambda _: None)
    monkeypatch.setattr(queues, "time", clock)
    with pytest.raises(TransientError, match="has no result after 5 s"):
        queues.PendingRun(cast(Any, result)).get(timeout=5)
    assert result.looks == 5
