"""The rule agent: what its gate over arrays leaves out, its gate over a view leaves out too."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from alina.agents.base import Answering, Situation, Wish
from alina.agents.rule import RuleAgent
from alina.config import Settings
from alina.domain.market import Candle, Market, MarketView, Ticker
from alina.domain.orders import OrderSide
from alina.domain.portfolio import Position
from alina.tools.indicators import Bars, ema, ema_windows, rsi, rsi_windows

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
MARKET = Market(
    symbol="BTC/USDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    min_quantity=Decimal("0.00001"),
    max_quantity=None,
    min_notional=Decimal(5),
    maker_fee=Decimal("0.001"),
    taker_fee=Decimal("0.001"),
)
HELD = Position(
    id=UUID(int=1),
    account="main",
    symbol="BTC/USDT",
    quantity=Decimal(1),
    bought_quantity=Decimal(1),
    sold_quantity=Decimal(0),
    cost=Decimal(100),
    proceeds=Decimal(0),
    opened_at=START,
)


def walk(bars: int, seed: int = 7) -> list[Decimal]:
    """Closes of a random walk, some of them equal, with two decimals."""
    steps = np.random.default_rng(seed).integers(-60, 61, bars)
    return [Decimal(int(value)) / 100 for value in 10_000 + np.cumsum(np.where(abs(steps) < 20, 0, steps))]


def candles(closes: list[Decimal]) -> list[Candle]:
    return [
        Candle(
            symbol="BTC/USDT",
            timeframe="1h",
            open_time=START + n * HOUR,
            open=close,
            high=close,
            low=close,
            close=close,
            volume=Decimal(1),
        )
        for n, close in enumerate(closes)
    ]


def situation(seen: list[Candle], position: Position | None = None) -> Situation:
    price, now = seen[-1].close, seen[-1].close_time
    return Situation(
        view=MarketView(symbol="BTC/USDT", timeframe="1h", as_of=now, candles=tuple(seen)),
        market=MARKET,
        ticker=Ticker(symbol="BTC/USDT", bid=price, ask=price, last=price, as_of=now),
        position=position,
        free_quote=Decimal(10_000),
        figures={},
        facts=(),
    )


@pytest.mark.parametrize("window", [60, 75])
def test_averages_over_windows_are_those_of_each_window_alone(window: int) -> None:
    closes = np.array([float(close) for close in walk(300)])
    averages, strengths = ema_windows(closes, 26, window), rsi_windows(closes, 14, window)
    for end in (1, 2, window - 1, window, window + 1, 299, 300):
        seen = closes[max(end - window, 0) : end]
        assert averages[end - 1] == pytest.approx(ema(seen, 26)[-1], rel=1e-12)
        assert strengths[end - 1] == pytest.approx(rsi(seen, 14)[-1], rel=1e-10)
    short = closes[: window - 10]
    assert ema_windows(short, 26, window).tolist() == ema(short, 26).tolist()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_bar_at_which_the_gate_sees_something_is_left_out(seed: int) -> None:
    agent = RuleAgent(Settings(market={"history": 60}))  # type: ignore[arg-type]
    closes = walk(500, seed)
    array = np.array([float(close) for close in closes])
    candidates = agent.candidates(Bars(array, array, array, array))
    recorded = candles(closes)
    seen = [
        agent.gate(situation(recorded[max(n - 59, 0) : n + 1], position)) is not None
        for position in (None, HELD)
        for n in range(500)
    ]
    for gate, screened in ((seen[:500], candidates.flat), (seen[500:], candidates.holding)):
        assert sum(gate) >= 3
        assert not (np.array(gate) & ~screened).any()
        assert screened.sum() < 60


def test_it_buys_and_sells_by_itself_what_the_trading_agent_would() -> None:
    settings = Settings()
    agent = RuleAgent(settings)
    assert isinstance(agent, Answering)
    rising = candles([Decimal(100 - n) for n in range(60)] + [Decimal(100)])
    flat, held = situation(rising), situation(rising, HELD)
    bought = agent.wish(flat, agent.answer(flat))
    assert isinstance(bought, Wish)
    assert (bought.side, bought.quantity) == (OrderSide.BUY, Decimal(8))
    assert bought.stop_price == Decimal(97)
    sold = agent.wish(held, agent.answer(held))
    assert isinstance(sold, Wish)
    assert (sold.side, sold.quantity) == (OrderSide.SELL, Decimal(1))


def test_it_looks_for_the_crossing_that_its_position_can_follow() -> None:
    rising = candles([Decimal(100 - n) for n in range(60)] + [Decimal(200)])
    agent = RuleAgent(Settings(trading={"rule": {"rsi_max": 100}}))  # type: ignore[arg-type]
    assert RuleAgent(Settings()).gate(situation(rising)) is None  # the RSI is high
    assert agent.gate(situation(rising)) is not None
    assert agent.gate(situation(rising, HELD)) is None
    assert agent.gate(situation(rising[-30:])) is None
