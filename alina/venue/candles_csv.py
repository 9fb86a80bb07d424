"""Recorded candles from a CSV file: every row is checked before a venue trades on it."""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from alina.errors import DataError

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
_TOO_LARGE = Decimal("1e15")


class Bar(NamedTuple):
    """One candle. `open_ms`: ms since the epoch; prices in quote per base; volume in base."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Gap(NamedTuple):
    """A real outage: no candle opens in [start_ms, end_ms)."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Series:
    """The candles of one market, oldest first, on a grid of `interval_ms`."""

    name: str
    interval_ms: int
    bars: tuple[Bar, ...]
    gaps: tuple[Gap, ...]

    @property
    def end_ms(self) -> int:
        """The close of the last candle."""
        return self.bars[-1].open_ms + self.interval_ms

    @property
    def price_decimals(self) -> int:
        """The most decimals that any price of the file has."""
        return max(_decimals(price) for bar in self.bars for price in bar[1:5])


def load_series(path: Path, *, warmup: int) -> Series:
    """Read `timestamp,open,high,low,close,volume` (open time in ms UTC) from .csv or .csv.gz.

    Raises DataError naming the file, the line, the fault and the remedy; also for a file that holds
    fewer than `warmup` + 2 candles.
    """
    return series_of(path, tuple(_rows(path)), warmup=warmup, first_line=2)


def series_of(path: Path, bars: tuple[Bar, ...], *, warmup: int, first_line: int = 1) -> Series:
    """These candles on their grid, oldest first, each of which `impossible` has passed. Raises DataError."""
    if len(bars) < warmup + 2:
        raise DataError(
            f"{path}: {len(bars)} candles are too few for a warmup of {warmup}: "
            f"give at least {warmup + 2} candles or lower the warmup"
        )
    interval = _interval(path, bars)
    for line, bar in enumerate(bars, start=first_line):
        if bar.open_ms % interval:
            raise fault_at(
                path, line, f"timestamp {bar.open_ms} is off the grid of {interval} ms", "remove the row"
            )
    gaps = tuple(
        Gap(one.open_ms + interval, two.open_ms)
        for one, two in pairwise(bars)
        if two.open_ms - one.open_ms > interval
    )
    return Series(path.name, interval, bars, gaps)


def checked(path: Path, bars: Iterable[Bar], *, first_line: int = 1) -> Iterator[Bar]:
    """The same candles. Raises DataError at the first that cannot be true, or that is not in order."""
    previous = 0
    for line, bar in enumerate(bars, start=first_line):
        fault = _impossible(bar)
        if fault:
            raise fault_at(path, line, fault, "correct or remove the row")
        if bar.open_ms == previous:
            raise fault_at(path, line, f"timestamp {bar.open_ms} is a duplicate", "keep one of the rows")
        if bar.open_ms < previous:
            raise fault_at(
                path, line, f"timestamp {bar.open_ms} is older than the row above", "sort the rows"
            )
        previous = bar.open_ms
        yield bar


def _rows(path: Path) -> Iterator[Bar]:
    reader = csv.reader(io.StringIO(_text(path)))
    if next(reader, None) != HEADER:
        raise fault_at(path, 1, "the header is missing", f"begin the file with {','.join(HEADER)}")
    lines = (_bar(path, line, row) for line, row in enumerate(reader, start=2))
    return checked(path, lines, first_line=2)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file; name a CSV file of candles, or `sample`") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: unreadable ({error}); give plain UTF-8 .csv or whole .csv.gz") from error


def _bar(path: Path, line: int, row: list[str]) -> Bar:
    if len(row) != len(HEADER):
        raise fault_at(
            path, line, f"{len(row)} columns", f"write the {len(HEADER)} columns {','.join(HEADER)}"
        )
    try:
        open_ms = int(row[0])
        numbers = [Decimal(text) for text in row[1:]]
    except (ValueError, InvalidOperation):
        raise fault_at(path, line, "a field is not a number", "write integers and decimals only") from None
    return Bar(open_ms, *numbers)


def _impossible(bar: Bar) -> str | None:
    """The first thing about this candle that cannot be true."""
    if not all(number.is_finite() and number < _TOO_LARGE for number in bar[1:]):
        return "a number is not finite"
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


def _interval(path: Path, bars: tuple[Bar, ...]) -> int:
    """The most common spacing; of equally common ones the smallest."""
    spacings = Counter(two.open_ms - one.open_ms for one, two in pairwise(bars))
    interval = min(spacings, key=lambda spacing: (-spacings[spacing], spacing))
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
