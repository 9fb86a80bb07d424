"""What the market itself must show: time, prices, depth, and no sign of a trap. One pure function a check.

Fed by the market's own data; a plugin may add what a chain or a listing service knows.
"""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

from alina.domain.decisions import Denied, Proposal, ReasonCode
from alina.domain.market import BookLevel
from alina.domain.orders import OrderSide, OrderType
from alina.risk.amounts import (
    deny,
    entry_limit,
    expected_price,
    known,
    known_book,
    known_market,
    order_limit,
)
from alina.risk.limits import Limits, Snapshot


@entry_limit("max_clock_drift")
def clock_drift(_: Proposal, snapshot: Snapshot, __: Limits, most: timedelta) -> Denied | None:
    """Our clock and the exchange's agree."""
    drift = abs(known(snapshot.clock_difference, "the exchange's clock"))
    if drift > most:
        return deny(ReasonCode.CLOCK_DRIFT, f"clocks differ by {drift}, limit {most}: synchronise ours (NTP)")
    return None


@order_limit("price_collar")
def price_collar(proposal: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal) -> Denied | None:
    """Limit price and the price the proposer saw lie near the middle of the fresh book."""
    book = known_book(proposal, snapshot, limits)
    middle = (book.bids[0].price + book.asks[0].price) / 2
    for price in (proposal.reference_price, proposal.limit_price):
        if price is not None and abs(price - middle) > middle * most:
            return deny(
                ReasonCode.PRICE_COLLAR, f"price {price} is more than {most} away from the middle {middle}"
            )
    return None


@entry_limit("max_slippage")
def slippage(proposal: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal) -> Denied | None:
    """A market entry, walked through the fresh book, is filled whole, near the best price and the ticker's.

    The ticker's, since that is what its amounts were computed from: what is approved is what is paid.
    """
    if proposal.order_type is not OrderType.MARKET:
        return None  # its limit bounds it
    levels = _taken_from(proposal, snapshot, limits)
    paid = _walk(levels, proposal.quantity)
    if paid is None:
        shown = sum((level.quantity for level in levels), Decimal(0))
        return deny(ReasonCode.THIN_BOOK, f"the book shows {shown}, {proposal.quantity} is wanted")
    for price in (levels[0].price, expected_price(proposal, snapshot)):
        slipped = abs(paid / proposal.quantity - price) / price
        if slipped > most:
            return deny(ReasonCode.SLIPPAGE, f"expected slippage {slipped:.6f} from {price}, limit {most}")
    return None


@entry_limit("max_spread")
def spread(proposal: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal) -> Denied | None:
    """Bid and ask have not moved far apart."""
    book = known_book(proposal, snapshot, limits)
    bid, ask = book.bids[0].price, book.asks[0].price
    wide = (ask - bid) / ((ask + bid) / 2)
    if wide > most:
        return deny(ReasonCode.WIDE_SPREAD, f"spread {wide:.6f} of the middle, limit {most}")
    return None


@entry_limit("min_depth")
def liquidity(proposal: Proposal, snapshot: Snapshot, limits: Limits, least: Decimal) -> Denied | None:
    """Both sides hold enough quote near the best price: what is bought must be sold again."""
    book = known_book(proposal, snapshot, limits)
    for name, levels in (("bid", book.bids), ("ask", book.asks)):
        depth = _depth(levels, limits.depth_range)
        if depth < least:
            return deny(
                ReasonCode.THIN_BOOK,
                f"{name} depth {depth} within {limits.depth_range} of {levels[0].price} is below {least}",
            )
    return None


@entry_limit("max_imbalance")
def one_sided_book(proposal: Proposal, snapshot: Snapshot, limits: Limits, most: Decimal) -> Denied | None:
    """Neither side of the book is many times the other."""
    book = known_book(proposal, snapshot, limits)
    bids, asks = _depth(book.bids, limits.depth_range), _depth(book.asks, limits.depth_range)
    if max(bids, asks) > most * min(bids, asks):
        return deny(ReasonCode.ONE_SIDED_BOOK, f"bids {bids} against asks {asks}, at most {most} to 1")
    return None


@entry_limit("min_market_age")
def market_age(proposal: Proposal, snapshot: Snapshot, _: Limits, least: timedelta) -> Denied | None:
    """The first candle of the symbol that we have stored lies far enough back."""
    first = known(snapshot.first_candle_at, f"a candle of {proposal.symbol}")
    age = snapshot.now - first
    if age < least:
        return deny(ReasonCode.YOUNG_MARKET, f"{proposal.symbol} is known for {age}, least {least}")
    return None


@entry_limit("min_volume_ratio")
def volume_collapse(proposal: Proposal, snapshot: Snapshot, _: Limits, least: Decimal) -> Denied | None:
    """The last candles traded at least this fraction of what was usual before."""
    recent = known(snapshot.recent_volume, f"recent volume of {proposal.symbol}")
    usual = known(snapshot.usual_volume, f"usual volume of {proposal.symbol}")
    if usual <= 0 or recent / usual < least:  # a market that never trades has collapsed long ago
        return deny(
            ReasonCode.VOLUME_COLLAPSE, f"volume a candle {recent:.4f}, usually {usual:.4f}, least {least}"
        )
    return None


@entry_limit("denied_assets")
def assets(_: Proposal, snapshot: Snapshot, limits: Limits, denied: frozenset[str]) -> Denied | None:
    """The base asset is not on the deny list and, where there is an allow list, on that."""
    base = known_market(snapshot).base
    if base in denied:
        return deny(ReasonCode.ASSET_NOT_ALLOWED, f"{base} is denied")
    if limits.allowed_assets is not None and base not in limits.allowed_assets:
        return deny(ReasonCode.ASSET_NOT_ALLOWED, f"{base} is not among {sorted(limits.allowed_assets)}")
    return None


def _taken_from(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Sequence[BookLevel]:
    book = known_book(proposal, snapshot, limits)
    return book.asks if proposal.side is OrderSide.BUY else book.bids


def _walk(levels: Sequence[BookLevel], quantity: Decimal) -> Decimal | None:
    """Quote for taking `quantity` level by level; None: the levels do not hold it."""
    left, paid = quantity, Decimal(0)
    for level in levels:
        taken = min(left, level.quantity)
        left, paid = left - taken, paid + taken * level.price
        if left <= 0:
            return paid
    return None


def _depth(levels: Sequence[BookLevel], within: Decimal) -> Decimal:
    """Quote on one side no further than a fraction from its best price."""
    best = levels[0].price
    return sum(
        (level.price * level.quantity for level in levels if abs(level.price - best) <= best * within),
        Decimal(0),
    )
