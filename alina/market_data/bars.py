"""Candles of one market in columns of scaled integers: exact to the last digit, in 53 bytes each.

A figure is digits * 10 ** exponent, each with an exponent of its own, as it was written, zeros and all.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from itertools import islice
from operator import eq
from typing import NamedTuple, Self, cast, overload

import numpy as np
from numpy.typing import NDArray

#: what 64 bits hold of every number
MOST_DIGITS = 18
#: rows that are packed together: few enough to be cheap as objects, many enough for arrays to pay
CHUNK = 8192
#: characters of them, a point, and one more: what is longer is cut off here and read by itself
_WIDTH = MOST_DIGITS + 2
_MOST_PLACES = 100
_UNITS = {places: Decimal(1).scaleb(places) for places in range(-_MOST_PLACES, _MOST_PLACES + 1)}
_POWERS = np.array([float(10**places) for places in range(_MOST_PLACES + 1)])
#: whole numbers and powers of ten up to these are floats exactly, so one operation gives the nearest
_EXACT, _EXACT_PLACES = 2**53, 22


class Bar(NamedTuple):
    """One candle. `open_ms`: ms since the epoch; prices in quote per base; volume in base."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, eq=False)
class DecimalColumn:
    """Exact numbers, each made when it is looked at. A slice is a view."""

    digits: NDArray[np.int64]
    exponents: NDArray[np.int8]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """Numbers as Decimal reads and writes them.

        Raises ValueError for what is none, is not finite or has more than `MOST_DIGITS` digits.
        """
        cells = np.array(texts, f"S{_WIDTH}")
        length = np.char.str_len(cells)
        characters = cells.view(np.uint8).reshape(len(cells), _WIDTH)[:, : length.max(initial=1)]
        values, is_point = characters - ord("0"), characters == ord(".")
        is_digit = values < 10  # what stands before "0" wraps around
        digits = np.zeros(len(cells), np.int64)
        for value, counts in zip(values.T, is_digit.T, strict=True):
            digits = np.where(counts, digits * 10 + value, digits)
        count, points = is_digit.sum(axis=1), is_point.sum(axis=1)
        plain = (count + points == length) & (points <= 1) & (count > 0) & (count <= MOST_DIGITS)
        decimals = np.where(plain & (points == 1), length - 1 - is_point.argmax(axis=1), 0)
        exponents = (-decimals).astype(np.int8)
        for index in np.flatnonzero(~plain).tolist():
            digits[index], exponents[index] = _scaled(texts[index])
        return cls(digits, exponents)

    @classmethod
    def joined(cls, parts: Sequence["DecimalColumn"]) -> Self:
        """One after the other."""
        digits = np.concatenate([part.digits for part in parts])
        return cls(digits, np.concatenate([part.exponents for part in parts]))

    @cached_property
    def floats(self) -> NDArray[np.float64]:
        """The nearest float to each, shape (values,), worked out once. Never for money."""
        powers = _POWERS[np.abs(self.exponents)]
        floats: NDArray[np.float64] = np.where(self.exponents < 0, self.digits / powers, self.digits * powers)
        exact = (np.abs(self.digits) <= _EXACT) & (np.abs(self.exponents) <= _EXACT_PLACES)
        for index in np.flatnonzero(~exact).tolist():
            floats[index] = float(self[index])
        floats.flags.writeable = False  # several share it
        return floats

    @property
    def decimals(self) -> int:
        """The most decimals that one of them needs; zeros at the end are not needed."""
        written = -self.exponents.astype(np.int64)
        for places in range(written.max(initial=0), 0, -1):
            there = written >= places
            beyond = np.minimum(written[there] - places + 1, MOST_DIGITS)
            if np.any(self.digits[there] % 10**beyond):
                return places
        return 0

    def __len__(self) -> int:
        return len(self.digits)

    @overload
    def __getitem__(self, index: int) -> Decimal: ...
    @overload
    def __getitem__(self, index: slice) -> "DecimalColumn": ...
    def __getitem__(self, index: int | slice) -> "Decimal | DecimalColumn":
        if isinstance(index, slice):
            return DecimalColumn(self.digits[index], self.exponents[index])
        digits, exponents = self._views
        return Decimal(digits[index]) * _UNITS[exponents[index]]

    def __iter__(self) -> Iterator[Decimal]:
        for digits, exponent in zip(*self._views, strict=True):
            yield Decimal(digits) * _UNITS[exponent]

    @cached_property
    def _views(self) -> tuple["memoryview[int]", "memoryview[int]"]:
        """Of these an item is an int, and quick to get."""
        return self.digits.data, self.exponents.data


@dataclass(frozen=True, eq=False)
class BarColumns(Sequence[Bar]):
    """Candles of one market, each made when it is looked at. A slice is a view."""

    #: ms since the epoch
    open_ms: NDArray[np.int64]
    #: quote per base
    open: DecimalColumn
    high: DecimalColumn
    low: DecimalColumn
    close: DecimalColumn
    #: base
    volume: DecimalColumn

    @classmethod
    def of(cls, bars: Iterable[Bar]) -> Self:
        """Raises ValueError as `DecimalColumn.of`."""
        left = iter(bars)
        chunks = iter(lambda: list(islice(left, CHUNK)), [])
        return cls.joined([cls._packed(*zip(*chunk, strict=True)) for chunk in chunks])

    @classmethod
    def joined(cls, parts: Sequence["BarColumns"]) -> Self:
        """One after the other."""
        times = [np.empty(0, np.int64), *(part.open_ms for part in parts)]
        figures = zip(*(part.figures for part in parts), strict=True)
        joined = [DecimalColumn.joined(columns) for columns in figures] or [DecimalColumn.of(())] * 5
        return cls(np.concatenate(times), *joined)

    @classmethod
    def _packed(cls, times: Sequence[int], *figures: Sequence[Decimal]) -> Self:
        columns = (DecimalColumn.of([str(figure) for figure in column]) for column in figures)
        return cls(np.array(times, np.int64), *columns)

    @property
    def figures(self) -> tuple[DecimalColumn, ...]:
        """Open, high, low, close and volume."""
        return self.open, self.high, self.low, self.close, self.volume

    def __len__(self) -> int:
        return len(self.open_ms)

    @overload
    def __getitem__(self, index: int) -> Bar: ...
    @overload
    def __getitem__(self, index: slice) -> "BarColumns": ...
    def __getitem__(self, index: int | slice) -> "Bar | BarColumns":
        if isinstance(index, slice):
            return BarColumns(self.open_ms[index], *(column[index] for column in self.figures))
        return Bar(self.open_ms[index].item(), *(column[index] for column in self.figures))

    def __iter__(self) -> Iterator[Bar]:
        return map(Bar, self.open_ms.data, *self.figures)

    def __eq__(self, other: object) -> bool:
        """The same candles, whatever zeros they are written with."""
        if not isinstance(other, BarColumns):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]


def _scaled(text: str) -> tuple[int, int]:
    """Digits and exponent of what is not written plainly."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None
    if not value.is_finite():
        raise ValueError(f"{text} is not finite")
    sign, digits, exponent = value.as_tuple()
    written = "".join(map(str, digits))
    kept = written.rstrip("0") if len(written) > MOST_DIGITS else written
    places = cast(int, exponent) + len(written) - len(kept)
    if len(kept) > MOST_DIGITS or abs(places) > _MOST_PLACES:
        raise ValueError(f"{text} needs more than {MOST_DIGITS} digits, which is all that is kept exactly")
    return int(f"-{kept}" if sign else kept), places
