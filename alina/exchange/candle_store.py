"""The candles as recorded: the only writer of the table `candles`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session

from alina.db.tables import CandleRow
from alina.domain.market import Candle, timeframe_duration

#: whose candles those of the local exchange are, whatever it replays
LOCAL = "venue"

_PRICES = ("open", "high", "low", "close", "volume")


class CandleStore:
    """Closed candles of one exchange, of any symbol and timeframe.

    Writes through the session and never commits.
    No method returns a candle that closes after `until`: what is asked as of a moment was known then.
    """

    def __init__(self, session: Session, exchange: str) -> None:
        """`exchange`: a ccxt id, or LOCAL."""
        self._session = session
        self._exchange = exchange

    def save(self, candles: Sequence[Candle]) -> int:
        """Store them; a candle that the exchange corrected replaces the older one.

        Returns how many are new or differ from what was stored.
        """
        rows = {
            (c.symbol, c.timeframe, c.open_time): {"exchange": self._exchange, **asdict(c)} for c in candles
        }
        if not rows:
            return 0
        statement = insert(CandleRow).values(list(rows.values()))
        given = {name: getattr(statement.excluded, name) for name in _PRICES}
        upsert = statement.on_conflict_do_update(
            constraint="pk_candles",
            set_=given,
            where=tuple_(*(getattr(CandleRow, name) for name in _PRICES)).is_distinct_from(
                tuple_(*given.values())
            ),
        )
        return cast("CursorResult[object]", self._session.execute(upsert)).rowcount

    def latest(self, symbol: str, timeframe: str) -> Candle | None:
        """The newest candle stored."""
        row = self._session.scalar(
            self._of_market(symbol, timeframe).order_by(CandleRow.open_time.desc()).limit(1)
        )
        return None if row is None else _candle(row)

    def history(self, symbol: str, timeframe: str, *, until: datetime, limit: int) -> Sequence[Candle]:
        """The last `limit` candles that had closed at `until`, oldest first."""
        query = (
            self._of_market(symbol, timeframe)
            .where(CandleRow.open_time <= until - timeframe_duration(timeframe))
            .order_by(CandleRow.open_time.desc())
            .limit(limit)
        )
        return [_candle(row) for row in self._session.scalars(query)][::-1]

    def after(
        self, symbol: str, timeframe: str, *, since: datetime, until: datetime, limit: int
    ) -> list[Candle]:
        """The first `limit` candles opened at `since` or later and closed by `until`, oldest first."""
        query = (
            self._of_market(symbol, timeframe)
            .where(CandleRow.open_time >= since)
            .where(CandleRow.open_time <= until - timeframe_duration(timeframe))
            .order_by(CandleRow.open_time)
            .limit(limit)
        )
        return [_candle(row) for row in self._session.scalars(query)]

    def gaps(
        self, symbol: str, timeframe: str, *, since: datetime, until: datetime
    ) -> list[tuple[datetime, datetime]]:
        """The holes between the candles that open in [since, until], as [start, end), oldest first."""
        length = timeframe_duration(timeframe)
        opened = CandleRow.open_time
        pairs = (
            select(func.lag(opened).over(order_by=opened).label("previous"), opened.label("next"))
            .where(*self._keys(symbol, timeframe))
            .where(opened.between(since, until))
            .subquery()
        )
        query = (
            select(pairs.c.previous, pairs.c.next)
            .where(pairs.c.next - pairs.c.previous > length)
            .order_by(pairs.c.next)
        )
        return [(previous + length, following) for previous, following in self._session.execute(query)]

    def _of_market(self, symbol: str, timeframe: str) -> Select[CandleRow]:
        return select(CandleRow).where(*self._keys(symbol, timeframe))

    def _keys(self, symbol: str, timeframe: str) -> tuple[ColumnElement[bool], ...]:
        return (
            CandleRow.exchange == self._exchange,
            CandleRow.symbol == symbol,
            CandleRow.timeframe == timeframe,
        )


def _candle(row: CandleRow) -> Candle:
    return Candle(
        symbol=row.symbol,
        timeframe=row.timeframe,
        open_time=row.open_time,
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume=row.volume,
    )
