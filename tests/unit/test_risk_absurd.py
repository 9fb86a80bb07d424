"""Whatever figure is missing, not a number, impossible or of something else: the kernel does not approve."""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_risk_kernel import HOLDING, MINUTE, NOW, SNAPSHOT, buy, denial, holding, limit_buy, position, sell
from test_risk_limits import ACTIVITY, FULL, book, limited, reason

from alina.domain.decisions import Approved, Denied, Proposal, ReasonCode
from alina.domain.portfolio import CloseReason
from alina.domain.records import Record
from alina.errors import InvalidRecord
from alina.risk import kernel
from alina.risk.limits import Limits, Snapshot

D = Decimal
#: every limit is set, and a buy of 1 at 100 keeps them all
STRICT = limited(
    max_order_notional=D(1000),
    max_daily_volume=D(1000),
    max_daily_loss=D(100),
    max_open_positions=5,
    max_exposure=D(1000),
    max_symbol_exposure=D(1000),
    max_drawdown=D("0.2"),
    max_equity_age=MINUTE,
    max_stop_losses=5,
    max_symbol_stop_losses=5,
    max_losses_in_a_row=5,
    min_symbol_return=D(0),
    max_order_rate=5,
    duplicate_window=MINUTE,
    max_clock_drift=MINUTE,
    price_collar=D("0.1"),
    max_slippage=D("0.01"),
    max_spread=D("0.02"),
    min_depth=D(100),
    max_imbalance=D(20),
    min_market_age=timedelta(days=1),
    min_volume_ratio=D("0.1"),
    allowed_assets=frozenset({"BTC"}),
)
KNOWN = replace(
    FULL,
    activity=replace(ACTIVITY, symbol_trades=2, symbol_return=D("0.1")),
    first_candle_at=NOW - timedelta(days=9),
    recent_volume=D(10),
    usual_volume=D(10),
)
#: where nothing is an answer: no position, no entry yet, no such rule, nobody was asked
MAY_BE_NONE = {"position", "last_entry_at", "last_same_at", "max_quantity", "agreed_hash"}
#: what no check of a buy reads
UNREAD = {
    "reserved_base",  # of Activity and of what a sale spends
    "locked",
    "last",
    "maker_fee",
    "has_balances",
    "cost",
}
#: of Activity: the snapshot's own fields of these names are the ones read
TWICE = {"reserved_base", "reserved_quote", "last_entry_at"}
#: a sum that may well be below zero
SIGNED = {"pnl_today", "symbol_return", "clock_difference", "equity", "equity_at_day_start"}
IMPOSSIBLE: tuple[Any, ...] = (None, D("NaN"), D("sNaN"), float("nan"), "garbage", object())


def forced(record: Any, name: str, value: object) -> Any:
    """A copy with a value that no constructor would take."""
    copy = replace(record)
    object.__setattr__(copy, name, value)
    return copy


def test_with_every_limit_set_and_every_figure_known_a_sound_buy_is_approved() -> None:
    assert {field.name for field in fields(Limits) if getattr(STRICT, field.name) is None} == {
        "approval_above",
        "symbols",
    }
    assert isinstance(kernel.review(buy(), KNOWN, STRICT), Approved)


def places() -> Iterator[tuple[str, Any, Any]]:
    """Every figure: its name, its record, and how a snapshot is made of the changed record."""
    yield from ((field.name, KNOWN, lambda record: record) for field in fields(Snapshot))
    balance = KNOWN.balances["USDT"] if KNOWN.balances else None
    nested: dict[str, Any] = {
        "market": lambda one: replace(KNOWN, market=one),
        "ticker": lambda one: replace(KNOWN, ticker=one),
        "activity": lambda one: replace(KNOWN, activity=one),
        "book": lambda one: replace(KNOWN, book=one),
    }
    for name, put in nested.items():
        record = getattr(KNOWN, name)
        for field in fields(record):
            if not (name == "activity" and field.name in TWICE):
                yield field.name, record, put
    yield "free", balance, lambda one: replace(KNOWN, balances={"USDT": one})
    assert KNOWN.book is not None
    for side in ("bids", "asks"):
        (level,) = getattr(KNOWN.book, side)
        for name in ("price", "quantity"):
            yield name, level, lambda one, side=side: replace(KNOWN, book=forced(KNOWN.book, side, (one,)))


FIGURES = [
    pytest.param(name, record, put, id=f"{type(record).__name__}.{name}")
    for name, record, put in places()
    if name not in UNREAD
]


@pytest.mark.parametrize(("name", "record", "put"), FIGURES)
def test_a_figure_that_is_missing_or_no_number_denies(name: str, record: Record, put: Any) -> None:
    for value in IMPOSSIBLE:
        if value is None and name in MAY_BE_NONE:
            continue
        if name == "agreed_hash":  # text: any other than this content's is refused where a person is asked
            continue
        verdict = kernel.review(buy(), put(forced(record, name, value)), STRICT)
        assert isinstance(verdict, Denied), value


@pytest.mark.parametrize(("name", "record", "put"), FIGURES)
def test_an_amount_or_a_count_below_zero_denies(name: str, record: Record, put: Any) -> None:
    is_number = isinstance(getattr(record, name), int | Decimal) and not isinstance(
        getattr(record, name), bool
    )
    if not is_number or name in SIGNED:
        return
    for value in (-1, D("-1E-9"), D("-1E+30"), D("-Infinity")):
        verdict = kernel.review(buy(), put(forced(record, name, value)), STRICT)
        assert isinstance(verdict, Denied), value


MARKET = SNAPSHOT.market
assert MARKET is not None
OTHERS: dict[str, Snapshot] = {
    "a market whose assets are not the symbol's": replace(KNOWN, market=replace(MARKET, base="ETH")),
    "a market of another quote": replace(
        KNOWN, market=replace(MARKET, quote="BUSD"), balances=holding(BUSD="10000")
    ),
    "a position of another symbol": replace(KNOWN, position=replace(position(), symbol="ETH/USDT")),
    "a book as old as no price may be": replace(
        KNOWN, book=replace(book(), as_of=NOW - 10 * MINUTE - timedelta(microseconds=1))
    ),
    "a book from the future": replace(
        KNOWN, book=replace(book(), as_of=NOW + 10 * MINUTE + timedelta(microseconds=1))
    ),
    "a market that never traded": replace(KNOWN, recent_volume=D(0), usual_volume=D(0)),
}


@pytest.mark.parametrize("snapshot", OTHERS.values(), ids=OTHERS.keys())
def test_what_cannot_be_or_is_of_something_else_denies(snapshot: Snapshot) -> None:
    assert isinstance(kernel.review(buy(), snapshot, STRICT), Denied)


@pytest.mark.parametrize(
    "sides",
    [{"bids": "99.8x1 99.99x9"}, {"asks": "100x1 99.999x9"}, {"asks": "100x1 100x1"}, {"bids": "99x-1"}],
)
def test_a_book_out_of_order_or_of_less_than_nothing_never_enters(sides: dict[str, str]) -> None:
    with pytest.raises(InvalidRecord, match="impossible book"):
        book(**sides)


def test_a_sale_of_another_symbols_position_is_denied() -> None:
    other = replace(HOLDING, position=replace(position(), symbol="ETH/USDT"))
    assert reason(sell("2"), other, limited()) is ReasonCode.NOTHING_TO_REDUCE
    account = replace(HOLDING, position=replace(position(), account="other"))
    assert reason(sell("2"), account, limited()) is ReasonCode.NOTHING_TO_REDUCE


def test_a_price_seen_that_is_none_is_denied_whoever_exits() -> None:
    for price in ("0", "-1"):
        wish = sell("2", reference_price=D(price), close_reason=CloseReason.STOP_LOSS)
        assert reason(wish, HOLDING, limited()) is ReasonCode.INVALID_PRICE


@pytest.mark.parametrize(
    "prices",
    [
        {"stop_price": D(0)},
        {"stop_price": D(-1)},
        {"stop_price": D("90.001")},
        {"take_profit_price": D(0)},
        {"take_profit_price": D("110.001")},
    ],
)
def test_a_protection_at_no_price_that_an_order_could_have_is_denied(prices: dict[str, Any]) -> None:
    assert reason(buy(**prices), KNOWN, STRICT) is ReasonCode.INVALID_PRICE
    assert reason(buy(stop_price=D(90), take_profit_price=D(110)), KNOWN, STRICT) is None


def test_what_a_market_order_would_pay_is_held_against_the_price_its_amounts_were_made_of() -> None:
    """Else a book that moved away since the ticker is filled at more than was approved and reserved."""
    limits = limited(max_slippage=D("0.01"))
    assert reason(buy(), replace(FULL, book=book("100x9", "101x9")), limits) is None
    assert reason(buy(), replace(FULL, book=book("100x9", "101.01x9")), limits) is ReasonCode.SLIPPAGE
    assert reason(buy(), replace(FULL, book=book("90x9", "98.99x9")), limits) is ReasonCode.SLIPPAGE


def test_a_slippage_that_may_be_above_the_reserve_is_reserved() -> None:
    """Else a book that fills at 104 what costs 101.2 at worst breaks the limit that it was approved under."""
    dear, limits = replace(FULL, book=book("100x9", "104x9")), limited(max_slippage=D("0.05"))
    verdict = kernel.review(buy(), dear, limits)
    assert isinstance(verdict, Approved)
    assert verdict.reserve_amount == D("105.2")
    assert reason(buy(), dear, replace(limits, max_exposure=D(103))) is ReasonCode.MAX_EXPOSURE
    within_limit = kernel.review(limit_buy("1", "100"), dear, limits)
    assert isinstance(within_limit, Approved)
    assert within_limit.reserve_amount == D("100.2")


def test_a_fee_of_the_market_above_the_reserve_is_reserved() -> None:
    assert MARKET is not None
    dear = replace(SNAPSHOT, market=replace(MARKET, taker_fee=D("0.01")))
    verdict = kernel.review(limit_buy("1", "100"), dear, limited())
    assert isinstance(verdict, Approved)
    assert verdict.reserve_amount == D(101)


def test_a_persons_flattening_passes_what_limits_agents() -> None:
    exit_now = sell("2", close_reason=CloseReason.HALT)
    limits = limited(max_order_notional=D(150), price_collar=D("0.01"), max_order_rate=0)
    assert reason(exit_now, replace(FULL, position=HOLDING.position, book=None), limits) is None


def test_the_order_rate_binds_an_agents_exits_too() -> None:
    busy = replace(FULL, position=HOLDING.position, activity=replace(ACTIVITY, orders_last_minute=5))
    limits = limited(max_order_rate=5)
    assert reason(sell("1", close_reason=CloseReason.AGENT), busy, limits) is ReasonCode.MAX_ORDER_RATE
    assert reason(sell("1", close_reason=CloseReason.STOP_LOSS), busy, limits) is None


def test_only_symbols_that_are_looked_after_are_entered_and_any_is_left() -> None:
    limits = limited(symbols=frozenset({"ETH/USDT"}))
    assert reason(buy(), FULL, limits) is ReasonCode.SYMBOL_NOT_TRADED
    assert reason(sell("1"), replace(FULL, position=HOLDING.position), limits) is None
    assert reason(buy(), FULL, limited(symbols=frozenset({"BTC/USDT"}))) is None


ANY_FIGURE = st.sampled_from([param.values for param in FIGURES])
ANY_VALUE = st.one_of(
    st.none(),
    st.decimals(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=3),
    st.datetimes(),
    st.timedeltas(),
)


@given(ANY_FIGURE, ANY_VALUE, st.sampled_from([buy(), limit_buy("1", "100")]))
def test_no_value_of_any_figure_makes_the_kernel_raise(figure: Any, value: object, wish: Proposal) -> None:
    name, record, put = figure
    kernel.review(wish, put(forced(record, name, value)), STRICT)


@pytest.mark.parametrize("price", ["1E-16383", "1E+131000"])
def test_a_price_that_nobody_can_have_seen_is_denied_to_a_stop_too(price: str) -> None:
    """A sale's turnover is counted at it: the ledger could not store what comes of these."""
    wish = replace(sell(), reference_price=D(price), close_reason=CloseReason.STOP_LOSS)
    assert denial(wish, HOLDING) is ReasonCode.INVALID_PRICE
