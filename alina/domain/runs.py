"""Runs: one pass of an agent over one symbol, and everything needed to replay it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from alina.domain.records import Record


class RunState(StrEnum):
    """How a run ended. STARTED rows older than their limit are swept."""

    STARTED = "started"
    #: the gate saw nothing worth asking the model about
    GATED = "gated"
    #: the model, or the size rule, chose not to trade
    HELD = "held"
    PROPOSED = "proposed"
    #: malformed twice, or past the deadline: no decision, never a guess
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity(Record):
    """Which weights and which engine answered, in which layout. Two equal identities give equal text."""

    name: str
    backend: str  # "llama_cpp", "scripted"
    #: SHA-256 of the model file
    sha256: str
    #: the engine's version and build, and what of this processor it uses
    build: str
    context_length: int
    threads: int
    #: prompt tokens evaluated at once; 0 where the engine knows no such thing
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Message(Record):
    """One turn of a chat prompt. role: system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest(Record):
    """What is asked of a model. Equal requests to equal models give equal text."""

    messages: tuple[Message, ...]
    #: JSON schema that the text must satisfy; None: free text
    json_schema: Mapping[str, Any] | None
    max_tokens: int
    temperature: Decimal
    seed: int
    #: wall seconds after which generation stops with ModelBusy
    deadline_seconds: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion(Record):
    """A model's answer and its cost."""

    text: str
    model: ModelIdentity
    prompt_tokens: int
    completion_tokens: int
    #: wall milliseconds
    elapsed_ms: int
    finish_reason: str  # "stop" or "length"

    @property
    def tokens_per_second(self) -> Decimal:
        return Decimal(self.completion_tokens * 1000) / Decimal(max(self.elapsed_ms, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Record):
    """What a model said and what it took, as a message or a stream bears it."""

    text: str
    model: str  # its name
    prompt_tokens: int
    completion_tokens: int
    #: wall milliseconds
    elapsed_ms: int
    finish_reason: str  # "stop" or "length"

    @classmethod
    def of(cls, completion: Completion) -> "Answer":
        return cls(
            text=completion.text,
            model=completion.model.name,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            elapsed_ms=completion.elapsed_ms,
            finish_reason=completion.finish_reason,
        )

    def to_json(self) -> dict[str, str | int]:
        """Plain values, for a message."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Answer":
        """The inverse of `to_json`."""
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall(Record):
    """A request and its completion, as stored for replay. `attempt` 1 is the answer, 2 the repair."""

    attempt: int
    request: CompletionRequest
    completion: Completion


def prompt_sha256(system: str, template: str) -> str:
    """The hash that identifies a prompt's words, whoever wrote them and when."""
    return hashlib.sha256(json.dumps([system, template]).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRevision(Record):
    """One immutable version of a prompt template."""

    id: UUID
    prompt: str  # the prompt's name, e.g. "trading"
    number: int
    system: str
    template: str
    author: str  # "person" or "optimizer"
    parent_id: UUID | None
    sha256: str


def run_id_for(key: str) -> UUID:
    """The id of the run with this key: deterministic, so that a repeated task finds its row."""
    return uuid5(NAMESPACE_URL, f"alina:run:{key}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Record):
    """One pass of `agent` over `symbol`, cut at `as_of` (market time)."""

    id: UUID
    key: str
    agent: str
    symbol: str
    timeframe: str
    as_of: datetime
    state: RunState
    #: one line: what was decided and why
    summary: str
    prompt_revision_id: UUID | None = None
    #: the figures shown to the model, as JSON-ready text values
    context: Mapping[str, Any] = field(default_factory=dict)
    #: ids of the memory facts in the prompt
    fact_ids: tuple[UUID, ...] = ()
    calls: tuple[ModelCall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult(Record):
    """How a run ended, as a task returns it."""

    run_id: UUID
    agent: str
    symbol: str
    as_of: datetime
    state: RunState
    #: one line: what was decided and why
    summary: str
    proposal_id: UUID | None

    def to_json(self) -> dict[str, str | None]:
        """Plain text values, for a message."""
        return {
            "run_id": str(self.run_id),
            "agent": self.agent,
            "symbol": self.symbol,
            "as_of": self.as_of.isoformat(),
            "state": self.state.value,
            "summary": self.summary,
            "proposal_id": str(self.proposal_id) if self.proposal_id else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunResult":
        """The inverse of `to_json`."""
        return cls(
            run_id=UUID(data["run_id"]),
            agent=data["agent"],
            symbol=data["symbol"],
            as_of=datetime.fromisoformat(data["as_of"]),
            state=RunState(data["state"]),
            summary=data["summary"],
            proposal_id=UUID(data["proposal_id"]) if data["proposal_id"] else None,
        )
