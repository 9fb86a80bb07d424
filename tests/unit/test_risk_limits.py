"""Each limit that an account may set: its edge, its reason, whom it spares, and what it needs to know."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from test_risk_kernel import HOLDING, LIMITS, MINUTE, NOW, SNAPSHOT, SYMBOL, buy, limit_buy, sell

from alina.domain.activity import Activity
from alina.domain.decisions import Approved, Denied, NeedsApproval, Proposal, ReasonCode, content_hash
from alina.domain.market import BookLevel, OrderBook
from alina.domain.portfolio import CloseReason
from alina.risk import kernel
from alina.risk.checks import POLICY
from alina.risk.limits import Limits, Snapshot

ACTIVITY = Activity(
    reserved_base=Decimal(0),
    reserved_quote=Decimal(0),
    last_entry_at=None,
    last_same_at=None,
    orders_last_minute=0,
    volume_today=Decimal(0),
    pnl_today=Decimal(0),
    open_positions=0,
    exposure=Decimal(0),
    symbol_exposure=Decimal(0),
    equity=Decimal(10000),
    equity_at=NOW,
    equity_age=timedelta(0),
    equity_peak=Decimal(10000),
    equity_at_day_start=Decimal(10000),
    stop_losses=0,
    symbol_stop_losses=0,
    losses_in_a_row=0,
    symbol_trades=0,
    symbol_return=None,
    has_balances=True,
)


def book(bids: str = "99.99x100", asks: str = "100x100") -> OrderBook:
    """Sides as "PRICExQUANTITY PRICExQUANTITY"."""

    def side(levels: str) -> tuple[BookLevel, ...]:
        pairs = (level.split("x") for level in levels.split())
        return tuple(BookLevel(Decimal(price), Decimal(quantity)) for price, quantity in pairs)

    return OrderBook(symbol=SYMBOL, bids=side(bids), asks=side(asks), as_of=NOW)


FULL = replace(SNAPSHOT, activity=ACTIVITY, book=book(), clock_difference=timedelta(0))


def having(**figures: Any) -> Snapshot:
    return replace(FULL, activity=replace(ACTIVITY, **figures))


def limited(**limits: Any) -> Limits:
    return replace(LIMITS, **limits)


def reason(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> ReasonCode | None:
    verdict = kernel.review(proposal, snapshot, limits)
    if isinstance(verdict, Denied):
        assert verdict.message
        return verdict.reason
    assert isinstance(verdict, Approved)
    return None


D = Decimal
#: a buy of 1 costs 100, and 101.2 at worst: name -> limits, the last snapshot that passes, the first that
#: does not, and why
EDGES: dict[str, tuple[Limits, Snapshot, Snapshot, ReasonCode]] = {
    "volume of the day": (
        limited(max_daily_volume=D(1000)),
        having(volume_today=D("898.8")),
        having(volume_today=D("898.8001")),
        ReasonCode.MAX_DAILY_VOLUME,
    ),
    "loss of the day by closed trades": (
        limited(max_daily_loss=D(50)),
        having(pnl_today=D("-49.99")),
        having(pnl_today=D(-50)),
        ReasonCode.MAX_DAILY_LOSS,
    ),
    "loss of the day by equity": (
        limited(max_daily_loss=D(50)),
        having(equity=D("9950.01")),
        having(equity=D(9950)),
        ReasonCode.MAX_DAILY_LOSS,
    ),
    "open positions": (
        limited(max_open_positions=3),
        having(open_positions=2),
        having(open_positions=3),
        ReasonCode.MAX_OPEN_POSITIONS,
    ),
    "exposure in all": (
        limited(max_exposure=D(500)),
        having(exposure=D("398.8")),
        having(exposure=D("398.8001")),
        ReasonCode.MAX_EXPOSURE,
    ),
    "exposure in the symbol": (
        limited(max_symbol_exposure=D(500)),
        having(symbol_exposure=D("398.8")),
        having(symbol_exposure=D("398.8001")),
        ReasonCode.MAX_SYMBOL_EXPOSURE,
    ),
    "drawdown": (
        limited(max_drawdown=D("0.1")),
        having(equity=D("9000.01")),
        having(equity=D(9000)),
        ReasonCode.MAX_DRAWDOWN,
    ),
    "age of the equity that the day's loss rests on": (
        limited(max_daily_loss=D(50), max_equity_age=MINUTE),
        having(equity_age=MINUTE),
        having(equity_age=MINUTE + timedelta(microseconds=1)),
        ReasonCode.STALE_EQUITY,
    ),
    "age of the equity that the drawdown rests on": (
        limited(max_drawdown=D("0.1"), max_equity_age=MINUTE),
        having(equity_age=MINUTE),
        having(equity_age=MINUTE + timedelta(microseconds=1)),
        ReasonCode.STALE_EQUITY,
    ),
    "an equity of a time to come": (
        limited(max_drawdown=D("0.1"), max_equity_age=10 * MINUTE, max_clock_drift=MINUTE),
        having(equity_at=NOW + MINUTE),
        having(equity_at=NOW + MINUTE + timedelta(microseconds=1)),
        ReasonCode.STALE_EQUITY,
    ),
    "an equity recorded in a time to come": (
        limited(max_drawdown=D("0.1"), max_equity_age=MINUTE),
        having(equity_age=-MINUTE),
        having(equity_age=-MINUTE - timedelta(microseconds=1)),
        ReasonCode.STALE_EQUITY,
    ),
    "stop losses": (
        limited(max_stop_losses=2),
        having(stop_losses=1),
        having(stop_losses=2),
        ReasonCode.STOP_LOSSES,
    ),
    "stop losses of the symbol": (
        limited(max_symbol_stop_losses=2),
        having(symbol_stop_losses=1),
        having(symbol_stop_losses=2),
        ReasonCode.SYMBOL_STOP_LOSSES,
    ),
    "losses in a row": (
        limited(max_losses_in_a_row=2),
        having(losses_in_a_row=1),
        having(losses_in_a_row=2),
        ReasonCode.CONSECUTIVE_LOSSES,
    ),
    "return of the symbol": (
        limited(min_symbol_return=D(0), min_symbol_trades=2),
        having(symbol_trades=2, symbol_return=D(0)),
        having(symbol_trades=2, symbol_return=D("-0.0001")),
        ReasonCode.LOW_PROFIT,
    ),
    "order rate": (
        limited(max_order_rate=3),
        having(orders_last_minute=2),
        having(orders_last_minute=3),
        ReasonCode.MAX_ORDER_RATE,
    ),
    "duplicates": (
        limited(duplicate_window=MINUTE),
        having(last_same_at=NOW - MINUTE),
        having(last_same_at=NOW - MINUTE + timedelta(microseconds=1)),
        ReasonCode.DUPLICATE,
    ),
    "clock drift": (
        limited(max_clock_drift=MINUTE),
        replace(FULL, clock_difference=-MINUTE),
        replace(FULL, clock_difference=-MINUTE - timedelta(microseconds=1)),
        ReasonCode.CLOCK_DRIFT,
    ),
    "collar of the price seen": (
        limited(price_collar=D("0.25")),
        replace(FULL, book=book("79.99x9", "80.01x9")),
        replace(FULL, book=book("79.99x9", "80x9")),
        ReasonCode.PRICE_COLLAR,
    ),
    "slippage": (
        limited(max_slippage=D("0.01")),
        replace(FULL, book=book(asks="100x0.5 102x0.5")),
        replace(FULL, book=book(asks="100x0.5 102.01x0.5")),
        ReasonCode.SLIPPAGE,
    ),
    "a book too thin to fill": (
        limited(max_slippage=D("0.01")),
        replace(FULL, book=book(asks="100x1")),
        replace(FULL, book=book(asks="100x0.999")),
        ReasonCode.THIN_BOOK,
    ),
    "age of the book": (
        limited(max_spread=D("0.02")),
        replace(FULL, book=replace(book(), as_of=NOW - 10 * MINUTE)),
        replace(FULL, book=replace(book(), as_of=NOW - 10 * MINUTE - timedelta(microseconds=1))),
        ReasonCode.UNKNOWN_BOOK,
    ),
    "spread": (
        limited(max_spread=D("0.02")),
        replace(FULL, book=book("99x9", "101x9")),
        replace(FULL, book=book("99x9", "101.01x9")),
        ReasonCode.WIDE_SPREAD,
    ),
    "depth within the range": (
        limited(min_depth=D(1000), depth_range=D("0.01")),
        replace(FULL, book=book("100x5 99x6", "100x10")),
        replace(FULL, book=book("100x5 98.9x60", "100x10")),
        ReasonCode.THIN_BOOK,
    ),
    "a one-sided book": (
        limited(max_imbalance=D(10)),
        replace(FULL, book=book("100x1", "100x10")),
        replace(FULL, book=book("100x1", "100x10.001")),
        ReasonCode.ONE_SIDED_BOOK,
    ),
    "age of the market": (
        limited(min_market_age=timedelta(days=3)),
        replace(FULL, first_candle_at=NOW - timedelta(days=3)),
        replace(FULL, first_candle_at=NOW - timedelta(days=3) + MINUTE),
        ReasonCode.YOUNG_MARKET,
    ),
    "volume of the market": (
        limited(min_volume_ratio=D("0.1")),
        replace(FULL, recent_volume=D(10), usual_volume=D(100)),
        replace(FULL, recent_volume=D("9.99"), usual_volume=D(100)),
        ReasonCode.VOLUME_COLLAPSE,
    ),
}


@pytest.mark.parametrize(("limits", "last", "first", "why"), EDGES.values(), ids=EDGES.keys())
def test_a_limit_lets_its_edge_pass_and_denies_beyond(
    limits: Limits, last: Snapshot, first: Snapshot, why: ReasonCode
) -> None:
    assert reason(buy(), last, limits) is None
    assert reason(buy(), first, limits) is why
    assert reason(buy(), first, LIMITS) is None, "a limit that is not set denies nothing"


@pytest.mark.parametrize(("limits", "last", "first", "why"), EDGES.values(), ids=EDGES.keys())
def test_no_such_limit_holds_a_protective_exit_back(
    limits: Limits, last: Snapshot, first: Snapshot, why: ReasonCode
) -> None:
    exit_now = sell("2", close_reason=CloseReason.STOP_LOSS)
    assert reason(exit_now, replace(first, position=HOLDING.position), limits) is None
    unknown = replace(HOLDING, activity=None, book=None)
    assert reason(exit_now, unknown, limits) is None


@pytest.mark.parametrize(("limits", "last", "first", "why"), EDGES.values(), ids=EDGES.keys())
def test_a_figure_that_a_set_limit_needs_and_nobody_knows_denies(
    limits: Limits, last: Snapshot, first: Snapshot, why: ReasonCode
) -> None:
    verdict = kernel.review(buy(), SNAPSHOT, limits)
    assert isinstance(verdict, Denied)
    assert verdict.reason.is_unknown


def test_an_exposure_in_two_quotes_denies_entries_and_says_so() -> None:
    mixed, limits = having(exposure=None), limited(max_exposure=D(500))
    verdict = kernel.review(buy(), mixed, limits)
    assert isinstance(verdict, Denied)
    assert "another quote" in verdict.message
    assert reason(sell("1"), replace(mixed, position=HOLDING.position), limits) is None


def test_a_peak_without_equity_or_equity_without_a_peak_denies() -> None:
    limits = limited(max_drawdown=Decimal("0.1"))
    for figures in ({"equity": None}, {"equity_peak": None}, {"equity_peak": Decimal(0)}):
        assert reason(buy(), having(**figures), limits) is ReasonCode.UNKNOWN_FIGURE


def test_an_equity_too_old_holds_no_exit_back_and_no_entry_whose_limits_do_not_rest_on_it() -> None:
    stale = having(equity_age=timedelta(days=1))
    limits = limited(max_daily_loss=Decimal(50), max_drawdown=Decimal("0.1"), max_equity_age=MINUTE)
    exits = replace(stale, position=HOLDING.position)
    assert reason(buy(), stale, limits) is ReasonCode.STALE_EQUITY
    for why in (CloseReason.AGENT, CloseReason.STOP_LOSS, CloseReason.HALT):
        assert reason(sell("2", close_reason=why), exits, limits) is None
    assert reason(buy(), stale, limited(max_equity_age=MINUTE)) is None


def test_an_equity_too_old_is_denied_with_its_age_and_what_to_look_at() -> None:
    limits = limited(max_drawdown=Decimal("0.1"), max_equity_age=MINUTE)
    verdict = kernel.review(buy(), having(equity_age=2 * MINUTE), limits)
    assert isinstance(verdict, Denied)
    assert "recorded 0:02:00 ago, limit 0:01:00: look in `alina status`" in verdict.message


@pytest.mark.parametrize("sides", [("", "100x9"), ("99x9", ""), ("101x9", "100x9"), ("0x9", "100x9")])
def test_a_book_that_cannot_be_is_unknown(sides: tuple[str, str]) -> None:
    limits = limited(max_spread=Decimal("0.02"))
    assert reason(buy(), replace(FULL, book=book(*sides)), limits) is ReasonCode.UNKNOWN_BOOK
    other = replace(book(), symbol="ETH/USDT")
    assert reason(buy(), replace(FULL, book=other), limits) is ReasonCode.UNKNOWN_BOOK


def test_slippage_is_of_the_average_price_of_a_market_order_on_the_side_that_it_takes() -> None:
    limits = limited(max_slippage=Decimal("0.01"))
    shown = replace(FULL, book=book("99.99x1", "100x1 102x1"))
    assert reason(buy("2"), shown, limits) is None
    assert reason(buy("2.001"), shown, limits) is ReasonCode.THIN_BOOK
    assert reason(limit_buy("2.001", "100"), shown, limits) is None, "its limit bounds it"
    sale = replace(sell("2"), reduce_only=False)
    assert reason(sale, replace(shown, position=HOLDING.position), limits) is ReasonCode.THIN_BOOK


def test_a_limit_price_far_from_the_book_is_denied_and_one_near_it_passes() -> None:
    limits = limited(price_collar=Decimal("0.05"))
    assert reason(limit_buy("1", "96"), FULL, limits) is None
    assert reason(limit_buy("1", "94"), FULL, limits) is ReasonCode.PRICE_COLLAR


def test_the_largest_order_binds_an_agents_exit_but_no_protective_one() -> None:
    limits = limited(max_order_notional=Decimal("99.99"))
    holding = replace(FULL, position=HOLDING.position)
    assert reason(sell("2"), holding, limits) is ReasonCode.MAX_ORDER_NOTIONAL, "an exit of nobody's reason"
    entry = buy("1", close_reason=CloseReason.STOP_LOSS)
    assert reason(entry, FULL, limits) is ReasonCode.MAX_ORDER_NOTIONAL, "an entry that claims to protect"
    assert reason(sell("2", close_reason=CloseReason.AGENT), holding, limits) is ReasonCode.MAX_ORDER_NOTIONAL
    assert reason(sell("1", close_reason=CloseReason.AGENT), holding, limits) is None
    assert reason(sell("2", close_reason=CloseReason.STOP_LOSS), holding, limits) is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (limited(denied_assets=frozenset({"BTC"})), ReasonCode.ASSET_NOT_ALLOWED),
        (limited(allowed_assets=frozenset({"ETH"})), ReasonCode.ASSET_NOT_ALLOWED),
        (limited(allowed_assets=frozenset()), ReasonCode.ASSET_NOT_ALLOWED),
        (limited(allowed_assets=frozenset({"BTC"})), None),
        (
            limited(allowed_assets=frozenset({"BTC"}), denied_assets=frozenset({"BTC"})),
            ReasonCode.ASSET_NOT_ALLOWED,
        ),
    ],
)
def test_assets_are_bought_by_the_lists(limits: Limits, expected: ReasonCode | None) -> None:
    assert reason(buy(), FULL, limits) is expected
    assert reason(sell("1"), replace(FULL, position=HOLDING.position), limits) is None


def test_an_entry_above_the_threshold_asks_a_person_until_they_agreed_to_exactly_it() -> None:
    limits = limited(approval_above=Decimal(99), approval_ttl=10 * MINUTE)
    wish = buy("1", expires_at=NOW + 60 * MINUTE)
    asked = kernel.review(wish, FULL, limits)
    assert isinstance(asked, NeedsApproval)
    assert asked.expires_at == NOW + 10 * MINUTE
    assert isinstance(kernel.review(buy("0.99"), FULL, limits), Approved)
    agreed = replace(FULL, agreed_hash=content_hash(wish))
    assert isinstance(kernel.review(wish, agreed, limits), Approved)
    larger = replace(wish, quantity=Decimal("1.001"))
    assert reason(larger, agreed, limits) is ReasonCode.APPROVAL_OF_ANOTHER_CONTENT
    denied = kernel.review(wish, replace(agreed, clock_difference=None), limited(max_clock_drift=MINUTE))
    assert isinstance(denied, Denied)


def test_a_question_never_outlives_its_proposal() -> None:
    asked = kernel.review(buy("1", expires_at=NOW + MINUTE), FULL, limited(approval_above=Decimal(1)))
    assert isinstance(asked, NeedsApproval)
    assert asked.expires_at == NOW + MINUTE


def test_every_check_has_a_reason_of_its_own_and_says_what_it_checks() -> None:
    for check in POLICY:
        assert check.__doc__
    assert len({check.__name__ for check in POLICY}) == len(POLICY)
    codes = [code.value for code in ReasonCode]
    assert codes == sorted(codes)
