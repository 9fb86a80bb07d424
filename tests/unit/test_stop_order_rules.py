"""What a stop order must be: its record, its hash, and the kernel's word on it."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from test_risk_kernel import HOLDING, LIMITS, buy, sell

from alina.domain.decisions import Approved, Denied, Proposal, ReasonCode, content_hash
from alina.domain.market import BookLevel, OrderBook
from alina.domain.orders import OrderType
from alina.domain.portfolio import CloseReason, TradingState
from alina.errors import InvalidRecord
from alina.risk import kernel


def stop(trigger: str = "95", limit: str = "94.50", **changes: Any) -> Proposal:
    """A stop of what is held, while the bid is 99.99."""
    fields = {"order_type": OrderType.STOP_LIMIT, "close_reason": CloseReason.STOP_LOSS, **changes}
    return sell("2", limit_price=Decimal(limit), trigger_price=Decimal(trigger), **fields)


def test_a_stop_below_the_market_is_approved_and_reserves_what_it_sells() -> None:
    verdict = kernel.review(stop(), HOLDING, LIMITS)
    assert isinstance(verdict, Approved)
    assert (verdict.reserve_asset, verdict.reserve_amount) == ("BTC", Decimal(2))
    assert isinstance(kernel.review(stop("95", "95"), HOLDING, LIMITS), Approved)


@pytest.mark.parametrize(
    "wish",
    [
        stop("99.99"),
        stop("120", "94.50"),
        stop("95", "95.01"),
        stop("95.001", "95"),
        replace(stop(), reduce_only=False),
        buy(order_type=OrderType.STOP_LIMIT, limit_price=Decimal("94.50"), trigger_price=Decimal(95)),
    ],
)
def test_a_stop_that_would_sell_at_once_is_off_the_grid_or_is_no_exit_is_denied(wish: Proposal) -> None:
    verdict = kernel.review(wish, HOLDING, LIMITS)
    assert isinstance(verdict, Denied)
    assert verdict.reason is ReasonCode.INVALID_PRICE


def test_a_stop_far_below_the_market_passes_the_price_collar() -> None:
    ticker = HOLDING.ticker
    assert ticker is not None
    book = OrderBook(
        symbol=ticker.symbol,
        bids=(BookLevel(ticker.bid, Decimal(9)),),
        asks=(BookLevel(ticker.ask, Decimal(9)),),
        as_of=ticker.as_of,
    )
    collar = replace(LIMITS, price_collar=Decimal("0.01"))
    assert isinstance(kernel.review(stop("50", "49"), replace(HOLDING, book=book), collar), Approved)


def test_a_stop_is_denied_while_trading_is_halted_and_not_while_it_is_reducing() -> None:
    halted = kernel.review(stop(), replace(HOLDING, trading_state=TradingState.HALTED), LIMITS)
    assert isinstance(halted, Denied)
    reducing = kernel.review(stop(), replace(HOLDING, trading_state=TradingState.REDUCING), LIMITS)
    assert isinstance(reducing, Approved)


def test_the_hash_covers_the_trigger_price_and_is_the_one_of_old_without() -> None:
    assert content_hash(stop("95")) != content_hash(stop("96"))
    assert content_hash(stop("95")) == content_hash(stop("95.00"))
    assert content_hash(sell()) == "08c22dceea0a545636ac11001578ffad387a435423e61c4647a39b165310c7d6"


@pytest.mark.parametrize(
    "changes",
    [
        {"order_type": OrderType.STOP_LIMIT, "limit_price": Decimal(9)},
        {"order_type": OrderType.STOP_LIMIT, "trigger_price": Decimal(9)},
        {"order_type": OrderType.LIMIT, "limit_price": Decimal(9), "trigger_price": Decimal(9)},
        {"order_type": OrderType.MARKET, "trigger_price": Decimal(9)},
    ],
)
def test_a_trigger_price_goes_with_a_stop_limit_order_and_a_limit_price_with_it(changes: Any) -> None:
    with pytest.raises(InvalidRecord, match="price"):
        sell(**changes)
