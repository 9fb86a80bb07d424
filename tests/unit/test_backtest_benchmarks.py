"""The run beside holding and beside random agents."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import numpy as np
import pytest

from alina.backtest.benchmarks import buy_and_hold, compare, random_agents
from alina.backtest.equity import Outcome, Prices, curve
from alina.domain.orders import Fill, OrderSide
from alina.domain.portfolio import Position
from alina.domain.records import ms_from_utc

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
FEE = Decimal("0.001")


def traded(
    closes: dict[str, np.ndarray],
    holds: list[tuple[str, int, int]],
    *,
    size: str = "1000",
    cash: str = "10000",
) -> Outcome:
    """Buys `size` quote of a symbol at its close of the first hour, sells all at that of the second."""
    bars = len(next(iter(closes.values())))
    times = np.arange(bars, dtype=np.int64) * 3_600_000 + ms_from_utc(START)
    fills, positions = [], []
    for symbol, opened, ended in holds:
        bought, sold = (Decimal(repr(float(closes[symbol][hour]))) for hour in (opened, ended))
        quantity = Decimal(size) / bought
        entry = fill(symbol, OrderSide.BUY, quantity, bought, opened)
        leave = fill(symbol, OrderSide.SELL, quantity, sold, ended)
        fills += [entry, leave]
        positions.append(
            Position(
                id=uuid4(),
                account="paper",
                symbol=symbol,
                quantity=Decimal(0),
                bought_quantity=quantity,
                sold_quantity=quantity,
                cost=entry.notional + entry.fee,
                proceeds=leave.notional - leave.fee,
                opened_at=START + opened * HOUR,
                closed_at=START + ended * HOUR,
            )
        )
    return Outcome(
        agent="rule",
        timeframe="1h",
        quote="USDT",
        opening={"USDT": Decimal(10_000)},
        prices=Prices(times, closes),
        fills=tuple(sorted(fills, key=lambda one: one.executed_at)),
        positions=tuple(positions),
        taker_fee=FEE,
    )


def fill(symbol: str, side: OrderSide, quantity: Decimal, price: Decimal, hour: int) -> Fill:
    return Fill(
        trade_id=str(uuid4()),
        exchange_order_id=str(uuid4()),
        symbol=symbol,
        side=side,
        quantity=quantity,
        price=price,
        fee=quantity * price * FEE,
        fee_asset="USDT",
        is_maker=False,
        executed_at=START + hour * HOUR,
    )


def walk(bars: int, seed: int) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, bars)))


def test_holding_buys_every_symbol_once_and_pays_the_fee_once() -> None:
    run = traded({"BTC/USDT": np.array([100.0, 150, 200]), "ETH/USDT": np.array([10.0, 10, 5])}, [])
    assert buy_and_hold(run, 1000.0).tolist() == pytest.approx([999, 999 * 1.25, 999 * 1.25])


def test_without_a_trade_there_is_no_random_agent() -> None:
    run = traded({"BTC/USDT": walk(50, 1)}, [])
    drawn = curve(run)
    assert random_agents(run, drawn) is None
    compared = compare(run, drawn, buy_and_hold(run, drawn.opening), None)
    assert (compared.luck, compared.over_random, compared.sharpe) == (None, None, None)


def test_a_trade_that_fills_the_whole_run_leaves_nothing_to_chance() -> None:
    run = traded({"BTC/USDT": walk(200, 2)}, [("BTC/USDT", 0, 199)])
    drawn = curve(run)
    random = random_agents(run, drawn, agents=5)
    assert random is not None
    for agent in random.equity:
        assert agent[-1] == pytest.approx(drawn.equity[-1])
        assert agent[1:] == pytest.approx(drawn.equity[random.bars][1:])


def test_random_agents_trade_as_much_and_so_lose_the_same_fees() -> None:
    still = {"BTC/USDT": np.full(300, 100.0), "ETH/USDT": np.full(300, 10.0)}
    run = traded(still, [("BTC/USDT", 10, 20), ("ETH/USDT", 15, 40), ("BTC/USDT", 50, 90)])
    drawn = curve(run)
    random = random_agents(run, drawn, agents=50)
    assert random is not None
    assert random.equity[:, -1] == pytest.approx(drawn.equity[-1], rel=1e-6)
    assert random.equity[:, 0].max() <= drawn.opening


def test_a_random_agent_s_equity_is_that_of_its_trades() -> None:
    close = walk(120, 3)
    run = traded({"BTC/USDT": close}, [("BTC/USDT", 5, 15), ("BTC/USDT", 40, 41)], size="5000")
    drawn = curve(run)
    random = random_agents(run, drawn, agents=400)
    assert random is not None
    moving = np.count_nonzero(np.diff(random.equity, axis=1), axis=1)
    assert set(moving) <= {11, 12, 13}  # eleven bars in the market, and the fees of two entries
    fees = (1 - 0.001) ** 2 / (1 + 0.001) ** 2
    assert random.equity[:, -1].mean() == pytest.approx(10_000 * fees**0.5, rel=0.02)


def test_knowing_the_future_is_told_from_luck_and_guessing_is_not() -> None:
    close = walk(2000, 4)
    gain = close[10:] / close[:-10]
    knowing = [(i, i + 10) for i in range(0, 1980, 30) if gain[i] > 1.02]
    assert len(knowing) > 10
    seer = traded({"BTC/USDT": close}, [("BTC/USDT", *pair) for pair in knowing])
    guesser = traded({"BTC/USDT": close}, [("BTC/USDT", i, i + 10) for i in range(0, 1980, 60)])
    lucks = []
    for run in (seer, guesser):
        drawn = curve(run)
        compared = compare(run, drawn, buy_and_hold(run, drawn.opening), random_agents(run, drawn))
        assert compared.over_random is not None
        lucks.append((compared.luck, compared.over_random.low > 0))
    assert lucks[0] == (pytest.approx(1 / 501), True)
    assert lucks[1][0] is not None
    assert lucks[1][0] > 0.05


def test_the_band_of_random_agents_holds_most_of_them() -> None:
    run = traded({"BTC/USDT": walk(500, 5)}, [("BTC/USDT", i, i + 20) for i in range(0, 400, 50)])
    random = random_agents(run, curve(run))
    assert random is not None
    low, high = random.band()
    within = (random.equity[:, -1] >= low[-1]) & (random.equity[:, -1] <= high[-1])
    assert 0.94 <= within.mean() <= 0.96
    assert np.all(low <= random.median)
