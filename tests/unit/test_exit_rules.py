"""When a position must be sold without a model, and what is too little to sell: each at its edge."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from test_risk_kernel import MARKET, NOW, TICKER, position

from alina.domain.portfolio import CloseReason
from alina.orchestrator.protection import below, due, is_dust

D = Decimal
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("exits", "why"),
    [
        ({}, None),
        ({"stop_price": D("99.99")}, CloseReason.STOP_LOSS),
        ({"stop_price": D("99.98")}, None),
        ({"take_profit_price": D("99.99")}, CloseReason.TAKE_PROFIT),
        ({"take_profit_price": D(100)}, None),
        ({"close_after": NOW}, CloseReason.TIME_LIMIT),
        ({"close_after": NOW + TICK}, None),
        ({"stop_price": D(90), "take_profit_price": D(99), "close_after": NOW}, CloseReason.TAKE_PROFIT),
        ({"stop_price": D(100), "take_profit_price": D(99), "close_after": NOW}, CloseReason.STOP_LOSS),
    ],
)
def test_a_position_is_due_at_its_price_by_the_bid_or_at_its_time(
    exits: dict[str, Any], why: CloseReason | None
) -> None:
    assert due(replace(position(), **exits), TICKER, NOW) is why


@pytest.mark.parametrize(
    ("quantity", "price", "expected"),
    [
        ("0.01", "500", False),
        ("0.009", "5000", True),
        ("0.05", "100", False),
        ("0.05", "99.99", True),
        ("0", "100", True),
    ],
)
def test_dust_is_less_than_the_least_quantity_or_the_least_notional(
    quantity: str, price: str, expected: bool
) -> None:
    assert is_dust(MARKET, D(quantity), D(price)) is expected


def test_nothing_is_dust_whatever_the_exchange_asks_for() -> None:
    anything = replace(MARKET, min_quantity=D(0), min_notional=D(0))
    assert is_dust(anything, D(0), D(100))
    assert not is_dust(anything, D("0.001"), D(100))


def test_a_price_below_is_rounded_down_to_the_grid() -> None:
    assert below(D("99.99"), D("0.01"), MARKET) == D("98.99")
