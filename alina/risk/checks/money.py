"""How much quote: a trade, an order, a day, at risk in all. One pure function a check."""

from decimal import Decimal

from alina.domain.decisions import Denied, Proposal, ReasonCode
from alina.risk.amounts import (
    deny,
    entry_limit,
    known,
    known_activity,
    known_count,
    known_equity,
    notional,
    order_limit,
    worst_notional,
)
from alina.risk.limits import Limits, Snapshot


@entry_limit("max_trade_amount")
def max_trade_amount(proposal: Proposal, snapshot: Snapshot, _: Limits, most: Decimal) -> Denied | None:
    """An entry costs at most this much quote."""
    amount = notional(proposal, snapshot)
    if amount > most:
        return deny(ReasonCode.MAX_TRADE_AMOUNT, f"notional {amount} is above {most}")
    return None


@order_limit("max_order_notional")
def max_order_notional(proposal: Proposal, snapshot: Snapshot, _: Limits, most: Decimal) -> Denied | None:
    """One order, an agent's exit included, is worth at most this much quote."""
    amount = notional(proposal, snapshot)
    if amount > most:
        return deny(ReasonCode.MAX_ORDER_NOTIONAL, f"notional {amount} is above {most} an order")
    return None


@entry_limit("max_daily_volume")
def max_daily_volume(proposal: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal) -> Denied | None:
    """What was traded and is reserved today, and this entry at worst, stay within the day's volume."""
    done, more = known_count(snapshot, "volume_today"), worst_notional(proposal, snapshot, limits)
    if done + more > most:
        return deny(ReasonCode.MAX_DAILY_VOLUME, f"{done} today and {more} more are above {most} a day")
    return None


@entry_limit("max_daily_loss")
def max_daily_loss(_: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal) -> Denied | None:
    """No entry once the day has lost this much: by closed trades, or by equity since it began."""
    activity = known_activity(snapshot)
    start = known(activity.equity_at_day_start, "the equity at the day's start")
    lost = max(-activity.pnl_today, start - known_equity(snapshot, limits))
    if lost >= most:
        return deny(ReasonCode.MAX_DAILY_LOSS, f"lost {lost} today, limit {most}")
    return None


@entry_limit("max_exposure")
def max_exposure(proposal: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal) -> Denied | None:
    """Open positions, unsettled entries and this one at worst, in all symbols."""
    known(known_activity(snapshot).exposure, "exposure while something is held in another quote")
    held, more = known_count(snapshot, "exposure"), worst_notional(proposal, snapshot, limits)
    if held + more > most:
        return deny(ReasonCode.MAX_EXPOSURE, f"exposed to {held}, {more} more is above {most} in all")
    return None


@entry_limit("max_symbol_exposure")
def max_symbol_exposure(
    proposal: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal
) -> Denied | None:
    """The symbol's open position, unsettled entries and this one at worst."""
    held, more = known_count(snapshot, "symbol_exposure"), worst_notional(proposal, snapshot, limits)
    if held + more > most:
        return deny(
            ReasonCode.MAX_SYMBOL_EXPOSURE,
            f"exposed to {held} of {proposal.symbol}, {more} more is above {most} a symbol",
        )
    return None


@entry_limit("max_drawdown")
def max_drawdown(_: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal) -> Denied | None:
    """No entry once equity, open positions included, is this fraction below its highest."""
    equity = known_equity(snapshot, limits)
    peak = known(known_activity(snapshot).equity_peak, "the equity's peak")
    if peak <= 0:
        return deny(ReasonCode.UNKNOWN_FIGURE, f"the highest equity recorded is {peak}")
    drawdown = (peak - equity) / peak
    if drawdown >= most:
        return deny(ReasonCode.MAX_DRAWDOWN, f"{drawdown:.4f} below the peak of {peak}, limit {most}")
    return None
