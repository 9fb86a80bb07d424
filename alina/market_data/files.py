"""Files of recorded candles: CSV, parquet, feather and ccxt's JSON, to the last digit of what they hold."""

import gzip
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, feather, parquet

from alina.domain.market import timeframe_duration
from alina.errors import DataError
from alina.market_data.arrays import FIGURES, CandleArrays
from alina.market_data.bars import CHUNK
from alina.market_data.json_rows import json_rows
from alina.market_data.names import named

TIME = "timestamp"
_COLUMNS = (TIME, *FIGURES)
#: what other programs call the open time
_NAMES_OF_TIME = (TIME, "date", "datetime", "time", "open_time", "open time")
#: whole numbers from here on up count the next smaller unit: seconds, ms, µs, ns
_MS, _US, _NS = 10**11, 10**14, 10**17
_MARKET = r"[A-Z0-9]+/[A-Z0-9]+"
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000}


@dataclass(frozen=True)
class CandleFile:
    """The candles of one file, sorted by time."""

    path: Path
    symbol: str
    timeframe: str
    #: columns timestamp (ms since the epoch) and the figures as decimal text
    rows: pa.Table

    @cached_property
    def arrays(self) -> CandleArrays:
        """The same as floats, worked out once."""
        figures = {name: self.rows[name].cast(pa.float64()).to_numpy() for name in FIGURES}
        times = self.rows[TIME].to_numpy()
        return CandleArrays(symbol=self.symbol, timeframe=self.timeframe, open_time=times, **figures)

    def csv(self, start: int, stop: int) -> io.BytesIO:
        """The rows [start, stop) as CSV without a header, for Postgres' COPY."""
        sink = pa.BufferOutputStream()
        options = csv.WriteOptions(include_header=False, quoting_style="none")
        csv.write_csv(self.rows.slice(start, stop - start), sink, options)
        return io.BytesIO(sink.getvalue())


def candle_files(path: Path) -> list[Path]:
    """The file itself; of a folder every file in it, and below it, that can be read, sorted by name.

    Raises DataError where there is no file, or none of candles.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise DataError(f"{path}: there is no such file; correct the path")
    found = sorted(one for one in path.rglob("*") if one.is_file() and _reader(one) is not None)
    if not found:
        raise DataError(f"{path}: holds no file of candles; name a folder with {', '.join(_READERS)}")
    return found


def read_candles(path: Path, *, symbol: str | None = None, timeframe: str | None = None) -> CandleFile:
    """Read one file. What is not given is told by its name, a timeframe also by its candles' spacing.

    The rows may be wrong in themselves (see market_data.faults). Raises DataError for a file that is
    none of candles, naming the remedy.
    """
    symbol = symbol or named(path).symbol
    if symbol is None:
        raise DataError(f"{path}: which market is it? Name it with --symbol, e.g. --symbol BTC/USDT")
    if not re.fullmatch(_MARKET, symbol):
        raise DataError(f"symbol {symbol!r} is not BASE/QUOTE: write e.g. BTC/USDT")
    read = _reader(path)
    if read is None:
        raise DataError(f"{path}: unknown kind of file; give one of {', '.join(_READERS)}")
    try:
        table = read(path)
    except (OSError, EOFError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path}: unreadable ({error}); give the whole file once more") from error
    rows = _sorted(_rows(table, path))
    timeframe = timeframe or named(path).timeframe or _spacing(rows[TIME].to_numpy(), path)
    timeframe_duration(timeframe)  # raises for one that is none
    return CandleFile(path, symbol, timeframe, rows)


def _read_csv(path: Path) -> pa.Table:
    """All columns as text; a file without a header begins with time, open, high, low, close, volume."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        first = file.readline().strip().split(",")
    names = [*_COLUMNS, *(str(number) for number in range(len(_COLUMNS), len(first)))]
    bare = first[0].strip().isdigit()
    options = csv.ReadOptions(column_names=names[: len(first)] if bare else None)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names if bare else first, pa.string()), strings_can_be_null=True
    )
    return csv.read_csv(path, options, convert_options=convert)


def _read_json(path: Path) -> pa.Table:
    """ccxt's OHLCV: a list of [ms, open, high, low, close, volume]."""
    rows, tables = json_rows(path), []
    while some := list(islice(rows, CHUNK)):
        if any(not isinstance(row, list) or len(row) < len(_COLUMNS) for row in some):
            raise ValueError("no list of [ms, open, high, low, close, volume]")
        columns = zip(*(row[: len(_COLUMNS)] for row in some), strict=True)
        tables.append(pa.table([pa.array(one, pa.string()) for one in columns], names=_COLUMNS))
    return pa.concat_tables(tables or [pa.table({name: [] for name in _COLUMNS})])


_READERS: Mapping[str, Callable[[Path], pa.Table]] = {
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".json": _read_json,
    ".json.gz": _read_json,
    ".parquet": lambda path: parquet.read_table(path),
    ".feather": lambda path: feather.read_table(path),
}


def _reader(path: Path) -> Callable[[Path], pa.Table] | None:
    return next((read for suffix, read in _READERS.items() if path.name.endswith(suffix)), None)


def _rows(table: pa.Table, path: Path) -> pa.Table:
    """The six columns by their own names: time in ms, figures as text."""
    there = {name.strip().lower(): name for name in table.column_names}
    time = next((there[name] for name in _NAMES_OF_TIME if name in there), None)
    lacking = [name for name in FIGURES if name not in there] + ([] if time else [TIME])
    if lacking or not table.num_rows:
        fault = f"has no column {lacking[0]}" if lacking else "is empty"
        raise DataError(f"{path} {fault}: candles are rows of {','.join(_COLUMNS)}")
    columns = {TIME: _milliseconds(table[time], path)}
    for name in FIGURES:
        columns[name] = _text(table[there[name]], name, path)
    return pa.table(columns)


def _text(column: pa.ChunkedArray, name: str, path: Path) -> pa.ChunkedArray:
    text = column.cast(pa.string())  # of a float: the shortest text that is the same float
    try:
        text.cast(pa.float64())
    except pa.ArrowInvalid:
        _refuse_first(pc.invert(pc.match_substring_regex(text, _NUMBER)), text, name, path)
    if text.null_count:
        _refuse_first(pc.is_null(text), text, name, path)
    return text


def _refuse_first(wrong: pa.ChunkedArray, text: pa.ChunkedArray, name: str, path: Path) -> None:
    at = pc.index(pc.fill_null(wrong, True), True).as_py()
    said = f"{text[at].as_py()!r} is not a number" if text[at].is_valid else "is missing"
    raise DataError(f"{path}, candle {at + 1}: {name} {said}; correct or remove it")


def _milliseconds(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    """Open times as whole numbers of any unit, as timestamps, or as ISO text; without a zone they are UTC."""
    if column.null_count:
        raise DataError(f"{path}: a candle has no time; correct or remove it")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = _times(column, path)
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    whole = column.cast(pa.int64(), safe=False)
    highest = pc.max(whole).as_py()
    if highest < _MS:
        return pc.multiply(whole, 1000)
    return whole if highest < _US else pc.divide(whole, 1000 if highest < _NS else 1_000_000)


def _times(column: pa.ChunkedArray, path: Path) -> pa.ChunkedArray:
    for kind in (pa.int64(), pa.timestamp("ms"), pa.timestamp("ms", "UTC")):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    raise DataError(f"{path}: times are written neither as ms since 1970 nor as 2024-01-31T12:00:00Z")


def _sorted(rows: pa.Table) -> pa.Table:
    times = rows[TIME].to_numpy()
    if np.all(np.diff(times) >= 0):
        return rows
    return rows.take(np.argsort(times, kind="stable"))


def _spacing(times: NDArray[np.int64], path: Path) -> str:
    """The most common spacing of the candles as a timeframe."""
    steps, counts = np.unique(np.diff(times), return_counts=True)
    spacing = int(steps[np.argmax(counts)]) if len(steps) else 0
    for unit, length in _UNITS_MS.items():
        if spacing and spacing % length == 0:
            return f"{spacing // length}{unit}"
    raise DataError(f"{path}: its timeframe cannot be told; name it with --timeframe, e.g. --timeframe 1h")


def write_parquet(candles: CandleArrays, path: Path) -> None:
    """The candles as other programs expect them: timestamps in UTC and floats."""
    times = pa.array(candles.open_time).cast(pa.timestamp("ms", "UTC"))
    columns: dict[str, Any] = {name: getattr(candles, name) for name in FIGURES}
    parquet.write_table(pa.table({TIME: times, **columns}), path)
