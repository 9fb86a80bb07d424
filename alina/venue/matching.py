"""What an arriving order takes from the book. Pure functions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import takewhile

from alina.domain.market import BookLevel
from alina.venue.book import Book
from alina.venue.orders import Kind, OrderRequest, Side, TimeInForce
from alina.venue.refusal import filter_failure, order_refused


@dataclass(frozen=True, slots=True)
class Sweep:
    """The levels an order takes, best first, each with the quantity (base) taken there."""

    takes: tuple[BookLevel, ...]
    #: nothing of the order is left
    is_complete: bool

    @property
    def quantity(self) -> Decimal:
        return sum((take.quantity for take in self.takes), Decimal(0))

    @property
    def notional(self) -> Decimal:
        return sum((take.quantity * take.price for take in self.takes), Decimal(0))


def sweep(request: OrderRequest, book: Book, lot_size: Decimal) -> Sweep:
    """Walk the other side of the book as far as the order's price, quantity or budget reaches.

    Raises Refusal for a LIMIT_MAKER that would take, and for a budget below one lot.
    """
    levels = takewhile(partial(_reaches, request), _other_side(request, book))
    if request.kind is Kind.LIMIT_MAKER and next(levels, None) is not None:
        raise order_refused("Order would immediately match and take.")
    if request.quantity is None:
        swept = _by_budget(levels, request.quote_quantity or Decimal(0), lot_size)
        if not swept.takes:
            raise filter_failure("LOT_SIZE")
        return swept
    swept = _by_quantity(levels, request.quantity)
    if request.time_in_force is TimeInForce.FOK and not swept.is_complete:
        return Sweep((), is_complete=False)
    return swept


def _other_side(request: OrderRequest, book: Book) -> Sequence[BookLevel]:
    return book.asks if request.side is Side.BUY else book.bids


def _reaches(request: OrderRequest, level: BookLevel) -> bool:
    limit = request.limit_price
    if limit is None:
        return True
    return level.price <= limit if request.side is Side.BUY else level.price >= limit


def _by_quantity(levels: Iterable[BookLevel], quantity: Decimal) -> Sweep:
    takes = []
    for level in levels:
        is_whole = level.quantity <= quantity
        takes.append(level if is_whole else BookLevel(level.price, quantity))
        quantity -= takes[-1].quantity
        if not quantity:
            return Sweep(tuple(takes), is_complete=True)
    return Sweep(tuple(takes), is_complete=False)


def _by_budget(levels: Iterable[BookLevel], budget: Decimal, lot_size: Decimal) -> Sweep:
    """`budget`: quote to spend, or on a sell to receive; what is left of it buys no whole lot."""
    takes = []
    for level in levels:
        affordable = budget // (level.price * lot_size) * lot_size
        taken = min(level.quantity, affordable)
        if taken:
            takes.append(BookLevel(level.price, taken))
            budget -= taken * level.price
        if taken == affordable:
            return Sweep(tuple(takes), is_complete=True)
    return Sweep(tuple(takes), is_complete=False)
