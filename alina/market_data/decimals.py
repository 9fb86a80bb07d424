"""Columns of exact decimal numbers: digits * 10 ** exponent, each with an exponent of its own.

So they are kept as they were written, zeros and all, in nine bytes each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Self, cast, overload

import numpy as np
from numpy.typing import NDArray

#: what 64 bits hold of every number
MOST_DIGITS = 18
#: characters of them, a point, e-05, and one more: what is cut off here has too many to be plain
_WIDTH = MOST_DIGITS + 6
_MOST_PLACES = 120
_UNITS = {places: Decimal(1).scaleb(places) for places in range(-_MOST_PLACES, _MOST_PLACES + 1)}
_POWERS = np.array([float(10**places) for places in range(_MOST_PLACES + 1)])
#: whole numbers and powers of ten up to these are floats exactly, so one operation gives the nearest
_EXACT, _EXACT_PLACES = 2**53, 22
_ZERO, _MINUS, _POINT, _E = (np.uint8(ord(one)) for one in "0-.e")


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
        digits, exponents = _parsed(texts)
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


def _parsed(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Digits and exponents of all that is written plainly, at once; of the others one by one."""
    try:
        cells = np.array(texts, f"S{_WIDTH}")
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object!r} is not a number") from None
    length = np.char.str_len(cells)
    characters = cells.view(np.uint8).reshape(len(cells), _WIDTH)[:, : length.max(initial=1)]
    powers = _cut_powers(characters, length)
    values, is_point = characters - _ZERO, characters == _POINT
    is_digit = values < 10  # what stands before "0" wraps around
    digits = np.zeros(len(cells), np.int64)
    for value, counts in zip(values.T, is_digit.T, strict=True):
        digits = np.where(counts, digits * 10 + value, digits)
    count, points = is_digit.sum(axis=1), is_point.sum(axis=1)
    plain = (count + points == length) & (points <= 1) & (count > 0) & (count <= MOST_DIGITS)
    decimals = np.where(points == 1, length - 1 - is_point.argmax(axis=1), 0)
    exponents = np.where(plain, -decimals - powers, 0).astype(np.int8)
    for index in np.flatnonzero(~plain).tolist():
        digits[index], exponents[index] = _scaled(texts[index])
    return digits, exponents


def _cut_powers(characters: NDArray[np.uint8], length: NDArray[np.intp]) -> NDArray[np.intp]:
    """What programs write after small numbers, as the e-05 of 5.33e-05: cut off; 5, or 0 where none is."""
    powers = np.zeros_like(length)
    is_e = characters == _E
    rows = np.flatnonzero(is_e.any(axis=1))
    at = is_e[rows].argmax(axis=1)
    rows, at = rows[at + 4 == length[rows]], at[at + 4 == length[rows]]
    sign, tens, ones = (characters[rows, at + place] for place in (1, 2, 3))
    is_power = (sign == _MINUS) & (tens - _ZERO < 10) & (ones - _ZERO < 10)
    rows, at = rows[is_power], at[is_power]
    powers[rows] = (tens - _ZERO)[is_power] * 10 + (ones - _ZERO)[is_power]
    for place in range(4):
        characters[rows, at + place] = 0
    length[rows] = at
    return powers


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
