"""The registry of models."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from alina.db.tables.base import Base, above_zero, at_least, fraction, named, not_negative, one_of, sha256
from alina.domain.models import ModelState


class ModelRow(Base):
    """One version of a model; one row at most is active."""

    __tablename__ = "models"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        named("name"),
        at_least(1, "version"),
        CheckConstraint("length(source) > 0", name="source"),
        sha256("sha256"),
        above_zero("size_bytes"),
        above_zero("context_length"),
        one_of("state", ModelState),
        Index("ix_models_active", "state", unique=True, postgresql_where=text("state = 'active'")),
        CheckConstraint(
            "num_nulls(measured_at, answers, tokens_per_second, latency_p50_ms, latency_p99_ms, "
            "valid_fraction) IN (0, 6)",
            name="measured",
        ),
        at_least(1, "answers"),
        not_negative("tokens_per_second"),
        at_least(0, "latency_p50_ms"),
        at_least(0, "latency_p99_ms"),
        fraction("valid_fraction"),
        not_negative("cost_per_answer"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    version: Mapped[int]
    source: Mapped[str]
    sha256: Mapped[str | None]
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quantisation: Mapped[str | None]
    template: Mapped[str | None]
    context_length: Mapped[int | None]
    licence: Mapped[str | None]
    state: Mapped[ModelState]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("models.id"))
    measured_at: Mapped[datetime | None]
    answers: Mapped[int | None]
    tokens_per_second: Mapped[Decimal | None]
    latency_p50_ms: Mapped[int | None]
    latency_p99_ms: Mapped[int | None]
    valid_fraction: Mapped[Decimal | None]
    cost_per_answer: Mapped[Decimal | None]
    added_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
