"""What a run over history leaves behind, and the worth of the account at every bar of it.

Money stays Decimal and exact in `Outcome` and in `worth`; the curve is float64, for ratios and pictures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from alina.domain.orders import Fill, OrderSide
from alina.domain.portfolio import Position
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.errors import DataError

Series = NDArray[np.float64]
#: milliseconds since the epoch, UTC, ascending
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """The closes of several symbols on one grid: every close time of any of them.

    `times` has shape (bars,); every series of `closes` too, in quote per base. Where a symbol has a gap its
    last close stands, before its first close that one.
    """

    times: Times
    closes: Mapping[str, Series]

    def price(self, asset: str, quote: str) -> Series:
        """What one `asset` was worth in quote at every bar. Raises DataError without such a market."""
        if asset == quote:
            return np.ones(len(self.times))
        if f"{asset}/{quote}" not in self.closes:
            raise DataError(
                f"{asset} was held or paid as a fee and has no price: add candles of {asset}/{quote}"
            )
        return self.closes[f"{asset}/{quote}"]


@dataclass(frozen=True, slots=True)
class Denial:
    """Why proposals of a run were not carried out."""

    #: the kernel's reason, or NEEDS_APPROVAL: no person answers in a backtest
    reason: str
    count: int
    #: the kernel's words, of the first of them
    example: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """A finished run: where it began, every fill and position, and the prices it was made on."""

    agent: str
    timeframe: str
    quote: str
    #: asset -> total held before the first bar
    opening: Mapping[str, Decimal]
    prices: Prices
    #: by time
    fills: tuple[Fill, ...]
    #: by time of opening; those still open too
    positions: tuple[Position, ...]
    #: fraction of the notional that buying and holding would have paid
    taker_fee: Decimal
    #: when and why the losses let positions only shrink from then on; empty: they never did
    stepped_back: str = ""
    #: the most frequent reason first
    denied: tuple[Denial, ...] = ()

    @property
    def trades(self) -> tuple[Position, ...]:
        """The closed positions, by time of opening."""
        return tuple(position for position in self.positions if position.closed_at is not None)

    @property
    def start(self) -> datetime:
        """The first close."""
        return utc_from_ms(int(self.prices.times[0]))

    @property
    def end(self) -> datetime:
        """The last close."""
        return utc_from_ms(int(self.prices.times[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The account at every close, in quote; float64 of shape (bars,)."""

    times: Times
    #: worth before the first bar
    opening: float
    equity: Series
    #: the part of the equity that is not quote
    invested: Series

    @property
    def returns(self) -> Series:
        """The simple return of every bar, shape (bars,); the first one against the opening."""
        return simple_returns(self.equity, self.opening)


def simple_returns(equity: Series, opening: float) -> Series:
    """The return of every bar as a fraction of the worth before it."""
    before = np.concatenate(([opening], equity[:-1]))
    return equity / before - 1


def align(series: Mapping[str, tuple[Times, Series]]) -> Prices:
    """One grid for all symbols, from each one's own close times and closes. Raises DataError for none."""
    if not series or any(len(times) == 0 for times, _ in series.values()):
        raise DataError("a symbol has no candles in the chosen range: choose another range or import more")
    grid = np.unique(np.concatenate([times for times, _ in series.values()]))
    closes = {}
    for symbol, (times, close) in series.items():
        newest = np.searchsorted(times, grid, side="right") - 1
        closes[symbol] = close[np.maximum(newest, 0)]
    return Prices(grid, closes)


def bar_of(times: Times, moment: datetime) -> int:
    """The first bar whose close shows what happened at `moment`; the last bar for anything later."""
    return min(int(np.searchsorted(times, ms_from_utc(moment), side="left")), len(times) - 1)


def changes(fill: Fill) -> tuple[tuple[str, Decimal], ...]:
    """What a fill adds to each asset; what it takes is negative."""
    base, quote = fill.symbol.split("/")
    sign = 1 if fill.side is OrderSide.BUY else -1
    return ((base, sign * fill.quantity), (quote, -sign * fill.notional), (fill.fee_asset, -fill.fee))


def curve(outcome: Outcome) -> Curve:
    """The account at every close, from its opening and its fills. Raises DataError for a missing price."""
    times, bars = outcome.prices.times, len(outcome.prices.times)
    moved: dict[str, Series] = {asset: np.zeros(bars) for asset in outcome.opening}
    for fill in outcome.fills:
        bar = bar_of(times, fill.executed_at)
        for asset, change in changes(fill):
            moved.setdefault(asset, np.zeros(bars))[bar] += float(change)
    cash, invested, opening = np.zeros(bars), np.zeros(bars), 0.0
    for asset, change_a_bar in moved.items():
        before = float(outcome.opening.get(asset, 0))
        price = outcome.prices.price(asset, outcome.quote)
        value = (before + np.cumsum(change_a_bar)) * price
        opening += before * float(price[0])
        if asset == outcome.quote:
            cash += value
        else:
            invested += value
    return Curve(times, opening, cash + invested, invested)


def worth(outcome: Outcome, *, at_end: bool) -> Decimal:
    """The account before the first bar or after the last one, in quote, exact."""
    held = dict(outcome.opening)
    for asset, change in (pair for fill in outcome.fills for pair in changes(fill)) if at_end else ():
        held[asset] = held.get(asset, Decimal(0)) + change
    bar = -1 if at_end else 0
    return sum(
        (amount * exact(outcome.prices.price(asset, outcome.quote)[bar]) for asset, amount in held.items()),
        Decimal(0),
    )


def exact(price: np.float64) -> Decimal:
    """The decimal that a price was read from: float64 keeps 15 digits, exchanges quote fewer."""
    return Decimal(repr(float(price)))
