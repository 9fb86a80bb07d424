"""A run whose reasons were told by nobody is asked again, and then ends without a decision."""

from collections.abc import Callable
from functools import partial

import pytest
from system import BUY, NOW, RunningVenue, System, scripted, system

from alina.domain.market import candle_number
from alina.domain.runs import RunState

Make = Callable[..., System]
INVENTED = {**BUY, "rationale": "RSI 131.7 is so low that it can be bought"}


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    return partial(system, venue, ledger_url)


def first_then(one: System, first: dict[str, object], then: dict[str, object]) -> System:
    """The model gives `first` to the question and `then` to the repair, which has the next seed."""
    seed = candle_number(NOW, one.runtime.settings.market.timeframe)
    answers = [first, then] if seed % 2 == 0 else [then, first]
    model = scripted(*answers)
    return one.with_parts(model=lambda: model)


def test_an_invented_figure_twice_is_a_recorded_failure(make: Make) -> None:
    run = first_then(make(), INVENTED, INVENTED).run()
    assert run.state is RunState.FAILED
    assert "131.7, which nobody told" in run.summary
    assert len(run.calls) == 2
    assert "131.7, which nobody told" in run.calls[1].request.messages[-1].content


def test_an_invented_figure_that_is_taken_back_is_no_failure(make: Make) -> None:
    run = first_then(make(), INVENTED, BUY).run()
    assert run.state is RunState.PROPOSED
    assert len(run.calls) == 2
