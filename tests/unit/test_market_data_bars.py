"""Columns of candles give back what was put in, digit by digit."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.market_data.bars import CHUNK, Bar, BarColumns
from alina.market_data.decimals import MOST_DIGITS, DecimalColumn

#: as exchanges write numbers, and as programs write floats
WRITTEN = st.builds("{:.{}f}".format, st.decimals(-(10**9), 10**9, places=8), st.integers(0, 8)).filter(
    lambda text: Decimal(text) != 0  # there is no minus zero
)
FLOAT = st.floats(1e-90, 1e90).map(repr)
#: what a parser that counts characters may take for something else
ODD = st.text("0123456789.e-+E_ N", min_size=1, max_size=30)


@given(st.lists(WRITTEN | FLOAT | st.just("0.00"), max_size=20))
def test_every_number_comes_back_as_it_was_written(texts: list[str]) -> None:
    column = DecimalColumn.of(texts)
    assert [str(value) for value in column] == [str(Decimal(text)) for text in texts]
    assert [str(column[index]) for index in range(len(column))] == [str(value) for value in column]
    assert column.floats.tolist() == [float(text) for text in texts]


@given(st.lists(st.integers(-(10**MOST_DIGITS) + 1, 10**MOST_DIGITS - 1), min_size=1), st.integers(-30, 30))
def test_the_floats_are_the_nearest_ones(digits: list[int], exponent: int) -> None:
    column = DecimalColumn(np.array(digits), np.full(len(digits), exponent, np.int8))
    assert column.floats.tolist() == [float(value) for value in column]


@given(ODD)
def test_no_text_is_taken_for_another_number(text: str) -> None:
    try:
        [value] = DecimalColumn.of([text])
    except ValueError:
        return
    assert value == Decimal(text)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not a number"),
        (".", "not a number"),
        ("1.2.3", "not a number"),
        ("1\x002", "not a number"),
        ("1é", "not a number"),
        ("NaN", "not finite"),
        ("-Infinity", "not finite"),
        ("1234567890.123456789", "18 digits"),
        ("123456789012345678.e-05999", "18 digits"),
        ("1e999", "18 digits"),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        DecimalColumn.of(["1.5", text])


def test_zeros_at_the_end_do_not_count_as_digits() -> None:
    assert list(DecimalColumn.of(["1000000000000.00000000"])) == [10**12]


@pytest.mark.parametrize(
    ("texts", "decimals"),
    [([], 0), (["100", "1e5"], 0), (["1.500", "2.10"], 1), (["1.50", "0.00000001", "3"], 8), (["-0.25"], 2)],
)
def test_decimals_are_counted_without_the_zeros_at_the_end(texts: list[str], decimals: int) -> None:
    assert DecimalColumn.of(texts).decimals == decimals


def some_bars(count: int) -> list[Bar]:
    return [Bar(number, *(Decimal(number + figure) / 100 for figure in range(5))) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1])
def test_candles_are_read_as_they_were_packed(count: int) -> None:
    bars = some_bars(count)
    columns = BarColumns.of(iter(bars))
    assert (len(columns), list(columns), columns[count:]) == (count, bars, BarColumns.of([]))
    assert [columns[index] for index in range(count)] == bars


def test_a_slice_is_a_view_and_parts_are_joined_again() -> None:
    columns = BarColumns.of(some_bars(9))
    part = columns[2:5]
    assert list(part) == some_bars(9)[2:5]
    assert (part[-1], np.shares_memory(part.close.digits, columns.close.digits)) == (columns[4], True)
    assert BarColumns.joined([columns[:2], part, columns[5:]]) == columns != part


def test_candles_are_the_same_whatever_zeros_they_are_written_with() -> None:
    one, other = (Bar(1, *(Decimal(text),) * 5) for text in ("1.5", "1.50"))
    assert BarColumns.of([one]) == BarColumns.of([other])
