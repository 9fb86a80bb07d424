"""A download asks only for what lacks, and goes on where it was cut off."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from alina.db.engine import make_engine, session_factory, transaction
from alina.db.tables import CandleRow
from alina.domain.market import Candle
from alina.errors import ExchangeUnavailable
from alina.exchange.candle_download import Download
from alina.exchange.candle_store import LOCAL, CandleStore

SYMBOL = "BTC/USDT"
START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
Open = Callable[[], AbstractContextManager[CandleStore]]


def hour(number: int) -> datetime:
    return START + number * HOUR


def candle(number: int, close: str = "100") -> Candle:
    price = Decimal(close)
    figures = dict.fromkeys(("open", "high", "low", "close", "volume"), price)
    return Candle(symbol=SYMBOL, timeframe="1h", open_time=hour(number), **figures)


class Recorded:
    """An exchange that knows these candles; at most `page` of them an answer, of one `window` if told."""

    def __init__(self, known: list[Candle], *, page: int = 500, window: timedelta | None = None) -> None:
        self.known, self.page, self.window = known, page, window
        self.asked: list[datetime] = []
        self.failures = 0

    def candles(self, symbol: str, timeframe: str, *, since: datetime, limit: int) -> list[Candle]:
        if self.failures:
            self.failures -= 1
            raise ExchangeUnavailable("busy", retry_after=timedelta(seconds=7))
        self.asked.append(since)
        end = since + self.window if self.window else datetime.max.replace(tzinfo=UTC)
        return [one for one in self.known if since <= one.open_time < end][: min(limit, self.page)]


@pytest.fixture
def open_store(database_url: str) -> Iterator[Open]:
    engine = make_engine(database_url)
    CandleRow.__table__.create(engine)
    factory = session_factory(engine)

    @contextmanager
    def opened() -> Iterator[CandleStore]:
        with transaction(factory) as session:
            yield CandleStore(session, LOCAL)

    yield opened
    engine.dispose()


def run(
    exchange: Recorded, open_store: Open, *, first: int = 0, end: int, waits: list[float] | None = None
) -> int:
    pause = [].append if waits is None else waits.append
    download = Download(exchange, open_store, SYMBOL, "1h", pause=pause)
    done: list[timedelta] = []
    holes = download.holes(hour(first), hour(end))
    changed = sum(download.fill(hole, done.append) for hole in holes)
    assert sum(done, timedelta()) == sum((stop - start for start, stop in holes), timedelta())
    return changed


def stored(open_store: Open) -> list[Candle]:
    with open_store() as store:
        return store.history(SYMBOL, "1h", until=hour(10_000), limit=10_000)


def test_an_empty_store_is_filled_in_pages_without_the_forming_candle(open_store: Open) -> None:
    exchange = Recorded([candle(number) for number in range(20)], page=6)
    assert run(exchange, open_store, end=10) == 10
    assert stored(open_store) == [candle(number) for number in range(10)]
    assert exchange.asked == [hour(0), hour(6)]


def test_what_is_stored_is_not_asked_for_again(open_store: Open) -> None:
    exchange = Recorded([candle(number) for number in range(20)])
    run(exchange, open_store, end=10)
    exchange.asked.clear()
    assert run(exchange, open_store, end=10) == 0
    assert exchange.asked == []


def test_it_goes_on_where_it_was_cut_off(open_store: Open) -> None:
    exchange = Recorded([candle(number) for number in range(20)], page=5)
    give, exchange.candles = exchange.candles, _cut_off_after(exchange, 2)
    with pytest.raises(KeyboardInterrupt):
        run(exchange, open_store, end=20)
    assert len(stored(open_store)) == 10
    exchange.candles = give
    exchange.asked.clear()
    assert run(exchange, open_store, end=20) == 10
    assert exchange.asked[0] == hour(9)


def _cut_off_after(exchange: Recorded, pages: int) -> Callable[..., list[Candle]]:
    give = exchange.candles

    def candles(*market: str, since: datetime, limit: int) -> list[Candle]:
        if len(exchange.asked) == pages:
            raise KeyboardInterrupt
        return give(*market, since=since, limit=limit)

    return candles


def test_gaps_and_what_was_before_are_filled(open_store: Open) -> None:
    with open_store() as store:
        store.save([candle(number) for number in (5, 6, 9, 10)])
    exchange = Recorded([candle(number) for number in range(12)], page=2)
    assert run(exchange, open_store, end=11) == 7
    assert [one.open_time for one in stored(open_store)] == [hour(number) for number in range(11)]


def test_the_last_candle_is_corrected(open_store: Open) -> None:
    with open_store() as store:
        store.save([candle(0), candle(1, "99")])
    exchange = Recorded([candle(number) for number in range(4)])
    assert run(exchange, open_store, end=3) == 2
    assert stored(open_store) == [candle(0), candle(1), candle(2)]


def test_a_gap_of_the_exchanges_own_stays_and_ends_the_search(open_store: Open) -> None:
    exchange = Recorded([candle(number) for number in (0, 1, 5, 6)])
    assert run(exchange, open_store, end=7) == 4
    assert run(exchange, open_store, end=7) == 0


def test_an_exchange_that_answers_for_a_window_is_asked_until_the_end(open_store: Open) -> None:
    exchange = Recorded([candle(number) for number in (1100, 1101)], window=500 * HOUR)
    assert run(exchange, open_store, end=1200) == 2


def test_a_busy_exchange_is_asked_again_after_the_time_it_names(open_store: Open) -> None:
    exchange, waits = Recorded([candle(0)]), []
    exchange.failures = 2
    assert run(exchange, open_store, end=1, waits=waits) == 1
    assert waits == [7, 7]


def test_an_exchange_that_stays_away_ends_the_download(open_store: Open) -> None:
    exchange = Recorded([candle(0)])
    exchange.failures = 99
    with pytest.raises(ExchangeUnavailable):
        run(exchange, open_store, end=1)
