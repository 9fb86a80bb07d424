"""Orders, their states and their fills."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from alina.domain.records import Record
from alina.errors import InvalidRecord


class OrderSide(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    #: a limit order that the exchange holds back until the trigger price is reached
    STOP_LIMIT = "stop_limit"

    def misfit(self, *, limit_price: Decimal | None, trigger_price: Decimal | None) -> str | None:
        """What of the two prices an order of this type lacks or has too many; None: they fit."""
        if (self is OrderType.MARKET) != (limit_price is None):
            return "a limit or stop-limit order, and only that, has a limit price"
        if (self is OrderType.STOP_LIMIT) != (trigger_price is not None):
            return "a stop-limit order, and only that, has a trigger price"
        return None


class OrderState(StrEnum):
    """Where an order stands. SUBMITTING is committed before the request leaves."""

    SUBMITTING = "submitting"
    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self in _FINAL


_FINAL = frozenset({OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED})


def client_order_id_for(decision_id: UUID) -> str:
    """The one client order id of a decision: 32 letters and digits, which every large exchange takes."""
    return f"al{decision_id.hex[:30]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Record):
    """One instruction to trade a spot market.

    Units, for BTC/USDT: `quantity` in BTC (base), the prices in USDT per BTC. No floats, ever.
    """

    client_order_id: str
    account: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None  # None: a market order
    trigger_price: Decimal | None = None  # of a stop-limit order

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.quantity <= 0:
            raise InvalidRecord(f"order {self.client_order_id}: quantity {self.quantity} is not above 0")
        misfit = self.order_type.misfit(limit_price=self.limit_price, trigger_price=self.trigger_price)
        if misfit is not None:
            raise InvalidRecord(f"order {self.client_order_id}: {misfit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedOrder(Record):
    """An order as the exchange reports it. The only evidence of an order's fate."""

    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: OrderSide
    state: OrderState
    quantity: Decimal
    #: base filled so far
    filled_quantity: Decimal
    #: quote paid or received for it, fees aside
    filled_notional: Decimal
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Record):
    """One trade of an order on the exchange. `trade_id` is unique a symbol."""

    trade_id: str
    exchange_order_id: str
    symbol: str
    side: OrderSide
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    is_maker: bool
    executed_at: datetime

    @property
    def notional(self) -> Decimal:
        """Quote value, fees aside."""
        return self.quantity * self.price


class Handling(StrEnum):
    """What becomes of an order that is on the exchange and that we did not place."""

    #: its trades explain the balances and move no position
    LEAVE = "leave"
    #: its trades move our position as if it were our own
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOrder(Record):
    """An order of our account that somebody else placed. It was never approved, so it is no `Order`."""

    symbol: str
    exchange_order_id: str
    side: OrderSide
    #: None: only its trades were seen
    client_order_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerOrder(Record):
    """An order as the ledger knows it: what was approved, and what the exchange has said since."""

    order: Order
    decision_id: UUID
    state: OrderState
    exchange_order_id: str | None
    #: base
    filled_quantity: Decimal
    #: quote, fees aside
    filled_notional: Decimal
    #: how often its request was about to leave, each committed before it did
    attempts: int
    #: the three are wall time; submitted_at is of the newest attempt
    created_at: datetime
    submitted_at: datetime
    acknowledged_at: datetime | None
    #: why the exchange rejected it
    message: str
    #: final, every fill recorded, its reservation given back
    settled: bool
