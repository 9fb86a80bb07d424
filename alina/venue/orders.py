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

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled_quantity

    @property
    def need(self) -> Decimal:
        """What the rest of a limit order keeps locked: quote for a buy, base for a sell."""
        if self.limit_price is None:
            return Decimal(0)
        return self.remaining if self.side is Side.SELL else self.remaining * self.limit_price


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFill(Record):
    """One trade of an order."""

    trade_id: int
    order_id: int
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    #: taken from what was received: base on a buy, quote on a sell
    fee: Decimal
    fee_asset: str
    is_maker: bool
    executed_ms: int
