"""What the kernel checks against."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from alina.domain.market import Balances, Market, Ticker
from alina.domain.portfolio import Position, TradingState
from alina.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Record):
    """The limits of an account. Money in quote, times in market time."""

    max_trade_amount: Decimal
    max_price_age: timedelta
    cooldown: timedelta
    #: fractions reserved on top of a buy
    fee_reserve: Decimal
    slippage_reserve: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Record):
    """Everything the kernel may know, taken afresh for one review. None: unknown, which denies."""

    now: datetime
    trading_state: TradingState | None
    market: Market | None
    ticker: Ticker | None
    balances: Balances | None
    #: held by approved orders that are not settled yet
    reserved_base: Decimal
    reserved_quote: Decimal
    position: Position | None
    #: the newest approved entry in this symbol
    last_entry_at: datetime | None
