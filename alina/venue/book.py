"""The order book that the venue shows around a price. Deterministic, and blind to the future."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache

from alina.domain.market import BookLevel, Ladder

LEVELS = 20
#: one level holds this part of the last closed candle's volume
_LEVEL_SHARE = Decimal("0.01")
#: distance between two levels, as a fraction of the price
_LEVEL_DISTANCE = Decimal("0.0001")


@dataclass(frozen=True, slots=True)
class Book:
    """Bids from the highest, asks from the lowest; quantities in base."""

    bids: Sequence[BookLevel]
    asks: Sequence[BookLevel]

    def holding(self, quantity: Decimal) -> "Book":
        """The same with no more than `quantity` on each side."""
        return Book(_cut(self.bids, quantity), _cut(self.asks, quantity))


def _cut(levels: Iterable[BookLevel], quantity: Decimal) -> tuple[BookLevel, ...]:
    kept = []
    for level in levels:
        taken = min(level.quantity, quantity)
        if taken:
            kept.append(BookLevel(level.price, taken))
        quantity -= taken
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Quotes:
    """How best bid and best ask lie around a price. Both never fall when the price rises."""

    tick_size: Decimal
    #: best ask over best bid, as a fraction of the price
    spread: Decimal

    def bid(self, price: Decimal) -> Decimal:
        return self._grid(price * (1 - self.spread / 2), ROUND_FLOOR)

    def ask(self, price: Decimal) -> Decimal:
        return max(
            self._grid(price * (1 + self.spread / 2), ROUND_CEILING),
            self.bid(price) + self.tick_size,
        )

    def price_where_ask_is(self, limit: Decimal) -> Decimal:
        """The highest price whose best ask is not above `limit`."""
        price = self._grid(limit / (1 + self.spread / 2), ROUND_CEILING)
        while self.ask(price) > limit:
            price -= self.tick_size
        return price

    def price_where_bid_is(self, limit: Decimal) -> Decimal:
        """The lowest price whose best bid is not below `limit`."""
        price = self._grid(limit / (1 - self.spread / 2), ROUND_FLOOR)
        while self.bid(price) < limit:
            price += self.tick_size
        return price

    def book(self, price: Decimal, *, volume: Decimal, lot_size: Decimal) -> Book:
        """Levels of equal size; `volume` (base) is that of a closed candle."""
        return _book(self, price, volume, lot_size)

    def distance(self, price: Decimal) -> Decimal:
        """From one level to the next."""
        return max(self._grid(price * _LEVEL_DISTANCE, ROUND_FLOOR), self.tick_size)

    def _grid(self, price: Decimal, rounding: str) -> Decimal:
        return (price / self.tick_size).to_integral_value(rounding) * self.tick_size


@lru_cache(maxsize=64)  # a cycle, its review and its order look at the same book
def _book(quotes: Quotes, price: Decimal, volume: Decimal, lot_size: Decimal) -> Book:
    bid, ask, distance = quotes.bid(price), quotes.ask(price), quotes.distance(price)
    lots = (volume * _LEVEL_SHARE / lot_size).to_integral_value(ROUND_FLOOR)
    quantity = max(lots, Decimal(1)) * lot_size
    above_zero = (bid / distance).to_integral_value(ROUND_CEILING)
    return Book(
        bids=Ladder(bid, -distance, quantity, min(LEVELS, int(above_zero))),
        asks=Ladder(ask, distance, quantity, LEVELS),
    )
