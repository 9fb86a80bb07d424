"""The risk kernel: every reason to deny, at its edge, and nothing approved that breaks a limit."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alina.domain.decisions import Approved, Denied, Proposal, ReasonCode, content_hash
from alina.domain.market import Balance, Market, Ticker
from alina.domain.orders import OrderSide, OrderType
from alina.domain.portfolio import Position, TradingState
from alina.risk import checks, kernel
from alina.risk.limits import Limits, Snapshot

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SYMBOL = "BTC/USDT"
LIMITS = Limits(
    max_trade_amount=Decimal(1000),
    max_price_age=10 * MINUTE,
    cooldown=60 * MINUTE,
    fee_reserve=Decimal("0.002"),
    slippage_reserve=Decimal("0.01"),
)
MARKET = Market(
    symbol=SYMBOL,
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.001"),
    min_quantity=Decimal("0.01"),
    max_quantity=Decimal(50),
    min_notional=Decimal(5),
    maker_fee=Decimal("0.001"),
    taker_fee=Decimal("0.001"),
)
NOTHING = Decimal(0)
TICKER = Ticker(symbol=SYMBOL, bid=Decimal("99.99"), ask=Decimal(100), last=Decimal(100), as_of=NOW)


def holding(**free: str) -> dict[str, Balance]:
    return {
        asset: Balance(asset=asset, free=Decimal(amount), locked=Decimal(0)) for asset, amount in free.items()
    }


def position(quantity: str = "2") -> Position:
    return Position(
        id=UUID(int=1),
        account="main",
        symbol=SYMBOL,
        quantity=Decimal(quantity),
        bought_quantity=Decimal(quantity),
        sold_quantity=Decimal(0),
        cost=Decimal(200),
        proceeds=Decimal(0),
        opened_at=NOW,
    )


SNAPSHOT = Snapshot(
    now=NOW,
    trading_state=TradingState.ACTIVE,
    market=MARKET,
    ticker=TICKER,
    balances=holding(USDT="10000", BTC="2"),
    reserved_base=Decimal(0),
    reserved_quote=Decimal(0),
    position=None,
    last_entry_at=None,
)
HOLDING = replace(SNAPSHOT, position=position())


def buy(quantity: str = "1", **changes: Any) -> Proposal:
    values: dict[str, Any] = {
        "id": UUID(int=2),
        "run_id": None,
        "account": "main",
        "agent": "trading",
        "symbol": SYMBOL,
        "side": OrderSide.BUY,
        "order_type": OrderType.MARKET,
        "quantity": Decimal(quantity),
        "limit_price": None,
        "reference_price": Decimal(100),
        "reduce_only": False,
        "close_reason": None,
        "stop_price": None,
        "take_profit_price": None,
        "close_after": None,
        "confidence": 70,
        "rationale": "a test",
        "as_of": NOW,
        "expires_at": NOW,
    }
    return Proposal(**values | changes)


def limit_buy(quantity: str, price: str, **changes: Any) -> Proposal:
    return buy(quantity, order_type=OrderType.LIMIT, limit_price=Decimal(price), **changes)


def sell(quantity: str = "1", **changes: Any) -> Proposal:
    return buy(quantity, side=OrderSide.SELL, reduce_only=True, **changes)


def denial(proposal: Proposal, snapshot: Snapshot, limits: Limits = LIMITS) -> ReasonCode | None:
    """The reason code, or None for an approval."""
    verdict = kernel.review(proposal, snapshot, limits)
    if isinstance(verdict, Denied):
        assert verdict.message
        return verdict.reason
    assert isinstance(verdict, Approved)
    return None


def test_a_buy_within_every_limit_is_approved_with_fee_and_slippage_reserved() -> None:
    verdict = kernel.review(buy("1"), SNAPSHOT, LIMITS)
    assert verdict == Approved(
        content_hash=content_hash(buy("1")), reserve_asset="USDT", reserve_amount=Decimal("101.2")
    )


def test_a_limit_buy_reserves_no_slippage() -> None:
    verdict = kernel.review(limit_buy("1", "100"), SNAPSHOT, LIMITS)
    assert isinstance(verdict, Approved)
    assert verdict.reserve_amount == Decimal("100.2")


def test_an_exit_reserves_exactly_the_base_it_sells() -> None:
    verdict = kernel.review(sell("2"), HOLDING, LIMITS)
    assert isinstance(verdict, Approved)
    assert (verdict.reserve_asset, verdict.reserve_amount) == ("BTC", Decimal(2))


DENIALS: dict[str, tuple[Proposal, Snapshot, ReasonCode]] = {
    "an account without a known state": (
        buy(),
        replace(SNAPSHOT, trading_state=None),
        ReasonCode.UNKNOWN_ACCOUNT,
    ),
    "an entry while reducing": (
        buy(),
        replace(SNAPSHOT, trading_state=TradingState.REDUCING),
        ReasonCode.TRADING_REDUCING,
    ),
    "an entry while halted": (
        buy(),
        replace(SNAPSHOT, trading_state=TradingState.HALTED),
        ReasonCode.TRADING_HALTED,
    ),
    "an exit while halted": (
        sell(),
        replace(HOLDING, trading_state=TradingState.HALTED),
        ReasonCode.TRADING_HALTED,
    ),
    "an expired proposal": (
        buy(expires_at=NOW - timedelta(microseconds=1)),
        SNAPSHOT,
        ReasonCode.PROPOSAL_EXPIRED,
    ),
    "an unknown market": (buy(), replace(SNAPSHOT, market=None), ReasonCode.UNKNOWN_MARKET),
    "another symbol's market": (
        buy(),
        replace(SNAPSHOT, market=replace(MARKET, symbol="ETH/USDT", base="ETH")),
        ReasonCode.UNKNOWN_MARKET,
    ),
    "a closed market": (
        buy(),
        replace(SNAPSHOT, market=replace(MARKET, trading=False)),
        ReasonCode.MARKET_CLOSED,
    ),
    "an unknown price": (buy(), replace(SNAPSHOT, ticker=None), ReasonCode.UNKNOWN_PRICE),
    "another symbol's price": (
        buy(),
        replace(SNAPSHOT, ticker=replace(TICKER, symbol="ETH/USDT")),
        ReasonCode.UNKNOWN_PRICE,
    ),
    "a bid of zero": (
        buy(),
        replace(SNAPSHOT, ticker=replace(TICKER, bid=Decimal(0))),
        ReasonCode.UNKNOWN_PRICE,
    ),
    "a crossed book": (
        buy(),
        replace(SNAPSHOT, ticker=replace(TICKER, bid=Decimal("100.01"))),
        ReasonCode.UNKNOWN_PRICE,
    ),
    "a stale price": (
        buy(),
        replace(SNAPSHOT, ticker=replace(TICKER, as_of=NOW - 10 * MINUTE - timedelta(microseconds=1))),
        ReasonCode.STALE_PRICE,
    ),
    "a price from the future": (
        buy(),
        replace(SNAPSHOT, ticker=replace(TICKER, as_of=NOW + 10 * MINUTE + timedelta(microseconds=1))),
        ReasonCode.STALE_PRICE,
    ),
    "a quantity off the lot grid": (buy("1.0001"), SNAPSHOT, ReasonCode.INVALID_QUANTITY),
    "a quantity below the minimum": (buy("0.009"), SNAPSHOT, ReasonCode.INVALID_QUANTITY),
    "a quantity above the maximum": (buy("50.001"), SNAPSHOT, ReasonCode.INVALID_QUANTITY),
    "a price off the tick grid": (limit_buy("1", "99.999"), SNAPSHOT, ReasonCode.INVALID_PRICE),
    "a price below zero": (limit_buy("1", "-1"), SNAPSHOT, ReasonCode.INVALID_PRICE),
    "a notional below the minimum": (buy("0.049"), SNAPSHOT, ReasonCode.BELOW_MIN_NOTIONAL),
    "a buy that claims to reduce": (buy(reduce_only=True), SNAPSHOT, ReasonCode.NOTHING_TO_REDUCE),
    "a second entry": (buy(), HOLDING, ReasonCode.POSITION_ALREADY_OPEN),
    "a sale of nothing": (sell(), SNAPSHOT, ReasonCode.NOTHING_TO_REDUCE),
    "a sale of more than is held": (sell("2.001"), HOLDING, ReasonCode.NOTHING_TO_REDUCE),
    "an entry above the limit": (buy("10.001"), SNAPSHOT, ReasonCode.MAX_TRADE_AMOUNT),
    "an entry in the cooldown": (
        buy(),
        replace(SNAPSHOT, last_entry_at=NOW - 60 * MINUTE + timedelta(microseconds=1)),
        ReasonCode.COOLDOWN,
    ),
    "an entry before the last one": (
        buy(),
        replace(SNAPSHOT, last_entry_at=NOW + MINUTE),
        ReasonCode.COOLDOWN,
    ),
    "unknown balances": (buy(), replace(SNAPSHOT, balances=None), ReasonCode.UNKNOWN_BALANCE),
    "an asset that is not held": (
        buy(),
        replace(SNAPSHOT, balances=holding(BTC="2")),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
    "a sale of an asset that is not there": (
        sell("1"),
        replace(HOLDING, balances=holding(USDT="10000")),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
    "a buy without room for its fee": (
        buy(),
        replace(SNAPSHOT, balances=holding(USDT="101.1999")),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
    "a buy with reserved quote": (
        buy(),
        replace(SNAPSHOT, reserved_quote=Decimal("9898.8001")),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
    "a sale of reserved base": (
        sell("2"),
        replace(HOLDING, reserved_base=Decimal("0.001")),
        ReasonCode.INSUFFICIENT_BALANCE,
    ),
}


@pytest.mark.parametrize(("proposal", "snapshot", "reason"), DENIALS.values(), ids=DENIALS.keys())
def test_is_denied(proposal: Proposal, snapshot: Snapshot, reason: ReasonCode) -> None:
    assert denial(proposal, snapshot) is reason


APPROVALS: dict[str, tuple[Proposal, Snapshot]] = {
    "at its expiry": (buy(), SNAPSHOT),
    "with a price as old as allowed": (
        buy(),
        replace(SNAPSHOT, ticker=replace(TICKER, as_of=NOW - 10 * MINUTE)),
    ),
    "exactly at the amount allowed": (buy("10"), SNAPSHOT),
    "exactly at the least notional": (buy("0.05"), SNAPSHOT),
    "at the least quantity": (limit_buy("0.01", "500"), SNAPSHOT),
    "as the cooldown ends": (buy(), replace(SNAPSHOT, last_entry_at=NOW - 60 * MINUTE)),
    "with just enough free": (buy(), replace(SNAPSHOT, balances=holding(USDT="101.2"))),
    "with just enough unreserved": (buy(), replace(SNAPSHOT, reserved_quote=Decimal("9898.8"))),
    "to the maximum quantity": (
        sell("50"),
        replace(HOLDING, position=position("50"), balances=holding(BTC="50")),
    ),
    "an exit while reducing": (sell("2"), replace(HOLDING, trading_state=TradingState.REDUCING)),
    "where the exchange asks for no fee and no minimum": (
        buy(),
        replace(
            SNAPSHOT, market=replace(MARKET, min_quantity=NOTHING, min_notional=NOTHING, taker_fee=NOTHING)
        ),
    ),
    "more than one order may sell elsewhere": (
        sell("51"),
        replace(
            HOLDING,
            market=replace(MARKET, max_quantity=None),
            position=position("51"),
            balances=holding(BTC="51"),
        ),
    ),
    "where bid and ask meet": (buy(), replace(SNAPSHOT, ticker=replace(TICKER, bid=TICKER.ask))),
    "at a price far below one": (
        limit_buy("50", "0.1", reference_price=Decimal("0.1")),
        replace(SNAPSHOT, ticker=replace(TICKER, bid=Decimal("0.09"), ask=Decimal("0.1"))),
    ),
}


@pytest.mark.parametrize(("proposal", "snapshot"), APPROVALS.values(), ids=APPROVALS.keys())
def test_is_approved(proposal: Proposal, snapshot: Snapshot) -> None:
    assert denial(proposal, snapshot) is None


def test_exits_pass_what_limits_entries_only() -> None:
    worth_more = replace(TICKER, bid=Decimal(90_000), ask=Decimal(90_001))
    in_cooldown = replace(HOLDING, ticker=worth_more, last_entry_at=NOW)
    assert denial(sell("2"), in_cooldown) is None


def test_an_exit_that_must_pass_is_still_a_valid_order() -> None:
    assert denial(sell("1.0001"), HOLDING) is ReasonCode.INVALID_QUANTITY
    assert denial(sell("0.03"), HOLDING) is ReasonCode.BELOW_MIN_NOTIONAL


def test_a_check_that_raises_denies() -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    verdict = kernel.review(buy(), SNAPSHOT, LIMITS, checks=(*checks.CHECKS, broken))
    assert verdict == Denied(reason=ReasonCode.KERNEL_ERROR, message="ZeroDivisionError: a bug")


def test_nothing_known_at_all_is_denied_whichever_check_comes_first() -> None:
    nothing = replace(SNAPSHOT, trading_state=None, market=None, ticker=None, balances=None)
    for first in checks.CHECKS:
        verdict = kernel.review(buy(), nothing, LIMITS, checks=(first,))
        assert isinstance(verdict, Denied)


def test_every_unknown_denies_by_itself() -> None:
    for name in ("trading_state", "market", "ticker", "balances"):
        assert denial(buy(), replace(SNAPSHOT, **{name: None})) is not None


def test_a_quantity_too_long_for_the_arithmetic_is_denied() -> None:
    assert denial(buy("1E+40"), SNAPSHOT) is ReasonCode.KERNEL_ERROR


def decimals(low: str, high: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(low), Decimal(high), places=places, allow_nan=False, allow_infinity=False)


def mostly(usual: st.SearchStrategy[Any], rare: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Usually one that can pass: else hardly any proposal would be approved."""
    return st.integers(0, 14).flatmap(lambda number: rare if number == 14 else usual)


def minutes(low: int, high: int) -> st.SearchStrategy[timedelta]:
    return st.integers(low, high).map(lambda number: number * MINUTE)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    side = draw(st.sampled_from(OrderSide))
    price = draw(st.none() | mostly(decimals("90", "110", 2), decimals("-1", "110", 3)))
    return buy(
        str(draw(mostly(decimals("0.05", "8", 3), decimals("0.001", "60", 4)))),
        symbol=draw(mostly(st.just(SYMBOL), st.just("ETH/USDT"))),
        side=side,
        reduce_only=draw(mostly(st.just(side is OrderSide.SELL), st.booleans())),
        order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
        limit_price=price,
        expires_at=NOW + draw(mostly(minutes(0, 30), minutes(-5, -1))),
    )


@st.composite
def snapshots(draw: st.DrawFn, side: OrderSide) -> Snapshot:
    bid = draw(mostly(decimals("90", "110", 2), decimals("0", "200", 2)))
    ticker = replace(
        TICKER,
        bid=bid,
        ask=bid + draw(mostly(decimals("0", "1", 2), decimals("-1", "0", 2))),
        as_of=NOW + draw(mostly(minutes(-10, 10), minutes(-15, 15))),
    )
    balances = holding(USDT=str(draw(decimals("400", "3000", 2))), BTC=str(draw(decimals("2", "15", 3))))
    held = st.none() if side is OrderSide.BUY else decimals("2", "15", 3).map(str).map(position)
    return Snapshot(
        now=NOW,
        trading_state=draw(mostly(st.just(TradingState.ACTIVE), st.sampled_from([*TradingState, None]))),
        market=draw(
            mostly(st.just(MARKET), st.sampled_from([replace(MARKET, trading=False), None])),
        ),
        ticker=draw(mostly(st.just(ticker), st.none())),
        balances=draw(mostly(st.just(balances), st.none())),
        reserved_base=draw(mostly(st.just(Decimal(0)), decimals("0", "2", 3))),
        reserved_quote=draw(mostly(st.just(Decimal(0)), decimals("0", "500", 2))),
        position=draw(mostly(held, st.none() | st.just(position()))),
        last_entry_at=draw(st.none() | minutes(-180, 10).map(lambda ago: NOW + ago)),
    )


@st.composite
def reviews(draw: st.DrawFn) -> tuple[Proposal, Snapshot]:
    proposal = draw(proposals())
    return proposal, draw(snapshots(proposal.side))


@settings(max_examples=1000, deadline=None)
@given(reviews(), decimals("300", "1500", 2))
def test_whatever_is_approved_keeps_every_limit(reviewed: tuple[Proposal, Snapshot], most: Decimal) -> None:
    proposal, snapshot = reviewed
    limits = replace(LIMITS, max_trade_amount=most)
    verdict = kernel.review(proposal, snapshot, limits)
    if isinstance(verdict, Denied):
        return
    assert isinstance(verdict, Approved)
    market, ticker, balances = snapshot.market, snapshot.ticker, snapshot.balances
    assert snapshot.trading_state in {TradingState.ACTIVE, TradingState.REDUCING}
    assert market is not None
    assert market.trading
    assert ticker is not None
    assert balances is not None
    assert proposal.symbol == market.symbol == ticker.symbol
    assert snapshot.now <= proposal.expires_at
    assert abs(snapshot.now - ticker.as_of) <= limits.max_price_age
    assert 0 < ticker.bid <= ticker.ask
    assert proposal.quantity % market.lot_size == 0
    assert market.min_quantity <= proposal.quantity <= Decimal(50)
    is_buy = proposal.side is OrderSide.BUY
    price = proposal.limit_price or (ticker.ask if is_buy else ticker.bid)
    if proposal.limit_price is not None:
        assert price > 0
        assert price % market.tick_size == 0
    notional = proposal.quantity * price
    assert notional >= market.min_notional
    if is_buy:
        assert snapshot.trading_state is TradingState.ACTIVE
        assert not proposal.reduce_only
        assert snapshot.position is None
        assert verdict.reserve_asset == "USDT"
        assert verdict.reserve_amount >= notional * Decimal("1.002")
        assert verdict.reserve_amount <= balances["USDT"].free - snapshot.reserved_quote
    else:
        assert snapshot.position is not None
        assert proposal.quantity <= snapshot.position.quantity
        assert (verdict.reserve_asset, verdict.reserve_amount) == ("BTC", proposal.quantity)
        assert proposal.quantity <= balances["BTC"].free - snapshot.reserved_base
    if not proposal.reduce_only:
        assert snapshot.trading_state is TradingState.ACTIVE
        assert notional <= most
        assert snapshot.last_entry_at is None or NOW - snapshot.last_entry_at >= limits.cooldown
    assert verdict.content_hash == content_hash(proposal)


CHANGES: list[dict[str, Any]] = [
    {"id": UUID(int=3)},
    {"account": "other"},
    {"symbol": "ETH/USDT"},
    {"side": OrderSide.SELL},
    {"quantity": Decimal("1.001")},
    {"limit_price": Decimal("100.01")},
    {"order_type": OrderType.MARKET, "limit_price": None},
    {"reduce_only": True},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: ",".join(change))
def test_another_content_has_another_hash(change: dict[str, Any]) -> None:
    wish = limit_buy("1", "100")
    assert content_hash(replace(wish, **change)) != content_hash(wish)


@given(decimals("0.001", "1000", 4), decimals("0.01", "1000", 2), decimals("0.001", "1000", 4))
def test_equal_amounts_hash_equally_and_only_those(one: Decimal, price: Decimal, other: Decimal) -> None:
    wish = limit_buy(str(one), str(price))
    spelt_otherwise = replace(wish, quantity=one + Decimal("0E-12"), limit_price=price * Decimal("1.0000"))
    assert content_hash(spelt_otherwise) == content_hash(wish)
    assert (content_hash(replace(wish, quantity=other)) == content_hash(wish)) is (one == other)
