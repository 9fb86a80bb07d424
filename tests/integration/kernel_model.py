"""What a person with pencil and paper would say of an entry: the limits, from what happened and nothing else.

Neither the ledger nor the kernel is asked. `broken` names every limit that an entry would break now.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from alina.domain.decisions import Decision, Proposal, ReasonCode
from alina.domain.orders import Order, OrderSide
from alina.domain.portfolio import TradingState

HOUR = timedelta(hours=1)
#: what a market buy of 1 at 100 may cost at most, and what a limit buy may cost over its limit
WORST, FEE = Decimal("101.2"), Decimal("1.002")
VOLUME, LOSS, POSITIONS, EXPOSURE = Decimal(600), Decimal(12), 2, Decimal(350)
SYMBOL_EXPOSURE, AMOUNT, ASKED, FREE = Decimal(300), Decimal(280), Decimal(200), Decimal(330)
COOLDOWN, LOOKBACK, STOPS, LOSSES, DRAWDOWN = 2 * HOUR, 36 * HOUR, 2, 3, Decimal("0.1")
LEAST_RETURN, LEAST_TRADES, ANSWER_TIME, COLLAR = Decimal("-0.005"), 2, HOUR, Decimal("0.05")
LIMITS = {
    "max_trade_amount": str(AMOUNT),
    "max_daily_volume": str(VOLUME),
    "max_daily_loss": str(LOSS),
    "max_open_positions": POSITIONS,
    "max_exposure": str(EXPOSURE),
    "max_symbol_exposure": str(SYMBOL_EXPOSURE),
    "cooldown": "2h",
    "lookback": "36h",
    "max_stop_losses": STOPS,
    "max_symbol_stop_losses": None,
    "max_losses_in_a_row": LOSSES,
    "max_drawdown": str(DRAWDOWN),
    "min_symbol_return": str(LEAST_RETURN),
    "min_symbol_trades": LEAST_TRADES,
    "max_order_rate": None,
    "duplicate_window": None,
    "price_collar": str(COLLAR),
    "approval_above": str(ASKED),
    "approval_ttl": "1h",
}


@dataclass
class Traded:
    """One approved order and what came of it."""

    proposal: Proposal
    decision: Decision
    order: Order
    #: filled quote; None: not settled yet
    notional: Decimal | None = None
    is_rejected: bool = False

    @property
    def is_entry(self) -> bool:
        return self.proposal.side is OrderSide.BUY


@dataclass
class Held:
    """An open position."""

    bought: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    sold: Decimal = Decimal(0)
    proceeds: Decimal = Decimal(0)

    @property
    def left(self) -> Decimal:
        return self.bought - self.sold


@dataclass
class Closed:
    """One closed trade."""

    symbol: str
    at: datetime
    cost: Decimal
    pnl: Decimal
    is_stop: bool


@dataclass
class Books:
    """What happened."""

    traded: list[Traded] = field(default_factory=list)
    #: what a person has been asked about
    asked: list[Proposal] = field(default_factory=list)
    held: dict[str, Held] = field(default_factory=dict)
    closed: list[Closed] = field(default_factory=list)
    equity: dict[datetime, Decimal] = field(default_factory=dict)
    state: TradingState = TradingState.ACTIVE

    def pending(self) -> list[Traded]:
        return [one for one in self.traded if one.notional is None]

    def reserved(self) -> Decimal:
        """Quote held by entries that are not settled."""
        return sum((worst(one.proposal) for one in self.pending() if one.is_entry), Decimal(0))

    def broken(self, wish: Proposal, now: datetime) -> set[ReasonCode]:
        """Every limit that this entry would break now."""
        rules = self._state(wish, now) | self._money(wish, now) | self._pace(wish, now)
        return {reason for reason, is_broken in rules.items() if is_broken}

    def _state(self, wish: Proposal, now: datetime) -> dict[ReasonCode, bool]:
        price = wish.limit_price or Decimal(100)
        middle = (Decimal("99.99") + Decimal(100)) / 2
        return {
            ReasonCode.TRADING_HALTED: self.state is TradingState.HALTED,
            ReasonCode.TRADING_REDUCING: self.state is TradingState.REDUCING,
            ReasonCode.PROPOSAL_EXPIRED: now > wish.expires_at,
            ReasonCode.POSITION_ALREADY_OPEN: wish.symbol in self.held,
            ReasonCode.PRICE_COLLAR: abs(price - middle) > middle * COLLAR,
        }

    def _money(self, wish: Proposal, now: datetime) -> dict[ReasonCode, bool]:
        cost, day = worst(wish), now.replace(hour=0)
        exposed = {symbol: one.cost * one.left / one.bought for symbol, one in self.held.items()}
        entering = [one for one in self.pending() if one.is_entry]
        here = sum(
            (worst(one.proposal) for one in entering if one.proposal.symbol == wish.symbol), Decimal(0)
        )
        volume = sum((_volume(one) for one in self.traded if one.decision.decided_at >= day), Decimal(0))
        before_today = [at for at in self.equity if at < day]
        start = self.equity[max(before_today) if before_today else min(self.equity)]
        worth = self.equity[max(self.equity)]
        closed_today = sum((one.pnl for one in self.closed if one.at >= day), Decimal(0))
        return {
            ReasonCode.INSUFFICIENT_BALANCE: self.reserved() + cost > FREE,
            ReasonCode.MAX_TRADE_AMOUNT: wish.quantity * (wish.limit_price or Decimal(100)) > AMOUNT,
            ReasonCode.MAX_DAILY_VOLUME: volume + cost > VOLUME,
            ReasonCode.MAX_DAILY_LOSS: max(-closed_today, start - worth) >= LOSS,
            ReasonCode.MAX_EXPOSURE: sum(exposed.values(), self.reserved()) + cost > EXPOSURE,
            ReasonCode.MAX_SYMBOL_EXPOSURE: exposed.get(wish.symbol, 0) + here + cost > SYMBOL_EXPOSURE,
            ReasonCode.MAX_DRAWDOWN: worth <= max(self.equity.values()) * (1 - DRAWDOWN),
        }

    def _pace(self, wish: Proposal, now: datetime) -> dict[ReasonCode, bool]:
        recent = [one for one in self.closed if one.at >= now - LOOKBACK]
        # of trades closed at the same moment a win is taken for the last: nobody knows better
        won_at = max((one.at for one in recent if one.pnl >= 0), default=now - 2 * LOOKBACK)
        losses = sum(one.pnl < 0 and one.at > won_at for one in recent)
        here = [one for one in recent if one.symbol == wish.symbol]
        earned = sum((one.pnl for one in here), Decimal(0))
        spent = sum((one.cost for one in here), Decimal(0))
        entries = [one for one in self.traded if one.is_entry and not one.is_rejected]
        opening = {one.proposal.symbol for one in self.pending() if one.is_entry}
        return {
            ReasonCode.MAX_OPEN_POSITIONS: len(opening | self.held.keys()) >= POSITIONS,
            ReasonCode.COOLDOWN: any(
                one.proposal.symbol == wish.symbol and now - one.decision.decided_at < COOLDOWN
                for one in entries
            ),
            ReasonCode.STOP_LOSSES: sum(one.is_stop for one in recent) >= STOPS,
            ReasonCode.CONSECUTIVE_LOSSES: losses >= LOSSES,
            ReasonCode.LOW_PROFIT: len(here) >= LEAST_TRADES and earned < LEAST_RETURN * spent,
        }


def worst(entry: Proposal) -> Decimal:
    """What an entry may cost at most, in quote."""
    return entry.quantity * (WORST if entry.limit_price is None else entry.limit_price * FEE)


def _volume(one: Traded) -> Decimal:
    if one.notional is not None:
        return one.notional
    return worst(one.proposal) if one.is_entry else one.proposal.quantity * 100
