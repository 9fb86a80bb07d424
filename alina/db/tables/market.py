"""What is known of markets: candles as recorded, and facts as remembered."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import CheckConstraint, Computed, Index, LargeBinary, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from alina.db.tables.base import Base, above_zero, named, not_negative

#: length of a fact's embedding, that of the embedding model
EMBEDDING_DIMENSIONS = 256


#: open time and figures as Postgres sends them: big-endian, 8 bytes each, times in µs since 2000
_PACKED = "timestamptz_send(open_time) || " + " || ".join(
    f"float8send({figure}::double precision)" for figure in ("open", "high", "low", "close", "volume")
)


class CandleRow(Base):
    """Prices of one interval on one exchange. Prices: quote per base; volume: base."""

    __tablename__ = "candles"
    __table_args__ = (
        PrimaryKeyConstraint("exchange", "symbol", "timeframe", "open_time"),
        named("exchange"),
        named("symbol"),
        named("timeframe"),
        above_zero("low"),
        above_zero("high"),
        CheckConstraint("low <= LEAST(open, close)", name="low_is_lowest"),
        CheckConstraint("high >= GREATEST(open, close)", name="high_is_highest"),
        not_negative("volume"),
    )

    symbol: Mapped[str]
    timeframe: Mapped[str]
    open_time: Mapped[datetime]
    open: Mapped[Decimal]
    high: Mapped[Decimal]
    low: Mapped[Decimal]
    close: Mapped[Decimal]
    volume: Mapped[Decimal]
    #: for reading in bulk; the figures are the truth
    packed: Mapped[bytes] = mapped_column(LargeBinary, Computed(_PACKED, persisted=True), deferred=True)
    #: a ccxt id, or "venue": the local exchange of mode paper
    exchange: Mapped[str]


class FactRow(Base):
    """One fact in two times: of the world (valid) and of our knowing it (created, expired)."""

    __tablename__ = "facts"
    __table_args__ = (
        named("subject"),
        named("predicate"),
        CheckConstraint("invalid_at >= valid_at", name="validity"),
        CheckConstraint("expired_at >= created_at", name="knowledge"),
        # Recall is within one subject: an exact scan of it is fast and, unlike an approximate
        # vector index, gives the same facts again on replay.
        Index(None, "subject", "valid_at"),
        Index(None, "expired_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subject: Mapped[str]
    predicate: Mapped[str]
    text: Mapped[str]
    embedding: Mapped[Sequence[float] | None] = mapped_column(VECTOR(EMBEDDING_DIMENSIONS))
    valid_at: Mapped[datetime]
    invalid_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    expired_at: Mapped[datetime | None]
    source_id: Mapped[UUID | None]
