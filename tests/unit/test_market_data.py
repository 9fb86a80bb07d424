"""Files of candles of every kind hold the same candles; what is wrong in them is named."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from alina.errors import DataError
from alina.market_data.faults import faults
from alina.market_data.files import CandleFile, candle_files, read_candles, write_parquet

START_MS = 1_704_067_200_000
HOUR_MS = 3_600_000
START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HEADER = "timestamp,open,high,low,close,volume"
FIGURES = ["100.10", "101", "5.33e-05", "100.5", "0.12345678901234567890"]
NAME = "binance-BTC_USDT-1h"


def times(count: int) -> list[int]:
    return [START_MS + number * HOUR_MS for number in range(count)]


def write_csv(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def as_csv(folder: Path) -> Path:
    return write_csv(folder / f"{NAME}.csv", *(",".join([str(ms), *FIGURES]) for ms in times(3)))


def as_gzipped_csv(folder: Path) -> Path:
    (folder / f"{NAME}.csv.gz").write_bytes(gzip.compress(as_csv(folder).read_bytes()))
    return folder / f"{NAME}.csv.gz"


def as_headless_csv(folder: Path) -> Path:
    path = folder / f"{NAME}.csv"
    path.write_text("".join(f"{ms},{','.join(FIGURES)},{ms + HOUR_MS - 1},0,7\n" for ms in times(3)))
    return path


def as_iso_csv(folder: Path) -> Path:
    rows = (f"{START + number * HOUR:%Y-%m-%d %H:%M:%S},{','.join(FIGURES)}" for number in range(3))
    return write_csv(folder / f"{NAME}.csv", *rows, header="Date,Open,High,Low,Close,Volume")


def as_json(folder: Path) -> Path:
    path = folder / f"{NAME}.json"
    path.write_text(f"[{', '.join(f'[{ms}, ' + ', '.join(FIGURES) + ']' for ms in times(3))}]")
    return path


def as_seconds_in_json(folder: Path) -> Path:
    path = folder / f"{NAME}.json"
    path.write_text(json.dumps([[ms // 1000, *map(float, FIGURES)] for ms in times(3)]))
    return path


def table() -> pa.Table:
    dates = pa.array(times(3)).cast(pa.timestamp("ms", "UTC"))
    names = ("open", "high", "low", "close", "volume")
    figures = {name: [float(figure)] * 3 for name, figure in zip(names, FIGURES, strict=True)}
    return pa.table({"date": dates, **figures})


def as_parquet(folder: Path) -> Path:
    parquet.write_table(table(), folder / f"{NAME}.parquet")
    return folder / f"{NAME}.parquet"


def as_feather(folder: Path) -> Path:
    feather.write_feather(table(), folder / f"{NAME}.feather")
    return folder / f"{NAME}.feather"


@pytest.mark.parametrize(
    "write",
    [
        as_csv,
        as_gzipped_csv,
        as_headless_csv,
        as_iso_csv,
        as_json,
        as_seconds_in_json,
        as_parquet,
        as_feather,
    ],
)
def test_every_kind_of_file_holds_the_same_candles(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    read = read_candles(write(tmp_path)).arrays
    assert (read.symbol, read.timeframe) == ("BTC/USDT", "1h")
    assert read.open_time.tolist() == times(3)
    columns = (read.open, read.high, read.low, read.close, read.volume)
    assert [column[0] for column in columns] == [float(figure) for figure in FIGURES]


@pytest.mark.parametrize("write", [as_csv, as_json])
def test_text_keeps_every_digit(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    line = read_candles(write(tmp_path)).csv(0, 1).read().decode()
    assert line == f"{START_MS},{','.join(FIGURES)}\n"


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    read = read_candles(as_csv(tmp_path)).arrays
    path = tmp_path / "BTC_USDT-1h.parquet"
    write_parquet(read, path)
    again = read_candles(path).arrays
    assert np.array_equal(again.open_time, read.open_time)
    assert np.array_equal(again.volume, read.volume)


def test_rows_out_of_order_are_sorted(tmp_path: Path) -> None:
    path = write_csv(tmp_path / f"{NAME}.csv", *(f"{ms},1,1,1,1,1" for ms in times(3)[::-1]))
    assert read_candles(path).arrays.open_time.tolist() == times(3)


def test_a_name_that_tells_nothing_is_helped_by_options_and_spacing(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "prices.csv", *(f"{ms},1,1,1,1,1" for ms in times(3)))
    with pytest.raises(DataError, match="--symbol BTC/USDT"):
        read_candles(path)
    read = read_candles(path, symbol="ETH/USDT").arrays
    assert (read.symbol, read.timeframe) == ("ETH/USDT", "1h")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "unreadable"),
        (f"{HEADER}\n", "is empty"),
        ("timestamp,open,high,low,close\n1704067200000,1,1,1,1", "has no column volume"),
        (
            f"{HEADER}\n1704067200000,1,1,1,1,1\n1704070800000,1,1,1,x,1",
            "candle 2: close 'x' is not a number",
        ),
        (f"{HEADER}\n1704067200000,1,,1,1,1", "candle 1: high"),
        (f"{HEADER}\n1704067200000,1,nan,1,1,1", "candle 1: high is missing"),
        (f"{HEADER}\nyesterday,1,1,1,1,1", "times are written neither"),
    ],
)
def test_a_file_that_holds_no_candles_is_named_with_the_remedy(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / f"{NAME}.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=words):
        read_candles(path)


def test_a_missing_file_and_a_strange_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        candle_files(tmp_path / f"{NAME}.csv")
    with pytest.raises(DataError, match="unknown kind of file"):
        read_candles(tmp_path / f"{NAME}.xlsx")


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "README.md").write_text("none of candles")
    path = as_csv(tmp_path / "below")
    assert candle_files(tmp_path) == [path]
    assert candle_files(path) == [path]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no file of candles"):
        candle_files(tmp_path / "none")


def faulty(folder: Path, *rows: str, timeframe: str = "1h") -> CandleFile:
    return read_candles(write_csv(folder / f"BTC_USDT-{timeframe}.csv", *rows))


def test_nothing_is_wrong_with_good_candles(tmp_path: Path) -> None:
    assert faults(faulty(tmp_path, *(f"{ms},2,3,1,2,1" for ms in times(5))).arrays) == []


def test_gaps_are_counted_in_candles(tmp_path: Path) -> None:
    rows = [f"{ms},2,3,1,2,1" for ms in times(9)]
    (gap,) = faults(faulty(tmp_path, *rows[:2], *rows[4:6], *rows[7:]).arrays)
    assert (gap.kind, gap.count, gap.first, gap.last) == ("gap", 3, START + 2 * HOUR, START + 6 * HOUR)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (f"{START_MS + HOUR_MS},2,3,1,2,5", "duplicate"),
        (f"{START_MS + HOUR_MS + 1},2,3,1,2,1", "off the grid"),
        (f"{START_MS + 2 * HOUR_MS},2,1,3,2,1", "impossible"),
        (f"{START_MS + 2 * HOUR_MS},2,3,0,2,1", "impossible"),
        (f"{START_MS + 2 * HOUR_MS},2,3,1,4,1", "impossible"),
        (f"{START_MS + 2 * HOUR_MS},2,3,1,2,-1", "impossible"),
        (f"{START_MS + 2 * HOUR_MS},2,inf,1,2,1", "impossible"),
        (f"{START_MS + 2 * HOUR_MS},2,3,1,2,0", "no volume"),
    ],
)
def test_each_fault_is_found(tmp_path: Path, row: str, kind: str) -> None:
    found = faults(faulty(tmp_path, *(f"{ms},2,3,1,2,1" for ms in times(2)), row).arrays)
    assert [(one.kind, one.count) for one in found] == [(kind, 1)]


def test_weeks_begin_on_mondays(tmp_path: Path) -> None:
    assert faults(faulty(tmp_path, f"{START_MS},2,3,1,2,1", timeframe="1w").arrays) == []
