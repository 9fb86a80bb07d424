"""Scores of closed trades, and experiments on prompts."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from alina.domain.records import Record
from alina.errors import InvalidRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Record):
    """The score of one closed trade: 0 worst, 1 best, with the figures behind it."""

    position_id: UUID
    run_id: UUID | None
    score: Decimal
    #: quote, after fees
    pnl: Decimal
    #: pnl / cost
    return_fraction: Decimal
    explanation: str
    evaluated_at: datetime

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if not 0 <= self.score <= 1:
            raise InvalidRecord(f"evaluation of {self.position_id}: score {self.score} is not within 0 to 1")


class ExperimentState(StrEnum):
    RUNNING = "running"
    PROMOTED = "promoted"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment(Record):
    """One challenger prompt revision against the champion, on recorded cases split by time."""

    id: UUID
    #: idempotency: one experiment an agent and window
    key: str
    prompt: str
    champion_id: UUID
    challenger_id: UUID
    state: ExperimentState
    #: runs before this market time tune, those after it are held out
    split_at: datetime
    cases: int
    champion_score: Decimal | None = None
    challenger_score: Decimal | None = None
    #: probability that the challenger is better on the held-out part (paired bootstrap)
    confidence: Decimal | None = None
    conclusion: str = ""


class CasePart(StrEnum):
    """Tuning cases may shape a challenger; only held-out cases may promote it."""

    TUNE = "tune"
    HELD_OUT = "held_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentCase(Record):
    """One recorded run in an experiment: the champion's answer is known, the challenger's is asked for."""

    experiment_id: UUID
    run_id: UUID
    part: CasePart
    champion_score: Decimal
    #: None: not answered yet
    challenger_score: Decimal | None
