"""Orders and fills as the venue keeps them.

Prices in quote per base, quantities in base, times in market ms.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from alina.domain.records import Record


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class Kind(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    #: refused where it would trade at once
    LIMIT_MAKER = "LIMIT_MAKER"
    #: these four wait until the last price comes to their stop price, then are a MARKET or a LIMIT order
    STOP_LOSS = "STOP_LOSS"
    STOP_LOSS_LIMIT = "STOP_LOSS_LIMIT"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"

    @property
    def is_stop(self) -> bool:
        """Waits for a stop price (an "algo order" in Binance's filters)."""
        return self not in (Kind.MARKET, Kind.LIMIT, Kind.LIMIT_MAKER)

    @property
    def is_market(self) -> bool:
        """Has no limit price."""
        return self in (Kind.MARKET, Kind.STOP_LOSS, Kind.TAKE_PROFIT)

    def triggers_on_a_fall(self, side: "Side") -> bool:
        """Whether a stop order of this side waits below the market; the others wait above it."""
        return (self in (Kind.STOP_LOSS, Kind.STOP_LOSS_LIMIT)) == (side is Side.SELL)


class TimeInForce(StrEnum):
    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class Status(StrEnum):
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"

    @property
    def is_open(self) -> bool:
        return self in (Status.NEW, Status.PARTIALLY_FILLED)


def made_name(order_id: int) -> str:
    """The client order id of an order that was sent without one."""
    return f"venue-{order_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest(Record):
    """What a client asks for. A market order names either its quantity or its quote quantity."""

    symbol: str
    client_order_id: str | None
    side: Side
    kind: Kind
    time_in_force: TimeInForce = TimeInForce.GTC
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrder(Record):
    """An order that the venue took."""

    order_id: int
    client_order_id: str
    symbol: str
    side: Side
    kind: Kind
    time_in_force: TimeInForce
    quantity: Decimal
    quote_quantity: Decimal | None
    limit_price: Decimal | None
    status: Status
    filled_quantity: Decimal
    #: quote, fees aside
    filled_notional: Decimal
    placed_ms: int
    updated_ms: int
    stop_price: Decimal | None = None
    #: since when it is on the book; None: it waits for its stop price, or ended before it came
    working_ms: int | None = None
    #: fraction of the notional that a buy keeps locked beside it, for fees that are paid in quote
    fee_reserve: Decimal = Decimal(0)
    #: shared by two orders of which the first that acts ends the other
    list_id: int | None = None

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled_quantity

    @property
    def is_waiting(self) -> bool:
        """Open, and not yet on the book."""
        return self.status.is_open and self.working_ms is None

    @property
    def need(self) -> Decimal:
        """What the rest of an order keeps locked: quote for a buy, base for a sell.

        A market order locks no more than it takes; until its stop price comes, all that it would take there.
        """
        if self.kind.is_market and self.working_ms is not None:
            return Decimal(0)
        price = self.limit_price or self.stop_price or Decimal(0)
        return self.remaining if self.side is Side.SELL else self.remaining * price * (1 + self.fee_reserve)

    @property
    def once_triggered(self) -> OrderRequest:
        """The plain order that a stop order is from when its stop price came."""
        return OrderRequest(
            symbol=self.symbol,
            client_order_id=self.client_order_id,
            side=self.side,
            kind=Kind.MARKET if self.kind.is_market else Kind.LIMIT,
            time_in_force=self.time_in_force,
            quantity=self.quantity,
            limit_price=self.limit_price,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFill(Record):
    """One trade of an order."""

    trade_id: int
    order_id: int
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    #: taken from what was received (base on a buy, quote on a sell), or paid in a third asset
    fee: Decimal
    fee_asset: str
    is_maker: bool
    executed_ms: int
