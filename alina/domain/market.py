"""What a market is and what it shows: candles, prices, the book, balances."""

import re
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from functools import cache
from itertools import pairwise
from typing import overload

from alina.domain.records import Record
from alina.errors import InvalidRecord

_TIMEFRAME_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@cache  # every candle asks
def timeframe_duration(timeframe: str) -> timedelta:
    """The length of one candle: "5m", "1h", "4h", "1d". Raises InvalidRecord for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})([mhdw])", timeframe)
    if match is None:
        raise InvalidRecord(f"timeframe {timeframe!r} is unknown: write e.g. 5m, 1h, 4h or 1d")
    return timedelta(**{_TIMEFRAME_UNITS[match[2]]: int(match[1])})


def candle_number(moment: datetime, timeframe: str) -> int:
    """How many whole candles of this timeframe lie between the epoch and `moment`."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timeframe_duration(timeframe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle(Record):
    """Prices of one interval [open_time, close_time). Prices: quote per base; volume: base."""

    symbol: str
    timeframe: str
    open_time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        body = (self.open, self.close)
        if self.low <= 0 or self.low > min(body) or self.high < max(body) or self.volume < 0:
            raise InvalidRecord(
                f"impossible candle of {self.symbol} at {self.open_time:%Y-%m-%d %H:%M}: "
                f"open {self.open} high {self.high} low {self.low} close {self.close} volume {self.volume}"
            )

    @property
    def close_time(self) -> datetime:
        """The first moment at which the candle may be known (exclusive end)."""
        return self.open_time + timeframe_duration(self.timeframe)


class CandleWindow(Sequence[Candle]):
    """Neighbouring candles, oldest first, kept as columns: a record is made of one when it is asked for."""

    @property
    @abstractmethod
    def close_time(self) -> datetime:
        """Of the newest candle; there must be one."""

    @abstractmethod
    def floats(self, figure: str) -> Collection[float]:
        """The nearest float to each "open", "high", "low", "close" or "volume", for figures of figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market(Record):
    """The rules of one spot market. Sizes in base, prices in quote per base."""

    symbol: str
    base: str
    quote: str
    #: smallest step of a price
    tick_size: Decimal
    #: smallest step of a quantity
    lot_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal | None
    #: smallest quantity * price of an order, in quote
    min_notional: Decimal
    #: fraction of the notional, e.g. 0.001
    maker_fee: Decimal
    taker_fee: Decimal
    #: the exchange accepts orders now
    trading: bool = True

    def quantity_down(self, quantity: Decimal) -> Decimal:
        """The largest quantity that one order may have, not above `quantity`."""
        most = quantity if self.max_quantity is None else min(quantity, self.max_quantity)
        return _step(most, self.lot_size, ROUND_DOWN)

    def price_for(self, price: Decimal, *, is_buy: bool) -> Decimal:
        """`price` on the tick grid, rounded in the trader's favour: buys down, sells up."""
        return _step(price, self.tick_size, ROUND_DOWN if is_buy else ROUND_UP)


def _step(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    return ((value / step).to_integral_value(rounding=rounding) * step).quantize(step.normalize())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker(Record):
    """Best prices of a symbol as the exchange gave them, in quote per base."""

    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    #: the exchange's own time of these prices
    as_of: datetime


@dataclass(frozen=True, slots=True)
class BookLevel(Record):
    """One price of an order book and the quantity (base) offered there."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True, eq=False)
class Ladder(Record, Sequence[BookLevel]):
    """Levels of one size, evenly spaced: a record is made of one when it is asked for."""

    #: price of the first
    best: Decimal
    #: from one price to the next, not zero; below zero: they fall
    step: Decimal
    quantity: Decimal
    size: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[BookLevel]:
        return (BookLevel(self.best + self.step * number, self.quantity) for number in range(self.size))

    @overload
    def __getitem__(self, index: int) -> BookLevel: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[BookLevel]: ...
    def __getitem__(self, index: int | slice) -> BookLevel | Sequence[BookLevel]:
        within = range(self.size)[index]
        if isinstance(within, int):
            return BookLevel(self.best + self.step * within, self.quantity)
        return tuple(self[number] for number in within)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple | Ladder) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBook(Record):
    """Bids from the highest, asks from the lowest."""

    symbol: str
    bids: Sequence[BookLevel]
    asks: Sequence[BookLevel]
    as_of: datetime

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if not (_is_side(self.bids, sign=-1) and _is_side(self.asks, sign=1)):
            raise InvalidRecord(
                f"impossible book of {self.symbol}: prices out of order, or less than nothing"
            )


def _is_side(levels: Sequence[BookLevel], *, sign: int) -> bool:
    """Whether the prices rise (`sign` 1) or fall (-1), and nothing is below zero."""
    if isinstance(levels, Ladder):
        return levels.step * sign > 0 and levels.quantity >= 0
    is_ordered = all((worse.price - better.price) * sign > 0 for better, worse in pairwise(levels))
    return is_ordered and all(level.quantity >= 0 for level in levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance(Record):
    """What an account holds of one asset."""

    asset: str
    free: Decimal
    #: in open orders
    locked: Decimal

    @property
    def total(self) -> Decimal:
        return self.free + self.locked


Balances = Mapping[str, Balance]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView(Record):
    """The closed candles of a symbol that may be known at `as_of`, oldest first."""

    symbol: str
    timeframe: str
    as_of: datetime
    candles: Sequence[Candle]

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        candles = self.candles
        if not candles:
            return
        newest = candles if isinstance(candles, CandleWindow) else candles[-1]
        if newest.close_time > self.as_of:
            raise InvalidRecord(
                f"{self.symbol}: a candle closes after as_of {self.as_of}: that is look-ahead"
            )
