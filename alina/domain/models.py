"""Models as the registry knows them: where they are, what they are, and how well they did."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from alina.domain.records import Record


class ModelState(StrEnum):
    """What may be done with a registered model. At most one is ACTIVE: the one that agents ask."""

    CANDIDATE = "candidate"
    ACTIVE = "active"
    #: kept for what it decided; neither compared nor proposed any more
    RETIRED = "retired"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts(Record):
    """What a model's source says of itself, before anything loads it. None: it does not say."""

    #: `package:MODULE/FILE`, an absolute path, `scripted:FILE`, or a provider's
    source: str
    #: of the file
    sha256: str | None = None
    size_bytes: int | None = None
    #: the type of most of its weights, e.g. "Q4_1"
    quantisation: str | None = None
    #: its chat template, in Jinja
    template: str | None = None
    #: tokens it was trained for
    context_length: int | None = None
    #: as its file or its publisher names it, e.g. "apache-2.0"
    licence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Record):
    """What a model did with the probe's questions on this machine."""

    at: datetime
    answers: int
    #: of the answers, reading the prompts included
    tokens_per_second: Decimal
    #: wall milliseconds of an answer
    latency_p50_ms: int
    latency_p99_ms: int
    #: of the answers that fit their schema and make sense, from 0 to 1
    valid_fraction: Decimal
    #: in the provider's currency; a local model's is 0, None: nobody said what it costs
    cost_per_answer: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel(Record):
    """One version of a model. Its facts never change; its state and its measurement do."""

    id: UUID
    name: str
    #: counts up from 1 within a name
    version: int
    facts: ModelFacts
    state: ModelState
    #: the version or model that it was made from
    parent_id: UUID | None
    measured: Measurement | None
    added_at: datetime

    @property
    def title(self) -> str:
        """How commands name it: NAME@VERSION."""
        return f"{self.name}@{self.version}"
