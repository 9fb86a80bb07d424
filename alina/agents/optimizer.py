"""Writes one challenger prompt from evidence, and judges it on held-out cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from alina.domain.records import Record
from alina.domain.runs import PromptRevision

RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Record):
    """What a recorded answer chose, and what the market did over the horizon, as a fraction after fees."""

    action: str
    market_return: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson(Record):
    """A sentence for the prompt, and the mistake it answers."""

    mistake: str
    sentence: str


#: tried in this order for the mistake that cost most; each at most once a champion
LESSONS = (
    Lesson(mistake="bad_buy", sentence="Buy only if the trend is up and RSI is below 65; otherwise hold."),
    Lesson(mistake="bad_buy", sentence="Most trades lose to fees: if two figures disagree, hold."),
    Lesson(mistake="missed", sentence="If the trend is up and RSI is between 40 and 65, prefer buy."),
    Lesson(mistake="missed", sentence="A price above its range on high volume tends to go on: prefer buy."),
    Lesson(mistake="held_loser", sentence="If the position is down and the trend is down, sell at once."),
    Lesson(mistake="sold_winner", sentence="While the trend is up and RSI is below 70, keep the position."),
)


def utility(action: str, market_return: Decimal, *, is_holding: bool, fee: Decimal) -> Decimal:
    """What an answer was worth, as a fraction: the market's return while in it, less the fee it paid."""
    if is_holding:
        return market_return if action == "hold" else -fee
    return market_return - 2 * fee if action == "buy" else Decimal(0)


def costliest_mistakes(cases: Sequence[tuple[bool, Outcome]]) -> list[str]:
    """The kinds of mistakes in `cases` (is_holding, outcome), the one that cost most first."""
    cost = dict.fromkeys(("bad_buy", "missed", "held_loser", "sold_winner"), Decimal(0))
    for is_holding, outcome in cases:
        move = outcome.market_return
        match (is_holding, outcome.action):
            case (False, "buy"):
                cost["bad_buy"] += max(-move, Decimal(0))
            case (False, _):
                cost["missed"] += max(move, Decimal(0))
            case (True, "hold"):
                cost["held_loser"] += max(-move, Decimal(0))
            case (True, _):
                cost["sold_winner"] += max(move, Decimal(0))
    return sorted((kind for kind in cost if cost[kind] > 0), key=lambda kind: -cost[kind])


def challenger_system(champion: PromptRevision, mistakes: Sequence[str], tried: Sequence[str]) -> str | None:
    """The champion's system prompt with one lesson more; None when every lesson was tried."""
    for mistake in mistakes:
        for lesson in LESSONS:
            system = f"{champion.system.rstrip()}\n{lesson.sentence}\n"
            if lesson.mistake == mistake and lesson.sentence not in champion.system and system not in tried:
                return system
    return None


def probability_better(champion: Sequence[Decimal], challenger: Sequence[Decimal], *, seed: int) -> Decimal:
    """P(the challenger's mean is higher), by paired bootstrap over the cases (Efron and Tibshirani 1993).

    Ties count as not better, so equal answers never promote. 0 for no cases.
    """
    if not champion:
        return Decimal(0)
    difference = np.array([float(b - a) for a, b in zip(champion, challenger, strict=True)])
    picks = np.random.default_rng(seed).integers(0, len(difference), size=(RESAMPLES, len(difference)))
    better = int((difference[picks].mean(axis=1) > 0).sum())
    return (Decimal(better) / RESAMPLES).quantize(Decimal("0.0001"))
