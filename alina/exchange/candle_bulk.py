"""Candles by the million: in by COPY, out as arrays."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import IO, Any, cast

import numpy as np
import psycopg2  # type: ignore[import-untyped]
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from alina.domain.market import timeframe_duration
from alina.market_data.arrays import FIGURES, CandleArrays

#: candles of one answer: few enough to stay in the processor's cache
_PAGE = 50_000
#: columns of `candles.packed`: open time, then the figures
_WIDTH = 1 + len(FIGURES)
#: before the one field of the one row in a binary COPY, and after it
_PROLOGUE, _EPILOGUE = 25, 2
_MOMENT = timedelta(microseconds=1)
_POSTGRES_EPOCH_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1000

_STAGING = text(
    """
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_candles (
        open_ms bigint, open numeric, high numeric, low numeric, close numeric, volume numeric
    ) ON COMMIT DROP;
    TRUNCATE staged_candles;
    """
)
_UPSERT = text(
    """
    INSERT INTO candles (exchange, symbol, timeframe, open_time, open, high, low, close, volume)
    SELECT :exchange, :symbol, :timeframe, to_timestamp(open_ms / 1000.0), open, high, low, close, volume
    FROM staged_candles
    ON CONFLICT (exchange, symbol, timeframe, open_time) DO UPDATE SET
        open = excluded.open, high = excluded.high, low = excluded.low,
        close = excluded.close, volume = excluded.volume
    WHERE (candles.open, candles.high, candles.low, candles.close, candles.volume)
        IS DISTINCT FROM (excluded.open, excluded.high, excluded.low, excluded.close, excluded.volume)
    """
)
_PACKED = """
    COPY (
        SELECT string_agg(packed, ''::bytea) FROM candles
        WHERE exchange = %s AND symbol = %s AND timeframe = %s AND open_time >= %s AND open_time < %s
    ) TO STDOUT (FORMAT binary)
"""
_EXACT = """
    COPY (
        SELECT (extract(epoch FROM open_time) * 1000)::bigint AS timestamp, open, high, low, close, volume
        FROM candles
        WHERE exchange = %s AND symbol = %s AND timeframe = %s AND open_time >= %s AND open_time <= %s
        ORDER BY open_time
    ) TO STDOUT (FORMAT csv, HEADER)
"""
_BOUNDS = text(
    """
    SELECT min(open_time), max(open_time) FROM candles
    WHERE exchange = :exchange AND symbol = :symbol AND timeframe = :timeframe
    """
)
_SERIES = text(
    """
    SELECT exchange, symbol, timeframe,
        count(*) AS candles, min(open_time) AS first, max(open_time) AS last
    FROM candles
    WHERE coalesce(exchange = :exchange, true) AND coalesce(symbol = any(:symbols), true)
        AND coalesce(timeframe = :timeframe, true)
    GROUP BY exchange, symbol, timeframe ORDER BY exchange, symbol, timeframe
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSeries:
    """The candles of one market of one exchange that are stored."""

    exchange: str
    symbol: str
    timeframe: str
    candles: int
    #: open times
    first: datetime
    last: datetime


def stored_series(
    session: Session,
    exchange: str | None = None,
    symbols: list[str] | None = None,
    timeframe: str | None = None,
) -> list[StoredSeries]:
    """What is stored, by exchange, symbol and timeframe; all of it, or of these alone."""
    rows = session.execute(_SERIES, {"exchange": exchange, "symbols": symbols, "timeframe": timeframe})
    return [StoredSeries(**row._asdict()) for row in rows]


class CandleBulk:
    """The candles of one exchange in bulk, through a session, and never committing."""

    def __init__(self, session: Session, exchange: str) -> None:
        """`exchange`: a ccxt id, or candle_store.LOCAL."""
        self._session = session
        self._exchange = exchange

    def save(self, symbol: str, timeframe: str, rows: IO[bytes]) -> int:
        """Store CSV rows of open ms, open, high, low, close, volume; each open time once.

        Candles that differ replace the older ones. Returns how many are new or differ.
        """
        self._session.execute(_STAGING)
        with self._cursor() as cursor:
            cursor.copy_expert("COPY staged_candles FROM STDIN (FORMAT csv)", rows)
        market = {"exchange": self._exchange, "symbol": symbol, "timeframe": timeframe}
        return cast("CursorResult[object]", self._session.execute(_UPSERT, market)).rowcount

    def load(self, symbol: str, timeframe: str, *, since: datetime, until: datetime) -> CandleArrays:
        """The candles opened at `since` or later and closed by `until`, oldest first."""
        length = timeframe_duration(timeframe)
        market = {"exchange": self._exchange, "symbol": symbol, "timeframe": timeframe}
        first, last = self._session.execute(_BOUNDS, market).one()
        pages = [np.empty((0, _WIDTH), np.int64)]
        if first is not None:
            start, stop = max(first, since), min(last, until - length) + _MOMENT
            while start < stop:
                end = min(start + _PAGE * length, stop)
                pages.append(self._page(symbol, timeframe, start, end))
                start = end
        return _arrays(symbol, timeframe, np.concatenate(pages))

    def _page(self, symbol: str, timeframe: str, since: datetime, until: datetime) -> NDArray[np.int64]:
        answer = io.BytesIO()
        self._copy_out(_PACKED, (self._exchange, symbol, timeframe, since, until), answer)
        packed = answer.getbuffer()[_PROLOGUE:-_EPILOGUE]
        page = np.frombuffer(packed, ">i8").astype(np.int64).reshape(-1, _WIDTH)
        # an index gives them in order; nothing promises it
        return page if np.all(np.diff(page[:, 0]) > 0) else page[np.argsort(page[:, 0])]

    def export(
        self, symbol: str, timeframe: str, sink: IO[bytes], *, since: datetime, until: datetime
    ) -> None:
        """Write the candles opened at `since` or later and closed by `until` as CSV, to the last digit."""
        self._session.execute(text("SET LOCAL statement_timeout = 0"))  # as long as it takes
        last = until - timeframe_duration(timeframe)
        self._copy_out(_EXACT, (self._exchange, symbol, timeframe, since, last), sink)

    def _copy_out(self, statement: str, values: tuple[Any, ...], sink: IO[bytes]) -> None:
        with self._cursor() as cursor:
            cursor.copy_expert(cursor.mogrify(statement, values), sink)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """The driver's own cursor in this transaction: COPY goes past SQLAlchemy, its errors do not."""
        connection = cast(Any, self._session.connection().connection.driver_connection)
        try:
            with connection.cursor() as cursor:
                yield cursor
        except psycopg2.Error as error:
            raise DBAPIError.instance("COPY", None, error, psycopg2.Error) from error


def _arrays(symbol: str, timeframe: str, packed: NDArray[np.int64]) -> CandleArrays:
    figures = packed[:, 1:].view(np.float64)
    return CandleArrays(
        symbol=symbol,
        timeframe=timeframe,
        open_time=packed[:, 0] // 1000 + _POSTGRES_EPOCH_MS,
        **{name: figures[:, at].copy() for at, name in enumerate(FIGURES)},
    )
