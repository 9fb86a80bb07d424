"""How often, and after what results. All but the rate are about entries only. One pure function a check."""

from datetime import datetime, timedelta
from decimal import Decimal

from alina.domain.decisions import Denied, Proposal, ReasonCode
from alina.risk.amounts import deny, entry_limit, known, known_activity, known_count, order_limit
from alina.risk.limits import Limits, Snapshot


@entry_limit("cooldown")
def cooldown(_: Proposal, snapshot: Snapshot, __: Limits, least: timedelta) -> Denied | None:
    """Two entries in one symbol are at least this far apart; an approval counts, filled or not."""
    since = _since(snapshot, snapshot.last_entry_at)
    if since is not None and since < least:
        return deny(ReasonCode.COOLDOWN, f"last entry {since} ago, cooldown {least}")
    return None


@entry_limit("duplicate_window")
def duplicate(proposal: Proposal, snapshot: Snapshot, _: Limits, window: timedelta) -> Denied | None:
    """The same agent was not approved for the same symbol and side within the window."""
    since = _since(snapshot, known_activity(snapshot).last_same_at)
    if since is not None and since < window:
        return deny(
            ReasonCode.DUPLICATE,
            f"{proposal.agent} was approved to {proposal.side.value} {proposal.symbol} {since} ago, "
            f"window {window}",
        )
    return None


@order_limit("max_order_rate")
def max_order_rate(_: Proposal, snapshot: Snapshot, __: Limits, most: int) -> Denied | None:
    """At most so many approvals a minute, an agent's exits included."""
    count = known_count(snapshot, "orders_last_minute")
    if count >= most:
        return deny(ReasonCode.MAX_ORDER_RATE, f"{count} approvals in the last minute, limit {most}")
    return None


@entry_limit("max_open_positions")
def max_open_positions(_: Proposal, snapshot: Snapshot, __: Limits, most: int) -> Denied | None:
    """At most so many symbols held or being entered."""
    count = known_count(snapshot, "open_positions")
    if count >= most:
        return deny(ReasonCode.MAX_OPEN_POSITIONS, f"{count} positions are open or opening, limit {most}")
    return None


@entry_limit("max_stop_losses")
def stoploss_guard(_: Proposal, snapshot: Snapshot, __: Limits, most: int) -> Denied | None:
    """A pause after so many exits by stop within the lookback, in all symbols."""
    count = known_count(snapshot, "stop_losses")
    if count >= most:
        return deny(ReasonCode.STOP_LOSSES, f"{count} exits by stop within the lookback, limit {most}")
    return None


@entry_limit("max_symbol_stop_losses")
def symbol_stoploss_guard(proposal: Proposal, snapshot: Snapshot, _: Limits, most: int) -> Denied | None:
    """A pause after so many exits by stop within the lookback, in this symbol."""
    count = known_count(snapshot, "symbol_stop_losses")
    if count >= most:
        return deny(
            ReasonCode.SYMBOL_STOP_LOSSES,
            f"{count} exits of {proposal.symbol} by stop within the lookback, limit {most}",
        )
    return None


@entry_limit("max_losses_in_a_row")
def consecutive_losses(_: Proposal, snapshot: Snapshot, __: Limits, most: int) -> Denied | None:
    """A pause after so many losing trades without a winner between them, within the lookback."""
    count = known_count(snapshot, "losses_in_a_row")
    if count >= most:
        return deny(ReasonCode.CONSECUTIVE_LOSSES, f"{count} losses in a row, limit {most}")
    return None


@entry_limit("min_symbol_return")
def low_profit(proposal: Proposal, snapshot: Snapshot, limits: Limits, least: Decimal) -> Denied | None:
    """A pause for a symbol whose trades within the lookback, once there are enough, returned too little."""
    activity = known_activity(snapshot)
    if known_count(snapshot, "symbol_trades") < limits.min_symbol_trades:
        return None
    achieved = known(activity.symbol_return, f"the return of {proposal.symbol}")
    if achieved < least:
        return deny(
            ReasonCode.LOW_PROFIT,
            f"{activity.symbol_trades} trades of {proposal.symbol} returned {achieved:.6f}, least {least}",
        )
    return None


def _since(snapshot: Snapshot, moment: datetime | None) -> timedelta | None:
    return None if moment is None else snapshot.now - moment
