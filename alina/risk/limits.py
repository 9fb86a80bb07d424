"""What the kernel checks against. Whatever is not known denies."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from alina.domain.activity import Activity
from alina.domain.market import Balances, Market, OrderBook, Ticker
from alina.domain.portfolio import Position, TradingState
from alina.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits(Record):
    """The limits of an account. Money in quote, times in market time. None: no such limit."""

    max_trade_amount: Decimal
    max_price_age: timedelta
    cooldown: timedelta
    #: fractions reserved on top of a buy, or more: the market's fee, and what a market order may slip
    fee_reserve: Decimal
    slippage_reserve: Decimal
    #: those that are looked after, which entries may be in
    symbols: frozenset[str] | None = None
    max_order_notional: Decimal | None = None
    max_daily_volume: Decimal | None = None
    max_daily_loss: Decimal | None = None
    max_open_positions: int | None = None
    max_exposure: Decimal | None = None
    max_symbol_exposure: Decimal | None = None
    #: fraction of the highest equity recorded
    max_drawdown: Decimal | None = None
    #: wall time since that equity was recorded by which loss and drawdown are judged
    max_equity_age: timedelta | None = None
    max_stop_losses: int | None = None
    max_symbol_stop_losses: int | None = None
    max_losses_in_a_row: int | None = None
    #: fraction of the cost of a symbol's trades, once there are so many
    min_symbol_return: Decimal | None = None
    min_symbol_trades: int = 1
    #: approvals a minute of wall time
    max_order_rate: int | None = None
    duplicate_window: timedelta | None = None
    max_clock_drift: timedelta | None = None
    #: fractions of the book's middle
    price_collar: Decimal | None = None
    max_slippage: Decimal | None = None
    max_spread: Decimal | None = None
    #: quote on the side that an order takes from, within `depth_range` of the best price
    min_depth: Decimal | None = None
    depth_range: Decimal = Decimal("0.01")
    #: the larger side of the book over the smaller one
    max_imbalance: Decimal | None = None
    min_market_age: timedelta | None = None
    #: recent volume over usual volume
    min_volume_ratio: Decimal | None = None
    allowed_assets: frozenset[str] | None = None
    denied_assets: frozenset[str] = frozenset()
    #: notional above which a person must agree, and the market time that an answer may take
    approval_above: Decimal | None = None
    approval_ttl: timedelta = timedelta(hours=1)


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
    book: OrderBook | None = None
    #: the exchange's clock minus ours, wall time
    clock_difference: timedelta | None = None
    activity: Activity | None = None
    #: open time of the symbol's oldest stored candle
    first_candle_at: datetime | None = None
    #: mean base volume a candle, of the last few and of those before them
    recent_volume: Decimal | None = None
    usual_volume: Decimal | None = None
    #: the content that a person has agreed to
    agreed_hash: str | None = None
