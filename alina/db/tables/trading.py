"""From a proposal to a position. An order without an approved decision cannot be stored."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from alina.db.tables.base import (
    Base,
    above_zero,
    at_least,
    both_or_neither,
    finite,
    named,
    not_negative,
    one_of,
    readable,
    sha256,
)
from alina.domain.orders import Handling, OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason

_FINAL = ", ".join(f"'{state}'" for state in OrderState if state.is_final)
_HAS_LIMIT = "order_type IN ('limit', 'stop_limit')"


class ProposalRow(Base):
    """A wish to trade, immutable once stored."""

    __tablename__ = "proposals"
    __table_args__ = (
        UniqueConstraint("id", "content_hash"),
        named("agent"),
        named("symbol"),
        CheckConstraint("symbol ~ '^[^/]+/[^/]+$'", name="symbol_of_two_assets"),
        one_of("side", OrderSide),
        one_of("order_type", OrderType),
        above_zero("quantity"),
        above_zero("limit_price"),
        both_or_neither("limit_price_iff_limit", _HAS_LIMIT, "limit_price IS NOT NULL"),
        above_zero("trigger_price"),
        both_or_neither("trigger_price_iff_stop", "order_type = 'stop_limit'", "trigger_price IS NOT NULL"),
        above_zero("reference_price"),
        # agents write this table: of what cannot be read nothing is ever decided
        *(readable(column) for column in ("close_after", "as_of", "expires_at", "created_at")),
        one_of("close_reason", CloseReason),
        above_zero("stop_price"),
        above_zero("take_profit_price"),
        CheckConstraint("confidence BETWEEN 0 AND 100", name="confidence"),
        sha256("content_hash"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("runs.id"), unique=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"))
    agent: Mapped[str]
    symbol: Mapped[str]
    side: Mapped[OrderSide]
    order_type: Mapped[OrderType]
    quantity: Mapped[Decimal]
    limit_price: Mapped[Decimal | None]
    reference_price: Mapped[Decimal]
    reduce_only: Mapped[bool]
    close_reason: Mapped[CloseReason | None]
    stop_price: Mapped[Decimal | None]
    take_profit_price: Mapped[Decimal | None]
    close_after: Mapped[datetime | None]
    confidence: Mapped[int]
    rationale: Mapped[str]
    as_of: Mapped[datetime]
    expires_at: Mapped[datetime]
    content_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    #: of a stop-limit order
    trigger_price: Mapped[Decimal | None]


class DecisionRow(Base):
    """The kernel's word on one proposal. An approval carries the hash of exactly that proposal.

    A trigger lets it move only from needs_approval, and to approved only with a person's yes.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        UniqueConstraint("id", "verdict", "content_hash"),
        ForeignKeyConstraint(["proposal_id", "content_hash"], ["proposals.id", "proposals.content_hash"]),
        one_of("verdict", ("approved", "denied", "needs_approval")),
        both_or_neither("hash_iff_approved", "verdict = 'approved'", "content_hash IS NOT NULL"),
        both_or_neither("reason_iff_denied", "verdict = 'denied'", "reason IS NOT NULL"),
        CheckConstraint("reason BETWEEN 100 AND 999", name="reason"),
        Index(None, "created_at"),
        Index("ix_decisions_needs_approval", "id", postgresql_where=text("verdict = 'needs_approval'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    proposal_id: Mapped[UUID] = mapped_column(ForeignKey("proposals.id"), unique=True)
    verdict: Mapped[str]
    reason: Mapped[int | None]
    message: Mapped[str]
    content_hash: Mapped[str | None]
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSONB)
    decided_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ApprovalRow(Base):
    """A person's word on a decision, bound to the hash of what was asked. A trigger: answered once."""

    __tablename__ = "approvals"
    __table_args__ = (
        ForeignKeyConstraint(["proposal_id", "content_hash"], ["proposals.id", "proposals.content_hash"]),
        one_of("answer", ("approved", "denied")),
        named("answered_by"),
        both_or_neither("who_iff_answered", "answer IS NOT NULL", "answered_by IS NOT NULL"),
        both_or_neither("when_iff_answered", "answer IS NOT NULL", "answered_at IS NOT NULL"),
    )

    decision_id: Mapped[UUID] = mapped_column(ForeignKey("decisions.id"), primary_key=True)
    proposal_id: Mapped[UUID]
    content_hash: Mapped[str]
    expires_at: Mapped[datetime]
    answer: Mapped[str | None]
    answered_by: Mapped[str | None]
    answered_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ReservationRow(Base):
    """What an approved decision may spend until its order is settled or released, and what it counts for."""

    __tablename__ = "reservations"
    __table_args__ = (
        named("asset"),
        above_zero("amount"),
        one_of("state", ("held", "settled", "released")),
        one_of("side", OrderSide),
        above_zero("turnover"),
        both_or_neither("ended_iff_not_held", "state <> 'held'", "ended_at IS NOT NULL"),
        Index("ix_reservations_held", "account", "asset", postgresql_where=text("state = 'held'")),
        # times first: one that began with the account would seem to serve the others too, and be read whole
        Index("ix_reservations_ended", "ended_at", "account", postgresql_where=text("ended_at IS NOT NULL")),
        Index(None, "decided_at", "account"),
        Index(None, "created_at", "account"),
    )

    decision_id: Mapped[UUID] = mapped_column(ForeignKey("decisions.id"), primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"))
    asset: Mapped[str]
    amount: Mapped[Decimal]
    state: Mapped[str] = mapped_column(server_default="held")
    #: of the proposal and its decision, so that the kernel's sums need not look there
    agent: Mapped[str]
    symbol: Mapped[str]
    side: Mapped[OrderSide]
    #: quote that counts for the day's volume until the order is settled; NULL: of a stop only what is filled
    turnover: Mapped[Decimal | None]
    decided_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    #: when it was settled or released, by the database's clock
    ended_at: Mapped[datetime | None]


class OrderRow(Base):
    """One order, committed as `submitting` before its request leaves."""

    __tablename__ = "orders"
    __table_args__ = (
        # one order a decision, and only an approved one, and only with the hash that was approved
        ForeignKeyConstraint(
            ["decision_id", "verdict", "content_hash"],
            ["decisions.id", "decisions.verdict", "decisions.content_hash"],
        ),
        CheckConstraint("verdict = 'approved'", name="verdict"),
        UniqueConstraint("client_order_id", "account", "symbol", "side"),
        CheckConstraint("length(client_order_id) BETWEEN 1 AND 36", name="client_order_id"),
        named("symbol"),
        one_of("side", OrderSide),
        one_of("order_type", OrderType),
        above_zero("quantity"),
        above_zero("limit_price"),
        both_or_neither("limit_price_iff_limit", _HAS_LIMIT, "limit_price IS NOT NULL"),
        above_zero("trigger_price"),
        both_or_neither("trigger_price_iff_stop", "order_type = 'stop_limit'", "trigger_price IS NOT NULL"),
        one_of("state", OrderState),
        CheckConstraint("filled_quantity BETWEEN 0 AND quantity", name="filled_quantity"),
        not_negative("filled_notional"),
        CheckConstraint(f"NOT settled OR state IN ({_FINAL})", name="settled_is_final"),
        CheckConstraint("state <> 'filled' OR filled_quantity > 0", name="filled_has_quantity"),
        CheckConstraint("attempts BETWEEN 1 AND 4", name="attempts"),
        Index("ix_orders_unsettled", "account", "symbol", postgresql_where=text("NOT settled")),
        Index(None, "acknowledged_at"),
    )

    client_order_id: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"))
    decision_id: Mapped[UUID] = mapped_column(unique=True)
    verdict: Mapped[str] = mapped_column(server_default="approved")
    content_hash: Mapped[str]
    symbol: Mapped[str]
    side: Mapped[OrderSide]
    order_type: Mapped[OrderType]
    quantity: Mapped[Decimal]
    limit_price: Mapped[Decimal | None]
    state: Mapped[OrderState]
    exchange_order_id: Mapped[str | None]
    filled_quantity: Mapped[Decimal] = mapped_column(server_default="0")
    filled_notional: Mapped[Decimal] = mapped_column(server_default="0")
    message: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    submitted_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    acknowledged_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    settled: Mapped[bool] = mapped_column(server_default=text("false"))
    #: how often the request left, or was about to
    attempts: Mapped[int] = mapped_column(server_default="1")
    trigger_price: Mapped[Decimal | None]
    #: wall time at which we first saw a price that must have triggered it
    reached_at: Mapped[datetime | None]


class ForeignOrderRow(Base):
    """An order of the account on the exchange that no decision of ours approved."""

    __tablename__ = "foreign_orders"
    __table_args__ = (
        UniqueConstraint("exchange_order_id", "account", "symbol", "side"),
        UniqueConstraint(
            "exchange_order_id", "account", "symbol", "side", "handling", name="uq_foreign_orders_handling"
        ),
        named("symbol"),
        named("exchange_order_id"),
        one_of("side", OrderSide),
        one_of("handling", Handling),
    )

    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"), primary_key=True)
    symbol: Mapped[str] = mapped_column(primary_key=True)
    exchange_order_id: Mapped[str] = mapped_column(primary_key=True)
    side: Mapped[OrderSide]
    client_order_id: Mapped[str | None]
    handling: Mapped[Handling]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class MismatchRow(Base):
    """A difference between the books and the exchange, in the words that reported it."""

    __tablename__ = "mismatches"
    __table_args__ = (
        CheckConstraint("length(description) BETWEEN 1 AND 1000", name="description"),
        at_least(1, "times"),
    )

    account: Mapped[str] = mapped_column(ForeignKey("accounts.name"), primary_key=True)
    description: Mapped[str] = mapped_column(primary_key=True)
    first_seen_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    last_seen_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    times: Mapped[int] = mapped_column(server_default="1")


class PositionRow(Base):
    """A long position, from the order that opened it to the fill that closed it."""

    __tablename__ = "positions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["opened_by", "account", "symbol", "opening_side"],
            ["orders.client_order_id", "orders.account", "orders.symbol", "orders.side"],
        ),
        ForeignKeyConstraint(
            ["adopted_from", "account", "symbol", "opening_side"],
            [
                "foreign_orders.exchange_order_id",
                "foreign_orders.account",
                "foreign_orders.symbol",
                "foreign_orders.side",
            ],
        ),
        CheckConstraint("num_nonnulls(opened_by, adopted_from) = 1", name="opened_once"),
        CheckConstraint("opening_side = 'buy'", name="opening_side"),
        named("agent"),
        CheckConstraint("quantity = bought_quantity - sold_quantity", name="quantity_is_the_difference"),
        not_negative("quantity"),
        above_zero("bought_quantity"),
        not_negative("sold_quantity"),
        finite("cost"),
        finite("proceeds"),
        above_zero("stop_price"),
        above_zero("take_profit_price"),
        one_of("close_reason", CloseReason),
        both_or_neither("reason_iff_closed", "closed_at IS NULL", "close_reason IS NULL"),
        Index(
            "uq_positions_open", "account", "symbol", unique=True, postgresql_where=text("closed_at IS NULL")
        ),
        Index(None, "closed_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account: Mapped[str]
    symbol: Mapped[str]
    quantity: Mapped[Decimal]
    bought_quantity: Mapped[Decimal]
    sold_quantity: Mapped[Decimal]
    cost: Mapped[Decimal]
    proceeds: Mapped[Decimal]
    opened_at: Mapped[datetime]
    opened_by: Mapped[str | None] = mapped_column(unique=True)
    opening_side: Mapped[OrderSide] = mapped_column(server_default=OrderSide.BUY.value)
    agent: Mapped[str]
    stop_price: Mapped[Decimal | None]
    take_profit_price: Mapped[Decimal | None]
    close_after: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    close_reason: Mapped[CloseReason | None]
    #: the exchange's id of the foreign order that opened it, in place of an order of ours
    adopted_from: Mapped[str | None]


class FillRow(Base):
    """One trade of an order, ours or foreign, as the exchange reports it, and the position it moved."""

    __tablename__ = "fills"
    __table_args__ = (
        ForeignKeyConstraint(
            ["client_order_id", "account", "symbol", "side"],
            ["orders.client_order_id", "orders.account", "orders.symbol", "orders.side"],
        ),
        ForeignKeyConstraint(
            ["exchange_order_id", "account", "symbol", "side", "handling"],
            [
                "foreign_orders.exchange_order_id",
                "foreign_orders.account",
                "foreign_orders.symbol",
                "foreign_orders.side",
                "foreign_orders.handling",
            ],
        ),
        both_or_neither("ours_or_foreign", "client_order_id IS NULL", "handling IS NOT NULL"),
        CheckConstraint("position_id IS NOT NULL OR handling IS NOT NULL", name="ours_moves_a_position"),
        CheckConstraint("position_id IS NULL OR handling <> 'leave'", name="left_moves_none"),
        named("trade_id"),
        above_zero("quantity"),
        above_zero("price"),
        finite("fee"),
        above_zero("fee_rate"),
        not_negative("smallest_sale"),
        Index(None, "client_order_id"),
        Index(None, "position_id"),
    )

    account: Mapped[str] = mapped_column(primary_key=True)
    symbol: Mapped[str] = mapped_column(primary_key=True)
    trade_id: Mapped[str] = mapped_column(primary_key=True)
    client_order_id: Mapped[str | None]
    exchange_order_id: Mapped[str]
    side: Mapped[OrderSide]
    quantity: Mapped[Decimal]
    price: Mapped[Decimal]
    fee: Mapped[Decimal]
    fee_asset: Mapped[str]
    is_maker: Mapped[bool]
    executed_at: Mapped[datetime]
    position_id: Mapped[UUID | None] = mapped_column(ForeignKey("positions.id"))
    #: base; what the market's rules did not allow to be sold alone after this fill
    smallest_sale: Mapped[Decimal]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    #: quote an asset of the fee when we learnt of it; only of a fee in neither base nor quote
    fee_rate: Mapped[Decimal | None]
    #: of the foreign order that it belongs to; NULL: it is of an order of ours
    handling: Mapped[Handling | None]
