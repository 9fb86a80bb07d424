"""Proposals, and what the risk kernel says of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from alina.domain.orders import OrderSide, OrderType
from alina.domain.portfolio import CloseReason
from alina.domain.records import Record
from alina.errors import InvalidRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal(Record):
    """One wish to trade. It moves nothing until the kernel approves it."""

    id: UUID
    run_id: UUID | None  # None: a protective exit, which no run decided
    account: str
    agent: str
    symbol: str
    side: OrderSide
    order_type: OrderType
    #: base
    quantity: Decimal
    limit_price: Decimal | None
    #: of a stop-limit order: the price at which the exchange makes it a limit order
    trigger_price: Decimal | None = None
    #: the price the proposer saw, quote per base
    reference_price: Decimal
    #: may only shrink a position
    reduce_only: bool
    #: for exits: why
    close_reason: CloseReason | None
    stop_price: Decimal | None
    take_profit_price: Decimal | None
    close_after: datetime | None
    #: 0 to 100, as the proposer states it
    confidence: int
    rationale: str
    #: market time of the newest data it rests on
    as_of: datetime
    #: market time after which it may not be executed
    expires_at: datetime

    def __post_init__(self) -> None:
        Record.__post_init__(self)
        if self.quantity <= 0:
            raise InvalidRecord(f"proposal {self.id}: quantity {self.quantity} must be above zero")
        misfit = self.order_type.misfit(limit_price=self.limit_price, trigger_price=self.trigger_price)
        if misfit is not None:
            raise InvalidRecord(f"proposal {self.id}: {misfit}")
        if not 0 <= self.confidence <= 100:
            raise InvalidRecord(f"proposal {self.id}: confidence {self.confidence} is not within 0 to 100")


@lru_cache(maxsize=64)  # a review asks for it again and again, with the account locked
def content_hash(proposal: Proposal) -> str:
    """SHA-256 over exactly what would be ordered; an order row must carry the approved one."""
    content = {
        "proposal": str(proposal.id),
        "account": proposal.account,
        "symbol": proposal.symbol,
        "side": proposal.side.value,
        "type": proposal.order_type.value,
        "quantity": _plain(proposal.quantity),
        "limit_price": None if proposal.limit_price is None else _plain(proposal.limit_price),
        "reduce_only": proposal.reduce_only,
    }
    if proposal.trigger_price is not None:
        content["trigger_price"] = _plain(proposal.trigger_price)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(value: Decimal) -> str:
    """Digits without exponent or trailing zeros, so that equal amounts hash equally."""
    return f"{value.normalize():f}"


class ReasonCode(IntEnum):
    """Why a proposal was denied. Stable.

    1xx state, 2xx market data, 3xx order, 4xx money, 5xx pace, 6xx a person's word, 9xx plugins:
    900 to 989 are a plugin's own, named PLUGIN_900 and so on; from 990 on it could not tell.
    """

    TRADING_HALTED = 101
    TRADING_REDUCING = 102
    PROPOSAL_EXPIRED = 103
    UNKNOWN_ACCOUNT = 104
    KERNEL_ERROR = 105
    #: a figure that a configured check needs is not known
    UNKNOWN_FIGURE = 106
    #: a negated check held
    NEGATED_CHECK = 107
    UNKNOWN_PRICE = 201
    STALE_PRICE = 202
    UNKNOWN_MARKET = 203
    MARKET_CLOSED = 204
    UNKNOWN_BOOK = 205
    CLOCK_DRIFT = 206
    PRICE_COLLAR = 207
    SLIPPAGE = 208
    THIN_BOOK = 209
    WIDE_SPREAD = 210
    ONE_SIDED_BOOK = 211
    YOUNG_MARKET = 212
    VOLUME_COLLAPSE = 213
    SYMBOL_NOT_TRADED = 214
    INVALID_QUANTITY = 301
    BELOW_MIN_NOTIONAL = 302
    INVALID_PRICE = 303
    NOTHING_TO_REDUCE = 304
    MAX_ORDER_NOTIONAL = 305
    ASSET_NOT_ALLOWED = 306
    DUPLICATE = 307
    #: the proposal is stored under the hash of something else
    OTHER_CONTENT = 308
    MAX_TRADE_AMOUNT = 401
    INSUFFICIENT_BALANCE = 402
    UNKNOWN_BALANCE = 403
    MAX_DAILY_VOLUME = 404
    MAX_DAILY_LOSS = 405
    MAX_EXPOSURE = 406
    MAX_SYMBOL_EXPOSURE = 407
    MAX_DRAWDOWN = 408
    STALE_EQUITY = 409
    COOLDOWN = 501
    POSITION_ALREADY_OPEN = 502
    MAX_OPEN_POSITIONS = 503
    MAX_ORDER_RATE = 504
    STOP_LOSSES = 505
    SYMBOL_STOP_LOSSES = 506
    CONSECUTIVE_LOSSES = 507
    LOW_PROFIT = 508
    APPROVAL_REFUSED = 601
    APPROVAL_EXPIRED = 602
    APPROVAL_OF_ANOTHER_CONTENT = 603
    PLUGIN = 900
    PLUGIN_UNKNOWN = 990

    @classmethod
    def _missing_(cls, value: object) -> "ReasonCode | None":
        """A plugin's own code."""
        if not isinstance(value, int) or not cls.PLUGIN < value <= _LAST_CODE:
            return None
        member = int.__new__(cls, value)
        member._name_, member._value_ = f"PLUGIN_{value}", value
        return cls._value2member_map_.setdefault(value, member)  # type: ignore[return-value]

    @property
    def is_unknown(self) -> bool:
        """Whether the denial says "I cannot tell" and not "no": what no negation may turn round."""
        return self in _UNKNOWN or self >= ReasonCode.PLUGIN_UNKNOWN


_LAST_CODE = 999
_UNKNOWN = frozenset(
    {
        ReasonCode.UNKNOWN_ACCOUNT,
        ReasonCode.KERNEL_ERROR,
        ReasonCode.UNKNOWN_FIGURE,
        ReasonCode.UNKNOWN_PRICE,
        ReasonCode.STALE_PRICE,
        ReasonCode.UNKNOWN_MARKET,
        ReasonCode.UNKNOWN_BOOK,
        ReasonCode.CLOCK_DRIFT,
        ReasonCode.UNKNOWN_BALANCE,
        ReasonCode.STALE_EQUITY,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved(Record):
    """The kernel's yes, for exactly the hashed content, with what to reserve."""

    content_hash: str
    #: the asset that the order spends and how much of it, fee and slippage included
    reserve_asset: str
    reserve_amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied(Record):
    """The kernel's no. `message` carries the figures."""

    reason: ReasonCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsApproval(Record):
    """A person must agree before `expires_at`; the proposal is reviewed again then."""

    message: str
    expires_at: datetime


Verdict = Approved | Denied | NeedsApproval


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Record):
    """A verdict as stored: one a proposal. Only needs_approval moves on, once, to one of the others."""

    id: UUID
    proposal_id: UUID
    #: approved, denied or needs_approval
    verdict: str
    #: of a denial
    reason: ReasonCode | None
    message: str
    #: of an approval: what exactly was approved
    content_hash: str | None
    #: market time
    decided_at: datetime
    #: what the kernel saw, as JSON-ready values
    snapshot: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Record):
    """A person's word on one decision, asked for and perhaps given."""

    decision_id: UUID
    proposal_id: UUID
    #: of exactly what the person is asked about
    content_hash: str
    #: market time after which no answer counts
    expires_at: datetime
    #: approved or denied; None: not answered yet
    answer: str | None
    answered_by: str | None
    #: wall time
    answered_at: datetime | None
