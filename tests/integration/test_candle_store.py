from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy.orm import Session

from alina.db.engine import make_engine
from alina.db.tables import CandleRow
from alina.domain.market import Candle
from alina.exchange.candle_store import LOCAL, CandleStore
from alina.exchange.candle_sync import sync

SYMBOL = "BTC/USDT"
START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def candle(number: int, close: str = "100.10", *, symbol: str = SYMBOL, timeframe: str = "1h") -> Candle:
    price = Decimal(close)
    return Candle(
        symbol=symbol,
        timeframe=timeframe,
        open_time=START + number * HOUR,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=Decimal("0.12345678901234567890"),
    )


def hour(number: int) -> datetime:
    return START + number * HOUR


@pytest.fixture
def store(database_url: str) -> Iterator[CandleStore]:
    engine = make_engine(database_url)
    CandleRow.__table__.create(engine)
    with Session(engine) as session:
        yield CandleStore(session, LOCAL)
    engine.dispose()


def test_a_candle_comes_back_to_the_last_digit(store: CandleStore):
    assert store.save([candle(0)]) == 1
    assert store.latest(SYMBOL, "1h") == candle(0)
    assert str(store.latest(SYMBOL, "1h").close) == "100.10"


def test_saving_again_changes_nothing(store: CandleStore):
    assert store.save([candle(0), candle(1)]) == 2
    assert store.save([candle(0), candle(1), candle(1)]) == 0
    assert store.save([]) == 0


def test_a_corrected_candle_replaces_the_older_one(store: CandleStore):
    store.save([candle(0), candle(1)])
    assert store.save([candle(0), candle(1, "101")]) == 1
    assert store.latest(SYMBOL, "1h").close == 101


def test_symbols_and_timeframes_are_apart(store: CandleStore):
    store.save([candle(0), candle(5, symbol="ETH/USDT"), candle(8, timeframe="4h")])
    assert store.latest(SYMBOL, "1h") == candle(0)
    assert store.latest("XRP/USDT", "1h") is None
    assert store.history(SYMBOL, "4h", until=hour(12), limit=9) == [candle(8, timeframe="4h")]


def test_two_exchanges_candles_of_one_symbol_never_mix(store: CandleStore):
    other = CandleStore(store._session, "kraken")
    store.save([candle(0), candle(1)])
    other.save([candle(1, "101"), candle(5, "105")])
    assert store.latest(SYMBOL, "1h") == candle(1)
    assert other.latest(SYMBOL, "1h") == candle(5, "105")
    assert store.history(SYMBOL, "1h", until=hour(9), limit=9) == [candle(0), candle(1)]
    assert other.after(SYMBOL, "1h", since=hour(0), until=hour(9), limit=9)[0] == candle(1, "101")
    assert store.gaps(SYMBOL, "1h", since=hour(0), until=hour(9)) == []
    assert other.gaps(SYMBOL, "1h", since=hour(0), until=hour(9)) == [(hour(2), hour(5))]


def test_history_ends_at_the_last_candle_that_had_closed(store: CandleStore):
    store.save([candle(number) for number in range(6)])
    assert store.history(SYMBOL, "1h", until=hour(4), limit=2) == [candle(2), candle(3)]
    just_before = hour(4) - timedelta(milliseconds=1)
    assert store.history(SYMBOL, "1h", until=just_before, limit=2) == [candle(1), candle(2)]


def test_what_came_after_is_cut_at_both_ends(store: CandleStore):
    store.save([candle(number) for number in range(6)])
    assert store.after(SYMBOL, "1h", since=hour(2), until=hour(4), limit=9) == [candle(2), candle(3)]
    assert store.after(SYMBOL, "1h", since=hour(2), until=hour(9), limit=1) == [candle(2)]
    half_past = hour(2) + HOUR / 2
    assert store.after(SYMBOL, "1h", since=half_past, until=hour(9), limit=1) == [candle(3)]


def test_gaps_are_the_holes_between_candles(store: CandleStore):
    store.save([candle(number) for number in (0, 1, 4, 5, 7)])
    assert store.gaps(SYMBOL, "1h", since=hour(0), until=hour(9)) == [(hour(2), hour(4)), (hour(6), hour(7))]
    assert store.gaps(SYMBOL, "1h", since=hour(4), until=hour(6)) == []


class RecordedExchange:
    """Gives out candles in pages as an exchange does, the forming one included."""

    def __init__(self, numbers: range | list[int], *, page: int = 500) -> None:
        self.numbers = list(numbers)
        self.page = page
        self.asked: list[datetime] = []

    def candles(self, symbol: str, timeframe: str, *, since: datetime, limit: int) -> list[Candle]:
        self.asked.append(since)
        known = [candle(number, symbol=symbol, timeframe=timeframe) for number in self.numbers]
        return [one for one in known if one.open_time >= since][: min(limit, self.page)]


def test_an_empty_store_begins_with_the_history_and_without_the_forming_candle(store: CandleStore):
    exchange = RecordedExchange(range(20))
    now = hour(10) + HOUR / 2
    closed = sync(exchange, store, SYMBOL, "1h", now=now, history=4)
    assert closed == [candle(number) for number in (7, 8, 9)]
    assert store.latest(SYMBOL, "1h") == candle(9)


def test_a_candle_counts_at_the_moment_it_closes(store: CandleStore):
    exchange = RecordedExchange(range(20))
    assert sync(exchange, store, SYMBOL, "1h", now=hour(10), history=2) == [candle(8), candle(9)]


def test_only_what_is_new_is_asked_for_and_returned(store: CandleStore):
    exchange = RecordedExchange(range(20))
    sync(exchange, store, SYMBOL, "1h", now=hour(10), history=4)
    exchange.asked.clear()
    assert sync(exchange, store, SYMBOL, "1h", now=hour(10), history=4) == []
    assert sync(exchange, store, SYMBOL, "1h", now=hour(12), history=4) == [candle(10), candle(11)]
    assert exchange.asked == [hour(9), hour(9)]


def test_what_the_exchange_corrects_after_the_close_is_stored_and_is_no_news(store: CandleStore):
    sync(RecordedExchange(range(20)), store, SYMBOL, "1h", now=hour(10), history=4)
    exchange = RecordedExchange(range(20))
    exchange.candles = lambda *_, since, limit: [candle(9, "101"), candle(10)]
    assert sync(exchange, store, SYMBOL, "1h", now=hour(10), history=4) == []
    assert store.latest(SYMBOL, "1h") == candle(9, "101")


def test_a_long_absence_is_fetched_in_pages_however_short_they_are(store: CandleStore):
    exchange = RecordedExchange(range(1400), page=300)
    closed = sync(exchange, store, SYMBOL, "1h", now=hour(1300), history=1300)
    assert len(closed) == 1300
    assert len(exchange.asked) == 5


def test_a_hole_is_asked_for_once_more_and_filled(store: CandleStore):
    exchange = RecordedExchange([0, 1, 2, 5, 6])
    give = exchange.candles

    def late(*args: str, since: datetime, limit: int) -> list[Candle]:
        page = give(*args, since=since, limit=limit)
        exchange.numbers = list(range(7))  # the exchange finds its candles after the first answer
        return page

    exchange.candles = late
    closed = sync(exchange, store, SYMBOL, "1h", now=hour(7), history=7)
    assert closed == [candle(number) for number in range(7)]
    assert store.gaps(SYMBOL, "1h", since=hour(0), until=hour(7)) == []


def test_a_real_outage_stays_a_hole_and_is_not_asked_for_again(store: CandleStore):
    exchange = RecordedExchange([0, 1, 2, 5, 6, 7, 8])
    assert len(sync(exchange, store, SYMBOL, "1h", now=hour(7), history=7)) == 5
    exchange.asked.clear()
    assert sync(exchange, store, SYMBOL, "1h", now=hour(8), history=7) == [candle(7)]
    assert exchange.asked == [hour(6)]


def test_a_hole_next_to_the_last_stored_candle_is_seen(store: CandleStore):
    exchange = RecordedExchange(range(3))
    sync(exchange, store, SYMBOL, "1h", now=hour(3), history=3)
    exchange.numbers = [0, 1, 2, 4, 5]
    exchange.asked.clear()
    assert sync(exchange, store, SYMBOL, "1h", now=hour(6), history=3) == [candle(4), candle(5)]
    assert exchange.asked == [hour(2), hour(3)]
