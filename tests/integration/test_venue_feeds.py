"""The same market out of every kind of file."""

import csv
import gzip
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from alina.errors import DataError
from alina.market_data.bars import Bar
from alina.venue.candles_csv import Series
from alina.venue.feeds import load
from alina.venue.spec import Listing

MINUTE = 60_000
BEGIN = 1_700_000_040_000
CANDLES = ("timestamp", "open", "high", "low", "close", "volume")
BARS = [
    Bar(BEGIN + number * MINUTE, *map(Decimal, ("1.5", "1.7500001", "1.25", "1.5", f"{number}.125")))
    for number in (1, 2, 3, 5)
]
#: those of the minutes 1, 2 and 4
TRADES: list[tuple[object, ...]] = [
    (BEGIN + 60_001, "1.5", "2"),
    (BEGIN + 61_000, "1.75", "0.5"),
    (BEGIN + 119_999, "1.25", "1"),
    (BEGIN + 120_000, "1.3", "1"),
    (BEGIN + 240_000, "1.4", "3"),
]


def write(path: Path, names: tuple[str, ...], rows: list[tuple[object, ...]]) -> Path:
    """The rows as the file's suffix says."""
    if path.name.endswith(".csv"):
        with path.open("w") as file:
            csv.writer(file).writerows([names, *rows])
    elif path.name.endswith(".json"):
        is_trades = "price" in names
        content = [dict(zip(names, row, strict=True)) if is_trades else row for row in rows]
        path.write_text(json.dumps(content, default=str))
    else:
        columns = zip(*rows, strict=True)
        table = pa.table({name: list(column) for name, column in zip(names, columns, strict=True)})
        (parquet.write_table if path.suffix == ".parquet" else feather.write_feather)(table, path)
    return path


def loaded(path: Path) -> Series:
    return load(Listing("BTC/USDT", str(path)), warmup=1)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet", ".feather"])
def test_candles_are_the_same_to_the_last_digit_in_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    series = loaded(write(tmp_path / f"BTC_USDT-1m{suffix}", CANDLES, list(BARS)))
    assert list(series.bars) == BARS
    assert (series.interval_ms, series.gaps) == (MINUTE, ((BEGIN + 4 * MINUTE, BEGIN + 5 * MINUTE),))


@pytest.mark.parametrize(
    ("suffix", "amount"), [(".csv", "amount"), (".json", "amount"), (".parquet", "qty"), (".feather", "size")]
)
def test_trades_become_candles_of_a_minute(tmp_path: Path, suffix: str, amount: str) -> None:
    series = loaded(write(tmp_path / f"trades{suffix}", ("timestamp", "price", amount), list(TRADES)))
    first, second, last = series.bars
    assert first == Bar(BEGIN + MINUTE, *map(Decimal, ("1.5", "1.75", "1.25", "1.25", "3.5")))
    assert (second.open_ms, second.volume, last.open_ms) == (BEGIN + 2 * MINUTE, 1, BEGIN + 4 * MINUTE)


def test_a_compressed_file_of_trades_reads_like_the_plain_one(tmp_path: Path) -> None:
    plain = write(tmp_path / "trades.csv", ("time", "price", "size"), list(TRADES))
    packed = tmp_path / "trades.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert loaded(packed).bars == loaded(plain).bars


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*TRADES, (BEGIN + 250_000, "nothing", "1")], "trade 6: a field is not a number"),
        ([*TRADES, (BEGIN + 250_000, "-1", "1")], "trade 6: 1 at -1"),
        ([*TRADES, (BEGIN, "1", "1")], "candle 4|line 4"),
        (TRADES[:1], "too few"),
    ],
)
def test_a_file_of_trades_that_cannot_be_true_names_what_is_wrong(
    tmp_path: Path, rows: list[tuple[object, ...]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        loaded(write(tmp_path / "trades.csv", ("timestamp", "price", "amount"), rows))


def test_a_broken_and_a_missing_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="broken"):
        loaded(tmp_path / "broken.parquet")
    with pytest.raises(DataError, match="no such file"):
        loaded(tmp_path / "missing.feather")
