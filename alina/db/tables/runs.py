"""Agents, their prompts, their runs, and what the model was asked and said."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from alina.db.tables.base import (
    Base,
    above_zero,
    at_least,
    both_or_neither,
    finite,
    named,
    one_of,
    sha256,
)
from alina.domain.runs import RunState


class AgentRow(Base):
    """One agent and the prompt it works with."""

    __tablename__ = "agents"
    __table_args__ = (named("name"), named("kind"))

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    prompt: Mapped[str] = mapped_column(ForeignKey("prompts.name"))


class PromptRow(Base):
    """A prompt's name and the revision in use, which must be one of its own."""

    __tablename__ = "prompts"
    __table_args__ = (
        named("name"),
        ForeignKeyConstraint(
            ["name", "active_revision_id"],
            ["prompt_revisions.prompt", "prompt_revisions.id"],
            use_alter=True,
        ),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    active_revision_id: Mapped[UUID | None]


class PromptRevisionRow(Base):
    """One immutable version of a prompt; its parent is of the same prompt."""

    __tablename__ = "prompt_revisions"
    __table_args__ = (
        UniqueConstraint("prompt", "id"),
        UniqueConstraint("prompt", "number"),
        UniqueConstraint("prompt", "sha256"),
        ForeignKeyConstraint(["prompt", "parent_id"], ["prompt_revisions.prompt", "prompt_revisions.id"]),
        at_least(1, "number"),
        named("author"),
        sha256("sha256"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    prompt: Mapped[str] = mapped_column(ForeignKey("prompts.name"))
    number: Mapped[int]
    system: Mapped[str]
    template: Mapped[str]
    author: Mapped[str]
    parent_id: Mapped[UUID | None]
    sha256: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class RunRow(Base):
    """One pass of an agent over one symbol."""

    __tablename__ = "runs"
    __table_args__ = (
        named("key"),
        named("symbol"),
        named("timeframe"),
        one_of("state", RunState),
        both_or_neither("finished", "state = 'started'", "finished_at IS NULL"),
        Index(None, "as_of"),
        Index(None, "agent", "symbol", "as_of"),
        Index("ix_runs_started", "created_at", postgresql_where=text("state = 'started'")),
        Index("ix_runs_failed", "finished_at", postgresql_where=text("state = 'failed'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    agent: Mapped[str] = mapped_column(ForeignKey("agents.name"))
    symbol: Mapped[str]
    timeframe: Mapped[str]
    as_of: Mapped[datetime]
    state: Mapped[RunState]
    summary: Mapped[str]
    prompt_revision_id: Mapped[UUID | None] = mapped_column(ForeignKey("prompt_revisions.id"))
    # json, not jsonb, here and below: the order of keys is the prompt's and the grammar's
    context: Mapped[dict[str, Any]] = mapped_column(JSON)
    fact_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid()))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    finished_at: Mapped[datetime | None]


class ModelCallRow(Base):
    """One request to a model and its completion, whole: enough to get the same text again."""

    __tablename__ = "model_calls"
    __table_args__ = (
        at_least(1, "attempt"),
        at_least(1, "max_tokens"),
        finite("temperature"),
        above_zero("deadline_seconds"),
        at_least(0, "prompt_tokens"),
        at_least(0, "completion_tokens"),
        at_least(0, "elapsed_ms"),
        at_least(0, "model_batch"),
        CheckConstraint("json_typeof(messages) = 'array'", name="messages"),
    )

    run_id: Mapped[UUID] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    messages: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    json_schema: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    max_tokens: Mapped[int]
    temperature: Mapped[Decimal]
    seed: Mapped[int] = mapped_column(BigInteger)
    deadline_seconds: Mapped[Decimal]
    text: Mapped[str]
    model_name: Mapped[str]
    model_backend: Mapped[str]
    model_sha256: Mapped[str]
    model_build: Mapped[str]
    model_context_length: Mapped[int]
    model_threads: Mapped[int]
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    elapsed_ms: Mapped[int]
    finish_reason: Mapped[str]
    model_batch: Mapped[int]
