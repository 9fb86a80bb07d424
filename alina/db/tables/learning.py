"""Scores of closed trades, and experiments on prompts."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from alina.db.tables.base import Base, at_least, finite, fraction, named, one_of
from alina.domain.evaluation import CasePart, ExperimentState


class EvaluationRow(Base):
    """The one score of a closed trade."""

    __tablename__ = "evaluations"
    __table_args__ = (
        fraction("score"),
        finite("pnl"),
        finite("return_fraction"),
        Index(None, "evaluated_at"),
    )

    position_id: Mapped[UUID] = mapped_column(ForeignKey("positions.id"), primary_key=True)
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id"))
    score: Mapped[Decimal]
    pnl: Mapped[Decimal]
    return_fraction: Mapped[Decimal]
    explanation: Mapped[str]
    evaluated_at: Mapped[datetime]


class ExperimentRow(Base):
    """A challenger against the champion, both revisions of one prompt."""

    __tablename__ = "experiments"
    __table_args__ = (
        ForeignKeyConstraint(["prompt", "champion_id"], ["prompt_revisions.prompt", "prompt_revisions.id"]),
        ForeignKeyConstraint(["prompt", "challenger_id"], ["prompt_revisions.prompt", "prompt_revisions.id"]),
        named("key"),
        one_of("state", ExperimentState),
        at_least(0, "cases"),
        finite("champion_score"),
        finite("challenger_score"),
        fraction("confidence"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    prompt: Mapped[str]
    champion_id: Mapped[UUID]
    challenger_id: Mapped[UUID]
    state: Mapped[ExperimentState]
    split_at: Mapped[datetime]
    cases: Mapped[int]
    champion_score: Mapped[Decimal | None]
    challenger_score: Mapped[Decimal | None]
    confidence: Mapped[Decimal | None]
    conclusion: Mapped[str]
    #: wall time until which one worker has its cases to itself
    claimed_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ExperimentCaseRow(Base):
    """One recorded run answered by both revisions."""

    __tablename__ = "experiment_cases"
    __table_args__ = (one_of("part", CasePart), finite("champion_score"), finite("challenger_score"))

    experiment_id: Mapped[UUID] = mapped_column(ForeignKey("experiments.id"), primary_key=True)
    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    part: Mapped[CasePart]
    champion_score: Mapped[Decimal]
    challenger_score: Mapped[Decimal | None]
