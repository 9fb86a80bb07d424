"""Scores, lessons and the verdict on a challenger: plain arithmetic."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.agents import evaluator, optimizer
from alina.agents.optimizer import LESSONS, Outcome, probability_better, utility
from alina.domain.portfolio import CloseReason, Position
from alina.domain.runs import PromptRevision

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FEE = Decimal("0.001")
GAIN, LOSS = Decimal("0.02"), Decimal("-0.02")
POSITION = Position(
    id=UUID(int=1),
    account="main",
    symbol="BTC/USDT",
    quantity=Decimal(0),
    bought_quantity=Decimal(2),
    sold_quantity=Decimal(2),
    cost=Decimal(200),
    proceeds=Decimal(204),
    opened_at=NOON,
    closed_at=NOON + timedelta(hours=3),
    close_reason=CloseReason.TAKE_PROFIT,
)
CHAMPION = PromptRevision(
    id=UUID(int=2),
    prompt="trading",
    number=1,
    system="Trade.\n",
    template="",
    author="person",
    parent_id=None,
    sha256="",
)


@pytest.mark.parametrize(
    ("fraction", "score"),
    [
        ("-1", "0"),
        ("-0.04", "0"),
        ("-0.02", "0.25"),
        ("0", "0.5"),
        ("0.01", "0.625"),
        ("0.04", "1"),
        ("9", "1"),
    ],
)
def test_a_return_is_scored_linearly_between_loss_and_gain_of_the_scale(fraction: str, score: str) -> None:
    assert evaluator.score_return(Decimal(fraction), scale=Decimal("0.04")) == Decimal(score)


def test_a_closed_trade_is_scored_by_its_return_after_fees() -> None:
    evaluation = evaluator.evaluate(POSITION, run_id=None, scale=Decimal("0.04"), at=NOON)
    assert (evaluation.pnl, evaluation.return_fraction, evaluation.score) == (
        Decimal(4),
        Decimal("0.02"),
        Decimal("0.75"),
    )
    assert evaluation.explanation == "closed by take_profit after 3:00:00, +2.00% after fees"
    assert evaluator.trade_fact(POSITION, evaluation) == (
        "BTC/USDT: bought 2026-03-01 12:00 at 100.00, "
        "closed by take_profit after 3:00:00, +2.00% after fees, result +4.00"
    )


@pytest.mark.parametrize(
    ("action", "is_holding", "worth"),
    [
        ("buy", False, GAIN - 2 * FEE),
        ("hold", False, Decimal(0)),
        ("hold", True, GAIN),
        ("sell", True, -FEE),
    ],
)
def test_what_an_answer_was_worth(action: str, is_holding: bool, worth: Decimal) -> None:
    assert utility(action, GAIN, is_holding=is_holding, fee=FEE) == worth


def case(is_holding: bool, action: str, move: Decimal) -> tuple[bool, Outcome]:
    return is_holding, Outcome(action=action, market_return=move)


@pytest.mark.parametrize(
    ("is_holding", "action", "move", "mistake"),
    [
        (False, "buy", LOSS, "bad_buy"),
        (False, "hold", GAIN, "missed"),
        (True, "hold", LOSS, "held_loser"),
        (True, "sell", GAIN, "sold_winner"),
    ],
)
def test_each_kind_of_mistake_is_named(is_holding: bool, action: str, move: Decimal, mistake: str) -> None:
    assert optimizer.costliest_mistakes([case(is_holding, action, move)]) == [mistake]
    assert optimizer.costliest_mistakes([case(is_holding, action, -move)]) == []


def test_the_mistake_that_cost_most_comes_first() -> None:
    cases = [case(False, "hold", GAIN), case(False, "hold", GAIN), case(False, "buy", LOSS * 3)]
    assert optimizer.costliest_mistakes(cases) == ["bad_buy", "missed"]
    assert optimizer.costliest_mistakes([]) == []


def test_each_lesson_is_tried_once_until_there_is_none_left() -> None:
    tried: list[str] = []
    while (system := optimizer.challenger_system(CHAMPION, ["missed", "bad_buy"], tried)) is not None:
        assert system.startswith("Trade.\n")
        tried.append(system)
    expected = [
        lesson.sentence for kind in ("missed", "bad_buy") for lesson in LESSONS if lesson.mistake == kind
    ]
    assert [system.splitlines()[1] for system in tried] == expected


def test_a_lesson_that_the_champion_has_is_not_given_twice() -> None:
    first, second, *_ = (lesson.sentence for lesson in LESSONS if lesson.mistake == "bad_buy")
    promoted = replace(CHAMPION, system=f"Trade.\n{first}\n")
    assert optimizer.challenger_system(promoted, ["bad_buy"], []) == f"Trade.\n{first}\n{second}\n"


def test_without_mistakes_there_is_no_challenger() -> None:
    assert optimizer.challenger_system(CHAMPION, [], []) is None


SCORES = st.lists(st.decimals(Decimal(0), Decimal(1), places=4), min_size=1, max_size=12)


@given(SCORES, st.integers(0, 2**32 - 1))
def test_equal_answers_never_promote(scores: list[Decimal], seed: int) -> None:
    assert probability_better(scores, scores, seed=seed) == 0


@given(SCORES, st.integers(0, 2**32 - 1))
def test_better_in_every_case_is_certain_and_worse_is_impossible(scores: list[Decimal], seed: int) -> None:
    better = [score + Decimal("0.1") for score in scores]
    assert probability_better(scores, better, seed=seed) == 1
    assert probability_better(better, scores, seed=seed) == 0


def test_mixed_evidence_is_between_and_repeatable() -> None:
    champion = [Decimal("0.5")] * 8
    challenger = [Decimal("0.6")] * 5 + [Decimal("0.4")] * 3
    first, again = (probability_better(champion, challenger, seed=7) for _ in range(2))
    assert first == again
    # P(more than four of eight draws are among the five better ones): binomial(8, 5/8)
    assert Decimal("0.55") < first < Decimal("0.75")


def test_no_cases_prove_nothing_and_unpaired_ones_are_refused() -> None:
    assert probability_better([], [], seed=1) == 0
    with pytest.raises(ValueError, match="shorter"):
        probability_better([Decimal(1), Decimal(1)], [Decimal(1)], seed=1)
