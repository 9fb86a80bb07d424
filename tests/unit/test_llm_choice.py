"""A task is answered by one model, whatever is activated while it runs."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from alina.domain.models import ModelFacts, ModelState, RegisteredModel
from alina.domain.ports import Model
from alina.errors import ModelUnavailable
from alina.llm.choice import ChosenModel
from alina.llm.scripted import ScriptedModel


def registered(name: str) -> RegisteredModel:
    return RegisteredModel(
        id=uuid4(),
        name=name,
        version=1,
        facts=ModelFacts(source=f"scripted:{name}"),
        state=ModelState.ACTIVE,
        parent_id=None,
        measured=None,
        added_at=datetime(2026, 3, 1, tzinfo=UTC),
    )


class Registry:
    """Which model is active, and what was opened."""

    def __init__(self) -> None:
        self.active: RegisteredModel | None = None
        self.opened: list[str] = []

    def open_model(self, model: RegisteredModel | None) -> Model:
        name = model.name if model else "default"
        self.opened.append(name)
        if name == "broken":
            raise ModelUnavailable("broken")
        return ScriptedModel(name, b"{}", context_length=512, threads=1)


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def chosen(registry: Registry) -> ChosenModel:
    return ChosenModel(lambda: registry.active, registry.open_model)


def test_a_task_keeps_its_model_and_the_next_one_gets_the_active(
    registry: Registry, chosen: ChosenModel
) -> None:
    chosen.forget()
    first = chosen()
    registry.active = registered("other")
    assert chosen() is first
    assert first.identity.name == "default"
    chosen.forget()
    assert chosen().identity.name == "other"


def test_a_model_is_opened_once_a_process(registry: Registry, chosen: ChosenModel) -> None:
    other = registered("other")
    for registry.active in (None, other, None, other):
        chosen.forget()
        chosen()
    assert registry.opened == ["default", "other"]


def test_a_model_that_cannot_be_opened_is_tried_again(registry: Registry, chosen: ChosenModel) -> None:
    registry.active = registered("broken")
    for _ in range(2):
        with pytest.raises(ModelUnavailable):
            chosen()
    registry.active = None
    assert chosen().identity.name == "default"
