"""Recorded candles from a CSV file: every row is checked before a venue trades on it."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alina.errors import DataError
from alina.market_data.bars import CHUNK, Bar, BarColumns
from alina.market_data.decimals import DecimalColumn

HEADER = ["timestamp", "open", "high", "low", "close", "volume"]
_MINUTE = 60_000
#: Binance's intervals of a day or less, in milliseconds
INTERVALS = {
    "1m": _MINUTE,
    "3m": 3 * _MINUTE,
    "5m": 5 * _MINUTE,
    "15m": 15 * _MINUTE,
    "30m": 30 * _MINUTE,
    "1h": 60 * _MINUTE,
    "2h": 120 * _MINUTE,
    "4h": 240 * _MINUTE,
    "6h": 360 * _MINUTE,
    "8h": 480 * _MINUTE,
    "12h": 720 * _MINUTE,
    "1d": 1440 * _MINUTE,
}
_MOST_DECIMALS = 8
#: of prices, volumes and times
_TOO_LARGE = 10**15


class Gap(NamedTuple):
    """A real outage: no candle opens in [start_ms, end_ms)."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Series:
    """The candles of one market, oldest first, on a grid of `interval_ms`."""

    name: str
    interval_ms: int
    bars: BarColumns
    gaps: tuple[Gap, ...]

    @property
    def end_ms(self) -> int:
        """The close of the last candle."""
        return self.bars[-1].open_ms + self.interval_ms

    @property
    def price_decimals(self) -> int:
        """The most decimals that any price of the file has."""
        return max(prices.decimals for prices in self.bars.figures[:4])


def load_series(path: Path, *, warmup: int) -> Series:
    """Read `timestamp,open,high,low,close,volume` (open time in ms UTC) from .csv or .csv.gz.

    Raises DataError naming the file, the line, the fault and the remedy; also for a file that holds
    fewer than `warmup` + 2 candles.
    """
    return series_of(path, BarColumns.joined(list(_chunks(path))), warmup=warmup, first_line=2)


def series_of(path: Path, bars: BarColumns, *, warmup: int, first_line: int = 1) -> Series:
    """These candles on their grid. Raises DataError, also for candles that cannot be true."""
    check(path, bars, first_line=first_line)
    if len(bars) < warmup + 2:
        raise DataError(
            f"{path}: {len(bars)} candles are too few for a warmup of {warmup}: "
            f"give at least {warmup + 2} candles or lower the warmup"
        )
    interval = _interval(path, bars)
    for index in np.flatnonzero(bars.open_ms % interval)[:1].tolist():
        fault = f"timestamp {bars.open_ms[index]} is off the grid of {interval} ms"
        raise fault_at(path, first_line + index, fault, "remove the row")
    return Series(path.name, interval, bars, gaps_in(bars, interval))


def packed(path: Path, columns: Sequence[Sequence[str]], *, first_line: int) -> BarColumns:
    """Columns of times in ms and of open, high, low, close and volume, as they are written.

    Raises DataError at the first row that holds anything but numbers, or longer ones than are kept exactly.
    """
    times, *figures = columns
    try:
        return BarColumns(np.array([int(time) for time in times], np.int64), *map(DecimalColumn.of, figures))
    except (ValueError, OverflowError) as error:
        raise _first_unreadable(path, columns, first_line) from error


def check(path: Path, bars: BarColumns, *, first_line: int = 1) -> None:
    """Raise DataError at the first candle that cannot be true, or that is not in order."""
    for index in np.flatnonzero(~_plainly_right(bars)).tolist():
        fault = _fault(bars[index], bars.open_ms[index - 1].item() if index else 0)
        if fault is not None:
            raise fault_at(path, first_line + index, *fault)


def gaps_in(bars: BarColumns, interval_ms: int) -> tuple[Gap, ...]:
    """Where no candle opens although the one before is closed."""
    before = np.flatnonzero(np.diff(bars.open_ms) > interval_ms)
    starts, ends = bars.open_ms[before] + interval_ms, bars.open_ms[before + 1]
    return tuple(map(Gap, starts.tolist(), ends.tolist()))


def _chunks(path: Path) -> Iterator[BarColumns]:
    rows, line = _rows(path), 2
    if next(rows, None) != HEADER:
        raise fault_at(path, 1, "the header is missing", f"begin the file with {','.join(HEADER)}")
    while chunk := list(islice(rows, CHUNK)):
        for number, row in enumerate(chunk, start=line):
            if len(row) != len(HEADER):
                remedy = f"write the {len(HEADER)} columns {','.join(HEADER)}"
                raise fault_at(path, number, f"{len(row)} columns", remedy)
        yield packed(path, list(zip(*chunk, strict=True)), first_line=line)
        line += len(chunk)


def _rows(path: Path) -> Iterator[list[str]]:
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.reader(file)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; name a CSV file of candles, or `sample`") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise DataError(f"{path}: unreadable ({error}); give plain UTF-8 .csv or whole .csv.gz") from error


def _first_unreadable(path: Path, columns: Sequence[Sequence[str]], first_line: int) -> DataError:
    for line, row in enumerate(zip(*columns, strict=True), start=first_line):
        try:
            DecimalColumn.of(row)
            np.int64(int(row[0]))
        except (ValueError, OverflowError) as error:
            return fault_at(path, line, str(error), "write whole ms, and decimals of at most 18 digits")
    return DataError(f"{path}: unreadable; write whole ms, and decimals of at most 18 digits")


def _plainly_right(bars: BarColumns) -> NDArray[np.bool_]:
    """The candles of which no `_fault` can be, shape (bars,).

    Of two numbers the floats tell which is smaller, or nothing.
    """
    right = (np.diff(bars.open_ms, prepend=0) > 0) & (bars.open_ms > 0) & (bars.open_ms < _TOO_LARGE)
    right &= (bars.low.floats > 0) & (bars.volume.floats >= 0) & (bars.volume.floats < _TOO_LARGE)
    for prices in bars.figures[:4]:
        right &= (prices.floats < _TOO_LARGE) & (prices.exponents >= -_MOST_DECIMALS)
    for prices in (bars.open, bars.close):
        right &= _is_not_above(bars.low, prices) & _is_not_above(prices, bars.high)
    return right


def _is_not_above(one: DecimalColumn, other: DecimalColumn) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (one.digits == other.digits) & (one.exponents == other.exponents)
    return same | (one.floats < other.floats)


def _fault(bar: Bar, previous_ms: int) -> tuple[str, str] | None:
    """The first thing about this candle that cannot be true, and the remedy."""
    wrong = _impossible(bar)
    if wrong:
        return wrong, "correct or remove the row"
    if bar.open_ms == previous_ms:
        return f"timestamp {bar.open_ms} is a duplicate", "keep one of the rows"
    if bar.open_ms < previous_ms:
        return f"timestamp {bar.open_ms} is older than the row above", "sort the rows"
    return None


def _impossible(bar: Bar) -> str | None:
    if not all(number < _TOO_LARGE for number in bar):
        return f"a number is not below {_TOO_LARGE}"
    if bar.open_ms <= 0:
        return f"timestamp {bar.open_ms} is not in ms since 1970"
    if bar.low <= 0:
        return f"low {bar.low} is not above zero"
    if bar.low > min(bar.open, bar.close) or bar.high < max(bar.open, bar.close):
        return f"open {bar.open} or close {bar.close} is outside low {bar.low} to high {bar.high}"
    if bar.volume < 0:
        return f"volume {bar.volume} is negative"
    if any(_decimals(price) > _MOST_DECIMALS for price in bar[1:5]):
        return f"a price has more than {_MOST_DECIMALS} decimals"
    return None


def _interval(path: Path, bars: BarColumns) -> int:
    """The most common spacing; of equally common ones the smallest."""
    spacings, counts = np.unique(np.diff(bars.open_ms), return_counts=True)
    interval: int = spacings[counts.argmax()].item()
    if interval not in INTERVALS.values():
        raise DataError(
            f"{path}: candles are {interval} ms apart, which is no timeframe: "
            f"use one of {', '.join(INTERVALS)}"
        )
    return interval


def _decimals(price: Decimal) -> int:
    exponent = price.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def fault_at(path: Path, line: int, fault: str, remedy: str) -> DataError:
    """The error of one row of a file."""
    return DataError(f"{path}, line {line}: {fault}; {remedy}")
