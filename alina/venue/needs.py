"""What a request must bring, what it pays with, and what it keeps locked. Pure functions."""

from decimal import Decimal

from alina.venue.filters import Rules
from alina.venue.matching import Sweep
from alina.venue.orders import Kind, OrderRequest, Side, TimeInForce
from alina.venue.refusal import duplicate_order, order_refused

_STOPS = (Kind.STOP_LOSS, Kind.STOP_LOSS_LIMIT)
_GAINS = (Kind.LIMIT_MAKER, Kind.TAKE_PROFIT, Kind.TAKE_PROFIT_LIMIT)


def rests(request: OrderRequest) -> bool:
    return not request.kind.is_market and request.time_in_force is TimeInForce.GTC


def refuse_immediate_trigger(request: OrderRequest, last_price: Decimal) -> None:
    """A stop order must wait on its own side of the last price."""
    stop_price = request.stop_price or Decimal(0)
    falls = request.kind.triggers_on_a_fall(request.side)
    if stop_price >= last_price if falls else stop_price <= last_price:
        raise order_refused("Stop price would trigger immediately.")


def spent(side: Side, rules: Rules) -> str:
    """The asset that an order of this side pays with."""
    return rules.quote if side is Side.BUY else rules.base


def to_lock(request: OrderRequest, swept: Sweep, fee_reserve: Decimal) -> Decimal:
    """All that an order with a price may spend, or what a market order takes; of a buy with its fees."""
    price = request.limit_price or request.stop_price
    quantity = swept.quantity if price is None else request.quantity or Decimal(0)
    if request.side is Side.SELL:
        return quantity
    return (swept.notional if price is None else quantity * price) * (1 + fee_reserve)


def require_pair(pair: tuple[OrderRequest, OrderRequest]) -> None:
    """Of two orders that end one another, one limits a loss, and one takes a gain on the other side.

    The prices then lie around the market, for each must wait on its own side of it.
    """
    one, two = pair
    kinds = {one.kind in _STOPS, two.kind in _STOPS}
    if kinds != {True, False} or not all(leg.kind in _STOPS + _GAINS for leg in pair):
        raise order_refused("The relationship of the prices for the orders is not correct.")
    if one.client_order_id is not None and one.client_order_id == two.client_order_id:
        raise duplicate_order()
