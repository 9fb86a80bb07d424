"""What models took."""

import datetime as dt
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from alina.db.tables.base import Base, at_least, named, not_negative


class ModelSpendingRow(Base):
    """One call to a model: what it may take, and once it is settled what it took."""

    __tablename__ = "model_spending"
    __table_args__ = (
        named("agent"),
        named("model"),
        at_least(0, "tokens"),
        at_least(0, "calls"),
        not_negative("seconds"),
        not_negative("money"),
        Index(None, "day"),
        Index(None, "run_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    #: no foreign key: a run's calls are counted before and beside what the run itself stores
    run_id: Mapped[UUID | None]
    agent: Mapped[str]
    model: Mapped[str]
    #: UTC
    day: Mapped[dt.date]
    is_settled: Mapped[bool]
    tokens: Mapped[int] = mapped_column(BigInteger)
    calls: Mapped[int]
    #: wall time
    seconds: Mapped[Decimal]
    #: in the currency of models.prices
    money: Mapped[Decimal]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
