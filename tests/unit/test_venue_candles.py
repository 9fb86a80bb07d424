"""A file of candles is believed only when every row can be true."""

import gzip
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pytest

from alina.errors import DataError
from alina.market_data.bars import CHUNK
from alina.venue.candles_csv import Gap, load_series
from alina.venue.spec import Listing

HOUR = 3_600_000
HEADER = "timestamp,open,high,low,close,volume"


def row(hour: int, prices: str = "100,110,90,105", volume: str = "5") -> str:
    return f"{hour * HOUR},{prices},{volume}"


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "candles.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def hours(*numbers: int) -> list[str]:
    return [row(number) for number in numbers]


def test_prices_are_read_exactly_as_they_are_written(tmp_path: Path) -> None:
    path = write(tmp_path, *hours(1, 2), row(3, "5.33e-05,5.4e-05,5.288e-05,5.3e-05", "0.1"))
    series = load_series(path, warmup=1)
    assert series.bars[2].low == Decimal("0.00005288")
    assert series.bars[2].volume == Decimal("0.1")
    assert series.price_decimals == 8


def test_a_compressed_file_reads_like_the_plain_one(tmp_path: Path) -> None:
    plain = write(tmp_path, *hours(1, 2, 3))
    packed = tmp_path / "candles.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert load_series(packed, warmup=1).bars == load_series(plain, warmup=1).bars


def test_a_candle_takes_some_hundred_bytes_and_little_more_while_it_is_read(tmp_path: Path) -> None:
    count = 4 * CHUNK
    path = write(tmp_path, *(row(hour, f"{hour},{hour}.5,{hour},{hour}.25") for hour in range(1, count + 1)))
    tracemalloc.start()
    try:
        series = load_series(path, warmup=1)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(series.bars) == count
    assert kept < 150 * count
    assert most < 500 * count


def test_the_timeframe_is_the_most_common_spacing_and_outages_are_reported(tmp_path: Path) -> None:
    series = load_series(write(tmp_path, *hours(1, 2, 3, 7, 8)), warmup=1)
    assert series.interval_ms == HOUR
    assert series.gaps == (Gap(4 * HOUR, 7 * HOUR),)
    assert series.end_ms == 9 * HOUR


def test_the_shipped_sample_has_four_hundred_days_without_a_gap() -> None:
    series = load_series(Listing("BTC/USDT", "sample").path, warmup=250)
    assert (len(series.bars), series.interval_ms, series.gaps) == (9600, HOUR, ())


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("7200000,1,2,0.5", "columns"),
        ("", "columns"),
        ("soon,1,2,0.5,1,1", "not a number"),
        (row(2, "1,x,0.5,1"), "not a number"),
        (row(2, "1,NaN,0.5,1"), "not finite"),
        (row(2, "1,1e30,0.5,1"), "not below"),
        (row(2, "1,2,0,1"), "not above zero"),
        (row(2, "1,0.9,0.5,1"), "outside low"),
        (row(2, "1,2,1.5,1"), "outside low"),
        (row(2, volume="-1"), "negative"),
        (row(2, "1,2,0.000000001,1"), "decimals"),
        (row(2, volume="1." + "1" * 18), "18 digits"),
        (row(1), "duplicate"),
        (row(0, "1,2,1,1"), "1970"),
        ("3599999,1,2,1,1,1", "older"),
    ],
)
def test_a_row_that_cannot_be_true_is_named_with_its_line(tmp_path: Path, bad: str, fault: str) -> None:
    path = write(tmp_path, row(1), bad, *hours(3, 4, 5))
    with pytest.raises(DataError, match=rf"candles\.csv, line 3: .*{fault}"):
        load_series(path, warmup=1)


@pytest.mark.parametrize(("bad", "fault"), [(row(2), "older"), (row(CHUNK + 2, "1,x,1,1"), "not a number")])
def test_a_wrong_row_far_down_is_named_with_its_line(tmp_path: Path, bad: str, fault: str) -> None:
    path = write(tmp_path, *hours(*range(1, CHUNK + 2)), bad, *hours(CHUNK + 3))
    with pytest.raises(DataError, match=rf"line {CHUNK + 3}: .*{fault}"):
        load_series(path, warmup=1)


def test_a_candle_that_is_wrong_by_a_digit_which_no_float_shows_is_refused(tmp_path: Path) -> None:
    right, wrong = (
        f"1234567890.12345678,1234567890.12345679,1234567890.1234567{digit},1234567890.12345678"
        for digit in "79"
    )
    load_series(write(tmp_path, *hours(1, 2), row(3, right)), warmup=1)
    with pytest.raises(DataError, match="outside low"):
        load_series(write(tmp_path, *hours(1, 2), row(3, wrong)), warmup=1)


def test_a_row_off_the_grid_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, *hours(1, 2, 3), f"{4 * HOUR + 1},100,110,90,105,5", *hours(5, 6))
    with pytest.raises(DataError, match=r"line 5: .* off the grid"):
        load_series(path, warmup=1)


@pytest.mark.parametrize("header", ["", "time,open,high,low,close,volume", "open,high,low,close,volume"])
def test_a_file_without_the_header_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match="line 1: the header is missing"):
        load_series(write(tmp_path, *hours(1, 2, 3), header=header), warmup=1)


def test_a_file_shorter_than_the_warmup_and_two_candles_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, *hours(1, 2, 3))
    load_series(path, warmup=1)
    with pytest.raises(DataError, match="at least 4 candles"):
        load_series(path, warmup=2)


def test_a_spacing_that_is_no_timeframe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no timeframe"):
        load_series(write(tmp_path, *hours(7, 14, 21)), warmup=1)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", gzip.compress(b"x" * 999)[:20]])
def test_a_truncated_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "candles.csv.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="unreadable"):
        load_series(path, warmup=1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_series(tmp_path / "none.csv", warmup=1)
