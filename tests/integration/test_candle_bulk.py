"""Candles in bulk are the same candles as one by one."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from alina.db.engine import make_engine, our_errors
from alina.db.tables import CandleRow
from alina.domain.market import Candle
from alina.domain.records import ms_from_utc
from alina.errors import TransientError
from alina.exchange import candle_bulk
from alina.exchange.candle_bulk import CandleBulk, StoredSeries, stored_series
from alina.exchange.candle_store import LOCAL, CandleStore

SYMBOL = "BTC/USDT"
START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
AN_END = START + 1000 * HOUR


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    engine = make_engine(database_url)
    CandleRow.__table__.create(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def bulk(session: Session) -> CandleBulk:
    return CandleBulk(session, LOCAL)


def rows(*numbers: int, close: str = "100.10") -> io.BytesIO:
    lines = (
        f"{ms_from_utc(START + number * HOUR)},100,200,5.33e-05,{close},0.12345678901234567890\n"
        for number in numbers
    )
    return io.BytesIO("".join(lines).encode())


def test_what_came_in_bulk_is_read_candle_by_candle_to_the_last_digit(
    bulk: CandleBulk, session: Session
) -> None:
    assert bulk.save(SYMBOL, "1h", rows(0, 1)) == 2
    latest = CandleStore(session, LOCAL).latest(SYMBOL, "1h")
    assert latest == Candle(
        symbol=SYMBOL,
        timeframe="1h",
        open_time=START + HOUR,
        open=Decimal(100),
        high=Decimal(200),
        low=Decimal("0.0000533"),
        close=Decimal("100.10"),
        volume=Decimal("0.12345678901234567890"),
    )


def test_saving_again_changes_nothing_and_a_correction_replaces(bulk: CandleBulk) -> None:
    assert bulk.save(SYMBOL, "1h", rows(0, 1, 2)) == 3
    assert bulk.save(SYMBOL, "1h", rows(0, 1, 2, 3)) == 1
    assert bulk.save(SYMBOL, "1h", rows(2, close="101")) == 1
    assert bulk.load(SYMBOL, "1h", since=START, until=AN_END).close.tolist() == [100.1, 100.1, 101, 100.1]


def test_arrays_are_the_floats_nearest_to_what_was_stored(bulk: CandleBulk) -> None:
    bulk.save(SYMBOL, "1h", rows(0))
    read = bulk.load(SYMBOL, "1h", since=START, until=AN_END)
    assert read.open_time.tolist() == [ms_from_utc(START)]
    figures = (read.open[0], read.high[0], read.low[0], read.close[0], read.volume[0])
    assert figures == (100.0, 200.0, 5.33e-05, 100.1, 0.12345678901234567890)


def test_arrays_end_with_the_last_candle_that_had_closed(bulk: CandleBulk) -> None:
    bulk.save(SYMBOL, "1h", rows(*range(6)))
    read = bulk.load(SYMBOL, "1h", since=START + HOUR, until=START + 4 * HOUR)
    assert read.open_time.tolist() == [ms_from_utc(START + number * HOUR) for number in (1, 2, 3)]
    just_before = START + 4 * HOUR - timedelta(milliseconds=1)
    assert len(bulk.load(SYMBOL, "1h", since=START, until=just_before)) == 3


def test_pages_join_without_loss_over_gaps(bulk: CandleBulk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candle_bulk, "_PAGE", 3)
    numbers = [0, 1, 2, 3, 11, 12, 40]
    bulk.save(SYMBOL, "1h", rows(*numbers))
    read = bulk.load(SYMBOL, "1h", since=START - 90 * HOUR, until=AN_END)
    assert read.open_time.tolist() == [ms_from_utc(START + number * HOUR) for number in numbers]


def test_nothing_stored_is_an_empty_array(bulk: CandleBulk) -> None:
    assert len(bulk.load(SYMBOL, "1h", since=START, until=AN_END)) == 0


def test_what_is_stored_is_listed(bulk: CandleBulk, session: Session) -> None:
    bulk.save(SYMBOL, "1h", rows(0, 1, 5))
    bulk.save("ETH/USDT", "4h", rows(0))
    hourly = StoredSeries(
        exchange=LOCAL, symbol=SYMBOL, timeframe="1h", candles=3, first=START, last=START + 5 * HOUR
    )
    assert stored_series(session)[0] == hourly
    assert [one.symbol for one in stored_series(session)] == [SYMBOL, "ETH/USDT"]
    assert stored_series(session, symbols=[SYMBOL]) == stored_series(session, timeframe="1h") == [hourly]
    assert stored_series(session, "kraken") == []


def test_two_exchanges_candles_of_one_symbol_never_mix(bulk: CandleBulk, session: Session) -> None:
    kraken = CandleBulk(session, "kraken")
    assert bulk.save(SYMBOL, "1h", rows(0, 1)) == 2
    assert kraken.save(SYMBOL, "1h", rows(1, 2, close="101")) == 2
    assert bulk.load(SYMBOL, "1h", since=START, until=AN_END).close.tolist() == [100.1, 100.1]
    assert kraken.load(SYMBOL, "1h", since=START, until=AN_END).close.tolist() == [101, 101]
    sink = io.BytesIO()
    kraken.export(SYMBOL, "1h", sink, since=START, until=AN_END)
    assert len(sink.getvalue().splitlines()) == 3
    assert [one.exchange for one in stored_series(session)] == ["kraken", LOCAL]


def test_what_is_exported_is_what_was_stored(bulk: CandleBulk) -> None:
    bulk.save(SYMBOL, "1h", rows(0, 1, 2))
    sink = io.BytesIO()
    bulk.export(SYMBOL, "1h", sink, since=START, until=START + HOUR)
    assert sink.getvalue().decode().splitlines() == [
        "timestamp,open,high,low,close,volume",
        f"{ms_from_utc(START)},100,200,0.0000533,100.10,0.12345678901234567890",
    ]


def test_an_error_of_copy_is_told_in_the_projects_words(session: Session) -> None:
    session.execute(text("SET LOCAL statement_timeout = 1"))
    with pytest.raises(TransientError, match="ran longer"), our_errors():
        CandleBulk(session, LOCAL)._copy_out("COPY (SELECT pg_sleep(%s)) TO STDOUT", (60,), io.BytesIO())
    session.rollback()
    session.execute(text("DROP TABLE candles"))
    session.execute(
        text("CREATE TABLE candles (exchange text, symbol text, timeframe text, open_time timestamptz)")
    )
    session.execute(text("INSERT INTO candles VALUES ('venue', 'BTC/USDT', '1h', '2024-01-01Z')"))
    with pytest.raises(ProgrammingError):
        CandleBulk(session, LOCAL).load(SYMBOL, "1h", since=START, until=AN_END)
