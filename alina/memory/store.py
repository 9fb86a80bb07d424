"""Memory in Postgres: facts with their embeddings, searched exactly by cosine distance.

Recall is within one subject, so an exact scan is fast; unlike an approximate index it returns
the same facts again when a decision is replayed.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from alina.db.tables import FactRow
from alina.domain.ports import Embedder, Fact
from alina.memory.facts import ended, unknown


class PostgresMemory:
    """A `Memory` within one database session; the caller commits."""

    def __init__(self, session: Session, embedder: Embedder) -> None:
        self._session = session
        self._embedder = embedder

    def remember(self, fact: Fact) -> None:
        (vector,) = self._embedder.embed([fact.text])
        row = {name: getattr(fact, name) for name in _FIELDS} | {"embedding": list(vector)}
        self._session.execute(insert(FactRow).values(row).on_conflict_do_nothing(index_elements=["id"]))

    def supersede(self, fact_id: UUID, *, by: Fact) -> None:
        """Raises MemoryStoreError for an unknown fact, or one that `by` cannot end."""
        # Locked, so that two facts cannot both believe they ended the same one.
        row = self._session.get(FactRow, fact_id, with_for_update=True, populate_existing=True)
        if row is None:
            raise unknown(fact_id)
        older = ended(_fact(row), by=by)
        self.remember(by)
        row.invalid_at, row.expired_at = older.invalid_at, older.expired_at
        self._session.flush()

    def recall(self, subject: str, query: str, *, as_of: datetime, limit: int) -> list[Fact]:
        (wanted,) = self._embedder.embed([query])
        rows = self._session.scalars(
            select(FactRow)
            .where(FactRow.subject == subject, *_visible(as_of))
            .order_by(
                FactRow.embedding.cosine_distance(list(wanted)),
                FactRow.created_at.desc(),
                FactRow.id,
            )
            .limit(limit)
        )
        return [_fact(row) for row in rows]

    def get(self, fact_ids: Sequence[UUID]) -> list[Fact]:
        rows = self._session.scalars(select(FactRow).where(FactRow.id.in_(fact_ids)))
        facts = {row.id: _fact(row) for row in rows}
        return [facts[fact_id] for fact_id in fact_ids if fact_id in facts]

    def forget_superseded(self, *, before: datetime) -> int:
        forgotten = self._session.scalars(
            delete(FactRow).where(FactRow.expired_at < before).returning(FactRow.id)
        )
        return len(forgotten.all())


_FIELDS = tuple(Fact.__dataclass_fields__)


def _visible(as_of: datetime) -> tuple[ColumnElement[bool], ...]:
    """`facts.is_visible` in SQL."""
    end = func.coalesce(FactRow.expired_at, FactRow.invalid_at)
    return FactRow.created_at <= as_of, FactRow.valid_at <= as_of, end.is_(None) | (end > as_of)


def _fact(row: FactRow) -> Fact:
    return Fact(**{name: getattr(row, name) for name in _FIELDS})
