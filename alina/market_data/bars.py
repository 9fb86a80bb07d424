"""Candles of one market in columns: exact to the last digit, and 53 bytes each, 93 with their floats."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from operator import eq
from typing import NamedTuple, Self, overload

import numpy as np
from numpy.typing import NDArray

from alina.market_data.decimals import DecimalColumn

#: rows that are packed together: few enough to be cheap as objects, many enough for arrays to pay
CHUNK = 8192


class Bar(NamedTuple):
    """One candle. `open_ms`: ms since the epoch; prices in quote per base; volume in base."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


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
