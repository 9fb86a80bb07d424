"""The price moves on a known path, and nothing of its future is ever shown."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.market_data.bars import Bar, BarColumns
from alina.venue.candles_csv import Gap, Series
from alina.venue.replay import Replay

HOUR = 3_600_000
TICK = Decimal("0.01")


def bar(hour: int, open_: str, high: str, low: str, close: str, volume: str = "60") -> Bar:
    return Bar(hour * HOUR, Decimal(open_), Decimal(high), Decimal(low), Decimal(close), Decimal(volume))


RISING = bar(1, "100", "112", "94", "106")
FALLING = bar(2, "106", "109", "97", "100")
AFTER_GAP = bar(4, "120", "121", "119", "120")


@pytest.fixture
def replay() -> Replay:
    series = Series("test", HOUR, BarColumns.of((RISING, FALLING, AFTER_GAP)), (Gap(3 * HOUR, 4 * HOUR),))
    return Replay(series, TICK)


@st.composite
def series(draw: st.DrawFn) -> Series:
    """Up to six candles with prices in cents, with gaps."""
    bars: list[Bar] = []
    hour = 0
    for _ in range(draw(st.integers(2, 6))):
        hour += draw(st.sampled_from([1, 1, 1, 3]))
        cents = sorted(draw(st.tuples(*[st.integers(1, 10_000)] * 4)))
        low, *body, high = (Decimal(one) / 100 for one in cents)
        open_, close = draw(st.permutations(body))
        bars.append(Bar(hour * HOUR, open_, high, low, close, Decimal(draw(st.integers(0, 99)))))
    return Series("drawn", HOUR, BarColumns.of(bars), ())


def is_open(one: Series, ms: int) -> bool:
    """A candle runs at this moment: in an outage nobody trades with a resting order."""
    return any(candle.open_ms <= ms < candle.open_ms + HOUR for candle in one.bars)


def span(one: Series) -> tuple[int, int]:
    return one.bars[0].open_ms, one.end_ms


def test_a_rising_candle_runs_open_low_high_close_in_thirds(replay: Replay) -> None:
    at = [replay.price(HOUR + HOUR * sixth // 6) for sixth in range(6)]
    assert at == [Decimal(one) for one in ("100", "97", "94", "103", "112", "109")]
    assert replay.price(2 * HOUR) == Decimal("106")


def test_a_falling_candle_too_goes_to_its_low_before_its_high(replay: Replay) -> None:
    at = [replay.price(2 * HOUR + HOUR * third // 3) for third in range(3)]
    assert at == [Decimal(one) for one in ("106", "97", "109")]


@given(series(), st.data())
def test_of_a_stop_below_and_a_target_above_in_one_candle_the_stop_comes_first(
    one: Series, data: st.DataObject
) -> None:
    candle = data.draw(st.sampled_from(one.bars))
    begin, end = candle.open_ms, candle.open_ms + HOUR
    stop = Decimal(data.draw(st.integers(int(candle.low * 100), int(candle.open * 100)))) / 100
    target = Decimal(data.draw(st.integers(int(candle.open * 100) + 1, int(candle.high * 100) + 1))) / 100
    first = Replay(one, TICK).first_at_or_below(stop, begin - 1, end)
    last = Replay(one, TICK).first_at_or_above(target, begin, end)
    assert first is not None
    assert last is None or first < last


def test_in_an_outage_the_price_stays_and_no_candle_is_invented(replay: Replay) -> None:
    assert replay.price(3 * HOUR) == replay.price(4 * HOUR - 1) == FALLING.close
    assert replay.bars(HOUR, 4 * HOUR - 1, 4 * HOUR - 1) == [RISING, FALLING]


def test_after_the_end_the_price_stays(replay: Replay) -> None:
    assert replay.price(5 * HOUR) == replay.price(50 * HOUR) == AFTER_GAP.close


def test_the_book_s_volume_is_that_of_a_closed_candle(replay: Replay) -> None:
    series = Series(
        "test", HOUR, BarColumns.of((bar(1, "1", "1", "1", "1", "7"), bar(2, "1", "1", "1", "1", "9"))), ()
    )
    replay = Replay(series, TICK)
    assert replay.last_volume(3 * HOUR - 1) == 7
    assert replay.last_volume(3 * HOUR) == 9


def test_a_price_between_two_looks_is_not_skipped(replay: Replay) -> None:
    low = replay.first_at_or_below(Decimal("94"), HOUR, 3 * HOUR)
    assert low is not None
    assert replay.price(low) == 94 < replay.price(low - 1)
    high = replay.first_at_or_above(Decimal("112"), HOUR, 3 * HOUR)
    assert high is not None
    assert replay.price(high) == 112 > replay.price(high - 1)
    assert replay.first_at_or_below(Decimal("93.99"), HOUR, 5 * HOUR) is None
    assert replay.first_at_or_above(Decimal("120"), HOUR, 5 * HOUR) == 4 * HOUR


def test_a_look_does_not_see_what_the_last_one_saw(replay: Replay) -> None:
    turn = HOUR + HOUR // 3
    assert replay.first_at_or_below(Decimal("94"), turn + 60_000, 2 * HOUR) is None


@given(series(), st.data())
def test_the_forming_candle_shows_only_what_the_path_has_reached(one: Series, data: st.DataObject) -> None:
    begin, end = span(one)
    now = data.draw(st.integers(begin, end - 1))
    replay = Replay(one, TICK)
    forming = replay.bars(begin, now, now)[-1]
    steps = [*range(forming.open_ms, now, HOUR // 30), now]
    steps += [forming.open_ms + HOUR * third // 3 for third in (1, 2)]
    walked = [replay.price(ms) for ms in steps if ms <= now]
    assert forming.open_ms + HOUR <= now or (
        forming.high == max(walked) and forming.low == min(walked) and forming.close == replay.price(now)
    )


@given(series(), st.data())
def test_what_is_shown_does_not_depend_on_candles_that_are_still_to_come(
    one: Series, data: st.DataObject
) -> None:
    begin, end = span(one)
    now = data.draw(st.integers(begin, end - 1))
    known = [candle for candle in one.bars if candle.open_ms <= now]
    later = bar(now // HOUR + 5, "7777", "9999", "5555", "8888")
    other = Series("other future", HOUR, BarColumns.of((*known, later)), ())
    assert Replay(one, TICK).bars(begin, now, now) == Replay(other, TICK).bars(begin, now, now)
    assert Replay(one, TICK).price(now) == Replay(other, TICK).price(now)


@given(series(), st.data())
def test_the_first_touch_of_a_price_is_found_exactly(one: Series, data: st.DataObject) -> None:
    begin, end = span(one)
    since = data.draw(st.integers(begin, end - 2))
    until = data.draw(st.integers(since + 1, end - 1))
    price = Decimal(data.draw(st.integers(1, 10_000))) / 100
    replay = Replay(one, TICK)
    found = replay.first_at_or_below(price, since, until)
    grid = [*range(since + 1, until, HOUR // 30), until]
    touched = [ms for ms in grid if is_open(one, ms) and replay.price(ms) <= price]
    if found is None:
        assert not touched
    else:
        assert since < found <= until
        assert found <= min(touched, default=until)
        assert min(replay.price(found), replay.price(found - 1)) <= price or found % HOUR == 0
        assert found == since + 1 or replay.price(found - 1) > price or not is_open(one, found - 1)


@given(series(), st.data())
def test_many_small_looks_find_what_one_large_look_finds(one: Series, data: st.DataObject) -> None:
    begin, end = span(one)
    middle = data.draw(st.integers(begin + 1, end - 1))
    price = Decimal(data.draw(st.integers(1, 10_000))) / 100
    replay = Replay(one, TICK)
    whole = replay.first_at_or_above(price, begin, end)
    halves = replay.first_at_or_above(price, begin, middle), replay.first_at_or_above(price, middle, end)
    assert (whole is None) == (halves == (None, None))
