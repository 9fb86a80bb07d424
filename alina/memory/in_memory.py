"""Memory without a database. For tests and drills; passes the same contract as the real one."""

import math
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from alina.domain.ports import Embedder, Fact
from alina.memory.facts import ended, is_visible, unknown


class InMemoryMemory:
    """A `Memory` that lives as long as the object."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._facts: dict[UUID, Fact] = {}
        self._vectors: dict[UUID, tuple[float, ...]] = {}

    def remember(self, fact: Fact) -> None:
        if fact.id not in self._facts:
            self._facts[fact.id] = fact
            (self._vectors[fact.id],) = self._embedder.embed([fact.text])

    def supersede(self, fact_id: UUID, *, by: Fact) -> None:
        """Raises MemoryStoreError for an unknown fact, or one that `by` cannot end."""
        if fact_id not in self._facts:
            raise unknown(fact_id)
        older = ended(self._facts[fact_id], by=by)
        self.remember(by)
        self._facts[fact_id] = older

    def recall(self, subject: str, query: str, *, as_of: datetime, limit: int) -> list[Fact]:
        (wanted,) = self._embedder.embed([query])
        visible = [
            fact for fact in self._facts.values() if fact.subject == subject and is_visible(fact, as_of)
        ]
        visible.sort(key=lambda fact: fact.id)
        visible.sort(key=lambda fact: fact.created_at, reverse=True)
        visible.sort(key=lambda fact: _similarity(wanted, self._vectors[fact.id]), reverse=True)
        return visible[:limit]

    def get(self, fact_ids: Sequence[UUID]) -> list[Fact]:
        return [self._facts[fact_id] for fact_id in fact_ids if fact_id in self._facts]

    def forget_superseded(self, *, before: datetime) -> int:
        old = [
            fact for fact in self._facts.values() if fact.expired_at is not None and fact.expired_at < before
        ]
        for fact in old:
            del self._facts[fact.id], self._vectors[fact.id]
        return len(old)


def _similarity(left: Sequence[float], right: Sequence[float]) -> float:
    """Cosine; below every cosine for a text without meaning, as pgvector sorts it."""
    lengths = math.hypot(*left) * math.hypot(*right)
    product = sum(a * b for a, b in zip(left, right, strict=True))
    return product / lengths if lengths else -2.0
