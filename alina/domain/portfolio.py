"""Accounts and what they hold: trading state, positions, closed trades, equity."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from alina.domain.records import Record


class TradingState(StrEnum):
    """ACTIVE trades; REDUCING only shrinks positions; HALTED sends nothing but cancels."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"

    @property
    def strictness(self) -> int:
        """0: ACTIVE. Of two states that both hold, the stricter one counts."""
        return tuple(TradingState).index(self)


class WindDown(StrEnum):
    """What a person asked of a stopped account: stored, so that it is done whoever dies meanwhile."""

    NONE = "none"
    #: cancel every open order
    CANCEL = "cancel"
    #: and sell every position; HALTED once nothing is left that can be sold
    FLATTEN = "flatten"


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemState(Record):
    """What all accounts together may do at most, and why."""

    trading_state: TradingState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState(Record):
    """What an account may do now, and why: the stricter of its own state and the whole system's."""

    name: str
    trading_state: TradingState
    reason: str
    wind_down: WindDown = WindDown.NONE


class CloseReason(StrEnum):
    AGENT = "agent"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"
    TIME_LIMIT = "time_limit"
    #: a person: `alina halt --flatten`
    HALT = "halt"
    #: a person, on the exchange itself
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position(Record):
    """An open or closed long position of one account in one symbol, built from fills only.

    `quantity` is what is left, in base, net of fees taken in base. `cost` is the quote paid for
    everything bought and `proceeds` the quote received for everything sold, both with fees.
    """

    id: UUID
    account: str
    symbol: str
    quantity: Decimal
    bought_quantity: Decimal
    sold_quantity: Decimal
    cost: Decimal
    proceeds: Decimal
    opened_at: datetime
    #: price at which the software stop sells; None: no stop
    stop_price: Decimal | None = None
    take_profit_price: Decimal | None = None
    #: market time after which the position is closed
    close_after: datetime | None = None
    closed_at: datetime | None = None
    close_reason: CloseReason | None = None
    #: whose proposal opened it
    agent: str = ""

    @property
    def average_price(self) -> Decimal:
        """Quote paid per base held, fees in."""
        return self.cost / self.bought_quantity

    @property
    def realised_pnl(self) -> Decimal:
        """Quote won or lost after fees; of a closed position the whole result."""
        return self.proceeds - self.cost if self.closed_at else Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equity(Record):
    """The account's worth in quote at one moment: cash and everything held, at the last price."""

    account: str
    as_of: datetime
    cash: Decimal
    holdings: Decimal

    @property
    def total(self) -> Decimal:
        return self.cash + self.holdings


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPeak(Record):
    """A person's word that drawdown and the day's loss are counted from the equity recorded after it."""

    account: str
    #: of the account's, from 1; 0 is what was counted from before the first
    number: int
    reason: str
    begun_by: str
    #: by the ledger's wall clock
    begun_at: datetime
