"""The figures of a run against a small table worked out by hand."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.backtest.equity import Outcome, Prices, align, curve, worth
from alina.backtest.metrics import (
    bars_a_year,
    drawdowns,
    longest_drawdown,
    measure,
    profit_factor,
    sharpe,
    sortino,
)
from alina.domain.orders import Fill, OrderSide
from alina.domain.portfolio import CloseReason, Position
from alina.domain.records import ms_from_utc
from alina.errors import DataError

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def grid(*closes: float) -> Prices:
    """One market by the hour, BTC/USDT."""
    first = ms_from_utc(START)
    times = np.arange(len(closes), dtype=np.int64) * 3_600_000 + first
    return Prices(times, {"BTC/USDT": np.array(closes, dtype=float)})


def fill(side: OrderSide, quantity: str, price: str, fee: str, hour: int, fee_asset: str = "USDT") -> Fill:
    return Fill(
        trade_id=f"{side}{hour}",
        exchange_order_id=f"{side}{hour}",
        symbol="BTC/USDT",
        side=side,
        quantity=Decimal(quantity),
        price=Decimal(price),
        fee=Decimal(fee),
        fee_asset=fee_asset,
        is_maker=False,
        executed_at=START + hour * HOUR,
    )


def closed(cost: str, proceeds: str, opened: int, ended: int) -> Position:
    return Position(
        id=uuid4(),
        account="paper",
        symbol="BTC/USDT",
        quantity=Decimal(0),
        bought_quantity=Decimal(2),
        sold_quantity=Decimal(2),
        cost=Decimal(cost),
        proceeds=Decimal(proceeds),
        opened_at=START + opened * HOUR,
        closed_at=START + ended * HOUR,
        close_reason=CloseReason.AGENT,
    )


#: buys 2 at 100 with a fee of 1, sells them at 110 with a fee of 1; then 2 at 110, sold at 99
OUTCOME = Outcome(
    agent="rule",
    timeframe="1h",
    quote="USDT",
    opening={"USDT": Decimal(1000)},
    prices=grid(100, 100, 105, 110, 99, 99),
    fills=(
        fill(OrderSide.BUY, "2", "100", "1", 1),
        fill(OrderSide.SELL, "2", "110", "1", 3),
        fill(OrderSide.BUY, "2", "110", "1", 3),
        fill(OrderSide.SELL, "2", "99", "1", 4),
    ),
    positions=(closed("201", "219", 1, 3), closed("221", "197", 3, 4)),
    taker_fee=Decimal("0.001"),
)


def test_the_equity_of_every_bar_by_hand() -> None:
    drawn = curve(OUTCOME)
    assert drawn.opening == 1000
    assert drawn.equity.tolist() == [1000, 999, 1009, 1017, 994, 994]
    assert drawn.invested.tolist() == [0, 200, 210, 220, 0, 0]


def test_the_figures_of_the_table_by_hand() -> None:
    figures = measure(OUTCOME, curve(OUTCOME))
    assert (figures.opening_equity, figures.final_equity) == (Decimal(1000), Decimal(994))
    assert (figures.pnl, figures.fees) == (Decimal(-6), Decimal(4))
    assert figures.total_return == pytest.approx(-0.006)
    assert figures.max_drawdown == pytest.approx(23 / 1017)
    assert figures.longest_drawdown == 2 * HOUR  # the high of hour 3 is not seen again in hours 4 and 5
    assert figures.exposure == pytest.approx((200 / 999 + 210 / 1009 + 220 / 1017) / 6)
    assert figures.max_exposure == pytest.approx(220 / 1017)
    # 200 + 220 + 220 + 198 traded in six hours
    assert figures.turnover == pytest.approx(838 / (6013 / 6) * 8766 / 6)
    assert (figures.trades, figures.open_positions) == (2, 0)
    assert figures.win_rate == 0.5
    assert figures.profit_factor == pytest.approx(18 / 24)
    assert (figures.best_trade, figures.worst_trade) == (Decimal(18), Decimal(-24))
    assert figures.average_trade == Decimal(-3)
    assert figures.average_holding == 1.5 * HOUR
    assert figures.annual_return is not None
    assert figures.annual_return == pytest.approx(0.994 ** (8766 / 6) - 1)
    assert figures.calmar == pytest.approx(figures.annual_return / figures.max_drawdown)


def test_sharpe_and_sortino_by_hand() -> None:
    # mean 0.01; deviations 0.01, -0.03, 0.02: squares sum to 0.0014; losses: 0.02 squared over three
    returns = np.array([0.02, -0.02, 0.03])
    assert sharpe(returns, 100) == pytest.approx(10 * 0.01 / (0.0014 / 2) ** 0.5)
    assert sortino(returns, 100) == pytest.approx(10 * 0.01 / (0.0004 / 3) ** 0.5)


def test_a_ratio_that_is_not_defined_is_none() -> None:
    still = measure(replace(OUTCOME, fills=(), positions=()), curve(replace(OUTCOME, fills=())))
    assert still.pnl == 0
    undefined = (still.sharpe, still.sortino, still.calmar, still.win_rate, still.profit_factor)
    assert undefined == (None,) * 5
    assert (still.average_trade, still.best_trade, still.average_holding) == (None, None, None)
    assert profit_factor([Decimal(3)]) is None


def test_a_year_has_as_many_bars_as_its_timeframe_gives() -> None:
    assert [bars_a_year(timeframe) for timeframe in ("1d", "1h", "5m")] == [365.25, 8766, 105_192]


def test_a_drawdown_that_never_recovers_lasts_to_the_end() -> None:
    equity = np.array([110.0, 100, 110, 90, 80])
    depth = drawdowns(equity, 100)
    assert depth.tolist() == pytest.approx([0, 1 / 11, 0, 2 / 11, 3 / 11])
    assert longest_drawdown(grid(*equity).times, depth) == 2 * HOUR


def test_a_loss_in_the_first_bar_is_a_drawdown_of_the_opening() -> None:
    assert drawdowns(np.array([90.0, 95]), 100).tolist() == pytest.approx([0.1, 0.05])


def test_a_fee_in_base_is_taken_from_what_was_bought() -> None:
    paid = replace(OUTCOME, fills=(fill(OrderSide.BUY, "2", "100", "0.01", 1, "BTC"),), positions=())
    assert curve(paid).equity.tolist() == pytest.approx([1000, 999, 1008.95, 1018.9, 997.01, 997.01])
    assert worth(paid, at_end=True) == Decimal("997.01")
    assert measure(paid, curve(paid)).fees == 1


def test_a_fee_in_an_asset_without_a_price_names_the_market_that_is_missing() -> None:
    paid = replace(OUTCOME, fills=(fill(OrderSide.BUY, "2", "100", "0.01", 1, "BNB"),))
    with pytest.raises(DataError, match="add candles of BNB/USDT"):
        curve(paid)


def test_markets_with_gaps_and_a_late_start_share_one_grid() -> None:
    prices = align(
        {
            "BTC/USDT": (np.array([1, 2, 4]), np.array([10.0, 11, 12])),
            "ETH/USDT": (np.array([2, 3, 4]), np.array([5.0, 6, 7])),
        }
    )
    assert prices.times.tolist() == [1, 2, 3, 4]
    assert prices.closes["BTC/USDT"].tolist() == [10, 11, 11, 12]
    assert prices.closes["ETH/USDT"].tolist() == [5, 5, 6, 7]


def test_a_symbol_without_candles_is_refused() -> None:
    with pytest.raises(DataError, match="no candles"):
        align({"BTC/USDT": (np.array([], dtype=np.int64), np.array([]))})


CENTS = st.integers(1, 10**5).map(lambda cents: Decimal(cents) / 100)


@given(st.lists(CENTS, min_size=2, max_size=30), st.data())
def test_the_curve_ends_at_the_exact_worth(closes: list[Decimal], data: st.DataObject) -> None:
    hours = st.integers(0, len(closes) - 1)
    fills = tuple(
        fill(side, str(data.draw(CENTS)), str(closes[hour]), "0.5", hour)
        for side, hour in data.draw(
            st.lists(st.tuples(st.sampled_from(OrderSide), hours), max_size=6).map(
                lambda drawn: sorted(drawn, key=lambda pair: pair[1])
            )
        )
    )
    run = replace(OUTCOME, prices=grid(*map(float, closes)), fills=fills, positions=())
    assert curve(run).equity[-1] == pytest.approx(float(worth(run, at_end=True)), abs=1e-6)
