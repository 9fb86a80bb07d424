"""What an account has done lately and holds now, as the limits of the kernel count it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from alina.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityQuery(Record):
    """Which figures are wanted: of one proposal's account, agent and symbol, at one market time."""

    account: str
    agent: str
    symbol: str
    side: str
    now: datetime
    #: market time over which closed trades are looked back at
    lookback: timedelta
    #: how far back the newest approvals matter, market time
    recent: timedelta
    #: by the ledger's wall clock, a moment before the balances were asked for: a reservation that has ended
    #: since counts as reserved; None: none has
    balances_asked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity(Record):
    """Counted afresh from the ledger's rows. Money in quote, days in UTC of market time."""

    #: base and quote held by approved orders that are not settled yet
    reserved_base: Decimal
    reserved_quote: Decimal
    #: newest approved entry in the symbol, and approval of the same agent, symbol and side
    last_entry_at: datetime | None
    last_same_at: datetime | None
    #: approvals within the last minute of wall time
    orders_last_minute: int
    #: approved today: what was filled of settled orders, what is reserved of the others
    volume_today: Decimal
    #: result of the trades closed today
    pnl_today: Decimal
    #: open positions, and symbols about to get one
    open_positions: int
    #: open positions at cost and unsettled entries at what they reserve; None: some are in another quote
    exposure: Decimal | None
    symbol_exposure: Decimal
    #: cash and holdings, counted since the newest peak that a person began; None: not recorded since
    equity: Decimal | None
    equity_at: datetime | None
    #: by the ledger's wall clock, since it was recorded
    equity_age: timedelta | None
    equity_peak: Decimal | None
    #: the last one before today, else the first of today
    equity_at_day_start: Decimal | None
    #: closed trades within the lookback
    stop_losses: int
    symbol_stop_losses: int
    losses_in_a_row: int
    symbol_trades: int
    #: result / cost of the symbol's trades; None: no trade
    symbol_return: Decimal | None
    #: whether the account's balances were ever recorded
    has_balances: bool
