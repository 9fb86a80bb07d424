"""Indicators against tables worked out by hand, and blind to the future."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.domain.market import Candle, MarketView
from alina.errors import ConfigError
from alina.tools import indicators
from alina.tools.indicators import WARM_UP, IndicatorsTool, atr, ema, ema_ends, rsi, rsi_end, wilder
from alina.tools.registry import load_tools

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def series(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def test_ema_by_hand() -> None:
    # alpha 2 / (3 + 1) = 1/2
    assert ema(series(10, 12, 8, 8), 3).tolist() == [10, 11, 9.5, 8.75]


def test_wilder_by_hand() -> None:
    # alpha 1/4
    assert wilder(series(8, 16, 0, 4), 4).tolist() == [8, 10, 7.5, 6.625]


def test_rsi_by_hand() -> None:
    # changes 0, +2, -1, +1; up: 0, 1, 0.5, 0.75; down: 0, 0, 0.5, 0.25 (period 2)
    assert rsi(series(10, 12, 11, 12), 2).tolist() == [50, 100, 50, 75]


def test_rsi_at_its_ends_and_where_nothing_moves() -> None:
    assert rsi(series(*range(1, 40)))[-1] == 100
    assert rsi(series(*range(40, 1, -1)))[-1] == 0
    assert rsi(series(*[7] * 40))[-1] == 50


def test_atr_by_hand() -> None:
    # true ranges: 2; max(12, 9) - min(11, 9) = 3; max(9, 11.5) - min(8, 11.5) = 3.5 (period 2)
    high, low, close = series(10, 12, 9), series(8, 11, 8), series(9, 11.5, 8.5)
    assert atr(high, low, close, 2).tolist() == [2, 2.5, 3]


PRICES = st.lists(st.floats(1, 1000), min_size=2, max_size=80)


@given(PRICES)
def test_the_last_values_alone_are_those_of_the_whole_series(prices: list[float]) -> None:
    values = series(*prices)
    assert list(ema_ends(values, 12)) == ema(values, 12)[-2:].tolist()
    assert rsi_end(values) == rsi(values)[-1]


@given(PRICES, st.data())
def test_no_value_changes_when_the_future_does(prices: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(prices) - 1))
    poisoned = np.array(prices[:cut] + [1e9, float("nan")] * len(prices[cut:]))
    known = np.array(prices[:cut])
    for indicator in (lambda x: ema(x, 5), lambda x: wilder(x, 5), rsi, lambda x: atr(x * 1.1, x * 0.9, x)):
        with np.errstate(invalid="ignore"):
            assert np.array_equal(indicator(poisoned)[:cut], indicator(known))


@given(PRICES)
def test_rsi_stays_within_its_bounds_and_averages_within_the_prices(prices: list[float]) -> None:
    values = np.array(prices)
    assert ((rsi(values) >= 0) & (rsi(values) <= 100 + 1e-9)).all()
    for smooth in (ema(values, 9), wilder(values, 9)):
        assert (smooth >= values.min() - 1e-6).all()
        assert (smooth <= values.max() + 1e-6).all()


def view(closes: list[int], volume: int = 10) -> MarketView:
    candles = tuple(
        Candle(
            symbol="BTC/USDT",
            timeframe="1h",
            open_time=START + number * HOUR,
            open=Decimal(close),
            high=Decimal(close) + 1,
            low=Decimal(close) - 1,
            close=Decimal(close),
            volume=Decimal(volume),
        )
        for number, close in enumerate(closes)
    )
    return MarketView(symbol="BTC/USDT", timeframe="1h", as_of=START + len(closes) * HOUR, candles=candles)


def test_too_little_history_gives_no_figures() -> None:
    short = view([100] * (WARM_UP - 1))
    assert indicators.compute(short) is None
    assert IndicatorsTool().figures(short) == {}
    assert indicators.compute(view([100] * WARM_UP)) is not None


def test_the_newest_values_are_of_the_last_candle() -> None:
    values = indicators.compute(view([100] * WARM_UP + [110, 121]))
    assert values is not None
    assert values.close == 121
    assert values.change_1 == pytest.approx(0.1)
    assert values.change_24 == pytest.approx(0.21)
    assert (values.channel_high, values.channel_low) == (111, 99)  # of the candles before the newest
    assert values.volume_ratio == 1


def test_the_averages_cross_in_the_candle_that_turns_them() -> None:
    falling = [200 - number for number in range(WARM_UP)]
    crossings = [
        indicators.compute(view(falling + [falling[-1] + 8 * step for step in range(1, rise + 1)]))
        for rise in range(1, 12)
    ]
    assert [values.crossed for values in crossings if values].count(True) == 1


def test_a_market_without_volume_has_figures() -> None:
    values = indicators.compute(view([100] * WARM_UP, volume=0))
    assert values is not None
    assert values.volume_ratio == 1


def test_figures_are_short_text() -> None:
    figures = IndicatorsTool().figures(view([100 + number % 7 for number in range(WARM_UP)]))
    assert list(figures) == [
        "trend",
        "RSI",
        "ATR",
        "20-candle range",
        "change, last candle",
        "change, 24 candles",
        "volume",
    ]
    assert all(isinstance(text, str) and len(text) < 60 for text in figures.values())


def test_figures_see_nothing_but_the_view() -> None:
    long = view([100 + number % 7 for number in range(90)])
    cut = replace(long, candles=long.candles[:70], as_of=long.candles[69].close_time)
    poisoned = replace(
        long,
        candles=long.candles[:70] + tuple(replace(c, high=Decimal(10**6)) for c in long.candles[70:]),
    )
    until = replace(poisoned, candles=poisoned.candles[:70], as_of=cut.as_of)
    assert IndicatorsTool().figures(cut) == IndicatorsTool().figures(until)


def test_tools_are_loaded_by_name_in_order() -> None:
    (tool,) = load_tools({"indicators": {}})
    assert tool.name == "indicators"
    assert load_tools({}) == ()


def test_an_unknown_tool_or_setting_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="install its package"):
        load_tools({"astrology": {}})
    with pytest.raises(ConfigError, match="mend its settings"):
        load_tools({"indicators": {"period": 3}})
