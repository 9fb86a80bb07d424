"""What the checks share: amounts of a proposal, what must be known, and to whom a check applies."""

import functools
from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import TypeVar

from alina.domain.activity import Activity
from alina.domain.decisions import Denied, Proposal, ReasonCode
from alina.domain.market import Market, OrderBook, Ticker
from alina.domain.orders import OrderSide, OrderType
from alina.domain.portfolio import CloseReason
from alina.risk.limits import Limits, Snapshot

Check = Callable[[Proposal, Snapshot, Limits], Denied | None]
#: a check whose limit is set, with that limit as its last argument
LimitedCheck = Callable[..., Denied | None]

_T = TypeVar("_T")
_AGENTS_OWN = frozenset({None, CloseReason.AGENT})
_LIMIT = "limit"


class Unknown(Exception):  # it is no error of the kernel
    """Something a check needs is not known. The kernel denies; no composite catches it."""

    def __init__(self, reason: ReasonCode, message: str) -> None:
        super().__init__(message)
        self.denied = Denied(reason=reason, message=message)


def deny(reason: ReasonCode, message: str) -> Denied:
    """The kernel's no."""
    return Denied(reason=reason, message=message)


def known(value: _T | None, what: str, reason: ReasonCode = ReasonCode.UNKNOWN_FIGURE) -> _T:
    """The value. Raises Unknown if there is none."""
    if value is None:
        raise Unknown(reason, f"{what} is not known")
    return value


def known_market(snapshot: Snapshot) -> Market:
    """The symbol's rules. Raises Unknown."""
    return known(snapshot.market, "the market", ReasonCode.UNKNOWN_MARKET)


def known_ticker(snapshot: Snapshot) -> Ticker:
    """The symbol's price. Raises Unknown."""
    return known(snapshot.ticker, "the price", ReasonCode.UNKNOWN_PRICE)


def known_activity(snapshot: Snapshot) -> Activity:
    """What the ledger counted. Raises Unknown."""
    return known(snapshot.activity, "the account's activity")


def known_count(snapshot: Snapshot, name: str) -> Decimal:
    """One of the activity's figures that are never below zero. Raises Unknown."""
    counted = getattr(known_activity(snapshot), name)
    if counted is None or not counted >= 0:
        raise Unknown(ReasonCode.UNKNOWN_FIGURE, f"{name} cannot be {counted}")
    return counted  # type: ignore[no-any-return]  # a Decimal, or an int where it is a number of things


def known_book(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> OrderBook:
    """A book of this symbol with both sides, best prices in order, as fresh as a price. Raises Unknown."""
    book = known(snapshot.book, "the order book", ReasonCode.UNKNOWN_BOOK)
    is_usable = (
        book.symbol == proposal.symbol
        and bool(book.bids and book.asks)
        and 0 < book.bids[0].price <= book.asks[0].price
        and min(book.bids[0].quantity, book.asks[0].quantity) > 0
    )
    known(book if is_usable else None, "a usable order book", ReasonCode.UNKNOWN_BOOK)
    age = abs(snapshot.now - book.as_of)
    if age > limits.max_price_age:
        raise Unknown(ReasonCode.UNKNOWN_BOOK, f"book is {age} away from now, limit {limits.max_price_age}")
    return book


def known_equity(snapshot: Snapshot, limits: Limits) -> Decimal:
    """What the account is worth, recorded lately and not in a time to come. Raises Unknown."""
    activity, most = known_activity(snapshot), limits.max_equity_age
    equity = known(activity.equity, "the equity")
    if most is None:
        return equity
    age, at = known(activity.equity_age, "the equity's age"), known(activity.equity_at, "the equity's time")
    ahead = max(at - snapshot.now, -age)
    drift = most if limits.max_clock_drift is None else limits.max_clock_drift
    if ahead > drift:
        raise Unknown(
            ReasonCode.STALE_EQUITY,
            f"equity of {at} lies {ahead} ahead of now, limit {drift}: set the clock right, or leave that "
            "equity behind by `alina resume --new-peak`",
        )
    if age > most:
        raise Unknown(
            ReasonCode.STALE_EQUITY,
            f"equity was recorded {age} ago, limit {most}: look in `alina status` why nobody reconciles",
        )
    return equity


def is_protective(proposal: Proposal) -> bool:
    """An exit that a price, a clock or a person decided, not an agent."""
    return proposal.reduce_only and proposal.close_reason not in _AGENTS_OWN


def entry_limit(name: str) -> Callable[[LimitedCheck], Check]:
    """A check of entries only, switched off where the limit `name` is None."""
    return _limited(name, attrgetter("reduce_only"))


def order_limit(name: str) -> Callable[[LimitedCheck], Check]:
    """A check of any order but a protective exit, switched off where the limit `name` is None."""
    return _limited(name, is_protective)


def _limited(name: str, is_exempt: Callable[[Proposal], bool]) -> Callable[[LimitedCheck], Check]:
    def decorate(check: LimitedCheck) -> Check:
        @functools.wraps(check)
        def checked(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Denied | None:
            limit = getattr(limits, name)
            if limit is None or is_exempt(proposal):
                return None
            return check(proposal, snapshot, limits, limit)

        setattr(checked, _LIMIT, name)
        return checked

    return decorate


def limit_of(check: Check) -> str | None:
    """The limit that switches a check off where it is None."""
    return getattr(check, _LIMIT, None)


def expected_price(proposal: Proposal, snapshot: Snapshot) -> Decimal:
    """The limit price, or the price a market order would meet first. Raises Unknown."""
    if proposal.limit_price is not None:
        return proposal.limit_price
    ticker = known_ticker(snapshot)
    return ticker.ask if proposal.side is OrderSide.BUY else ticker.bid


def notional(proposal: Proposal, snapshot: Snapshot) -> Decimal:
    """Quote value at the expected price. Raises Unknown."""
    return proposal.quantity * expected_price(proposal, snapshot)


def spend(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> tuple[str, Decimal]:
    """The asset an order spends, and how much at worst: fees and slippage included for buys."""
    market = known_market(snapshot)
    if proposal.side is OrderSide.SELL:
        return market.base, proposal.quantity
    return market.quote, worst_notional(proposal, snapshot, limits)


def worst_notional(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Decimal:
    """Quote value with fees and, for a market order, slippage on top. Raises Unknown."""
    slippage = Decimal(0)
    if proposal.order_type is OrderType.MARKET:
        slippage = max(limits.slippage_reserve, limits.max_slippage or slippage)
    fee = max(limits.fee_reserve, known_market(snapshot).taker_fee)
    return notional(proposal, snapshot) * (1 + fee + slippage)
