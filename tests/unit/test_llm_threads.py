"""How many threads a child of the inference worker thinks with."""

import os

import pytest

from alina.config import Settings
from alina.llm.opening import threads_a_child


@pytest.mark.parametrize(
    ("cores", "children", "wanted", "given"),
    [
        (8, 4, 0, 2),
        (8, 4, 1, 1),
        (8, 4, 16, 2),
        (8, 3, 0, 2),
        (8, 1, 0, 8),
        (2, 4, 0, 1),
        (2, 4, 2, 1),
    ],
)
def test_all_children_together_never_have_more_threads_than_cores_but_one_each(
    monkeypatch: pytest.MonkeyPatch, cores: int, children: int, wanted: int, given: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    settings = Settings(execution={"concurrency": children}, models={"threads": wanted})  # type: ignore[arg-type]
    assert threads_a_child(settings) == given
