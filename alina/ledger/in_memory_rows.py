"""The tables of a ledger that lives in one process, as plain dictionaries."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar, cast
from uuid import UUID

from alina.db.engine import json_text
from alina.db.tables import Base, OrderRow, PositionRow
from alina.domain.decisions import Approval, Decision, Proposal
from alina.domain.evaluation import Evaluation
from alina.domain.market import Balance, Market
from alina.domain.orders import Fill, LedgerOrder, Order, OrderSide
from alina.domain.portfolio import (
    AccountState,
    Equity,
    NewPeak,
    Position,
    SystemState,
    TradingState,
    WindDown,
)
from alina.domain.runs import PromptRevision, Run

_R = TypeVar("_R", bound=Base)


def _plain(table: type[_R]) -> type[_R]:
    """The table's columns as a plain class: nobody watches what is read and written."""
    columns = [(name, Any, None) for name in table.__table__.columns.keys()]  # noqa: SIM118 (no mapping)
    return cast("type[_R]", make_dataclass(f"Plain{table.__name__}", columns, slots=True, kw_only=True))


PlainOrder, PlainPosition = _plain(OrderRow), _plain(PositionRow)


class StoredJson(Mapping[str, Any]):
    """What was stored as JSON, kept as its text and read when it is asked for."""

    __slots__ = ("_text",)

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._text = json_text(value)

    def __getitem__(self, name: str) -> Any:
        return json.loads(self._text)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self._text))

    def __len__(self) -> int:
        return len(json.loads(self._text))

    def __repr__(self) -> str:
        return self._text


@dataclass(slots=True)
class AccountFields:
    """What an account itself may do, and what it holds."""

    trading_state: TradingState = TradingState.ACTIVE
    reason: str = ""
    wind_down: WindDown = WindDown.NONE
    balances: dict[str, Balance] = field(default_factory=dict)
    balances_at: datetime | None = None
    opening: dict[str, Decimal] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Reservation:
    """What an approval may spend."""

    decision_id: UUID
    account: str
    asset: str
    amount: Decimal
    agent: str
    symbol: str
    side: OrderSide
    #: quote; None: what is filled counts alone
    turnover: Decimal | None
    decided_at: datetime
    #: wall time
    created_at: datetime
    state: str = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFill:
    """A fill, whose it is and what it did."""

    fill: Fill
    client_order_id: str
    position_id: UUID
    #: its rules then
    market: Market


@dataclass(slots=True)
class EquityHistory:
    """An account's worth over time since its newest peak was begun, with its highest."""

    by_time: dict[datetime, Equity] = field(default_factory=dict)
    #: wall times
    recorded_at: dict[datetime, datetime] = field(default_factory=dict)
    #: the keys in order
    times: list[datetime] = field(default_factory=list)
    peak: Decimal | None = None


def wall_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Rows:
    """Every table, with what its rows were last told as."""

    #: what ages are measured by
    wall: Callable[[], datetime] = wall_now
    system: SystemState | None = None
    accounts: dict[str, AccountFields] = field(default_factory=dict)
    account_states: dict[str, AccountState] = field(default_factory=dict)
    equity: dict[str, EquityHistory] = field(default_factory=dict)
    #: what new peaks have left behind
    past_equity: dict[str, list[Equity]] = field(default_factory=dict)
    new_peaks: dict[str, NewPeak] = field(default_factory=dict)
    revisions: dict[UUID, PromptRevision] = field(default_factory=dict)
    active: dict[str, UUID] = field(default_factory=dict)
    runs: dict[UUID, Run] = field(default_factory=dict)
    run_by_key: dict[str, UUID] = field(default_factory=dict)
    proposals: dict[UUID, Proposal] = field(default_factory=dict)
    stored_at: dict[UUID, datetime] = field(default_factory=dict)
    proposal_by_run: dict[UUID, UUID] = field(default_factory=dict)
    #: by account and symbol, oldest first; and those of them that may not be over yet
    sales: dict[tuple[str, str], list[Proposal]] = field(default_factory=dict)
    moving_sales: dict[tuple[str, str], list[Proposal]] = field(default_factory=dict)
    decisions: dict[UUID, Decision] = field(default_factory=dict)
    decision_by_proposal: dict[UUID, UUID] = field(default_factory=dict)
    approvals: dict[UUID, Approval] = field(default_factory=dict)
    reservations: dict[UUID, Reservation] = field(default_factory=dict)
    held: dict[UUID, Reservation] = field(default_factory=dict)
    #: by account and symbol, in the order of `decided_at`
    reserved_by_symbol: dict[tuple[str, str], list[Reservation]] = field(default_factory=dict)
    #: by account and day of `decided_at`: quote that those count for which are not held any more
    turned_over: dict[tuple[str, date], Decimal] = field(default_factory=dict)
    #: wall times, in order
    reserved_at: dict[str, list[datetime]] = field(default_factory=dict)
    ordered: dict[str, Order] = field(default_factory=dict)
    order_records: dict[str, LedgerOrder] = field(default_factory=dict)
    orders: dict[str, OrderRow] = field(default_factory=dict)
    order_by_decision: dict[UUID, OrderRow] = field(default_factory=dict)
    unsettled: dict[str, OrderRow] = field(default_factory=dict)
    #: by account and symbol, then by trade id
    fills: dict[tuple[str, str], dict[str, RecordedFill]] = field(default_factory=dict)
    filled: dict[str, Decimal] = field(default_factory=dict)
    last_fill: dict[UUID, RecordedFill] = field(default_factory=dict)
    positions: dict[UUID, PositionRow] = field(default_factory=dict)
    open: dict[tuple[str, str], PositionRow] = field(default_factory=dict)
    position_records: dict[UUID, Position] = field(default_factory=dict)
    #: by account, in the order of `closed_at`
    closed: dict[str, list[PositionRow]] = field(default_factory=dict)
    unevaluated: dict[UUID, PositionRow] = field(default_factory=dict)
    evaluations: dict[UUID, Evaluation] = field(default_factory=dict)
