"""Files of recorded trades: CSV, parquet, feather and ccxt's JSON, to the last digit of what they hold."""

import gzip
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import csv, feather, parquet

from alina.errors import DataError
from alina.market_data.bars import CHUNK
from alina.market_data.json_rows import json_rows

_TIMES = ("timestamp", "time", "date", "datetime")
_AMOUNTS = ("amount", "quantity", "qty", "size", "volume")


class Trade(NamedTuple):
    """`ms` since the epoch; price in quote per base; amount in base."""

    ms: int
    price: Decimal
    amount: Decimal


def read_trades(path: Path) -> Iterator[Trade] | None:
    """The trades of a file, as they stand in it; None: it holds none, so it may hold candles.

    Columns: timestamp (ms, or the file's own timestamps), price, amount; names may be those of other
    programs. Raises DataError, also while they are taken, for a row that is no trade.
    """
    try:
        table = _table(path)
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: unreadable ({error}); give the whole file once more") from error
    named = {} if table is None else {name.strip().lower(): name for name in table.column_names}
    time = next((named[name] for name in _TIMES if name in named), None)
    amount = next((named[name] for name in _AMOUNTS if name in named), None)
    if table is None or time is None or amount is None or "price" not in named:
        return None
    if pa.types.is_timestamp(table[time].type):
        stamps = table[time].cast(pa.timestamp("ms", table[time].type.tz), safe=False).cast(pa.int64())
    else:
        stamps = table[time]
    texts = (table[name].cast(pa.string()) for name in (named["price"], amount))
    return _trades(path, _rows((stamps, *texts)))


def _rows(columns: Sequence[pa.ChunkedArray]) -> Iterator[tuple[object, ...]]:
    for start in range(0, len(columns[0]), CHUNK):
        yield from zip(*(column.slice(start, CHUNK).to_pylist() for column in columns), strict=True)


def _trades(path: Path, rows: Iterator[tuple[object, ...]]) -> Iterator[Trade]:
    for number, (ms, price, amount) in enumerate(rows, start=1):
        try:
            trade = Trade(int(str(ms)), Decimal(str(price)), Decimal(str(amount)))
        except (ValueError, InvalidOperation):
            raise DataError(
                f"{path}, trade {number}: a field is not a number; write ms since 1970 and decimals only"
            ) from None
        if not (
            trade.price.is_finite() and trade.price > 0 and trade.amount.is_finite() and trade.amount >= 0
        ):
            raise DataError(f"{path}, trade {number}: {trade.amount} at {trade.price}; correct or remove it")
        yield trade


def _table(path: Path) -> pa.Table | None:
    if path.name.endswith((".csv", ".csv.gz")):
        return _csv(path)
    if path.name.endswith((".json", ".json.gz")):
        return _json(path)
    read = {".parquet": parquet.read_table, ".feather": feather.read_table}.get(path.suffix)
    return None if read is None else read(path)


def _csv(path: Path) -> pa.Table | None:
    """All columns as text; None where the header names no price of a trade."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        names = file.readline().strip().split(",")
    if "price" not in (name.strip().lower() for name in names):
        return None
    return csv.read_csv(
        path, convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    )


def _json(path: Path) -> pa.Table | None:
    """ccxt's trades: a list of objects with timestamp, price and amount."""
    rows, tables = json_rows(path), []
    while some := list(islice(rows, CHUNK)):
        if not all(isinstance(row, dict) for row in some):
            return None
        columns = {name: [row.get(name) for row in some] for name in ("timestamp", "price", "amount")}
        tables.append(pa.table(columns, pa.schema({name: pa.string() for name in columns})))
    return pa.concat_tables(tables) if tables else None
