"""Technical indicators over closed candles. Each value at index i uses candles 0..i only."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
from numpy.typing import NDArray

from alina.domain.market import CandleWindow, MarketView

Series = NDArray[np.float64]

FAST, SLOW, RSI_PERIOD, ATR_PERIOD, CHANNEL = 12, 26, 14, 14, 20
#: candles before every indicator below means something
WARM_UP = 2 * SLOW


def ema(values: Series, period: int) -> Series:
    """Exponential moving average with alpha 2 / (period + 1), started at the first value."""
    alpha = 2 / (period + 1)
    out = []
    level = float(values[0])
    for value in values.tolist():
        level += alpha * (value - level)
        out.append(level)
    return np.array(out)


def wilder(values: Series, period: int) -> Series:
    """Wilder's smoothing (1978): an average with alpha 1 / period, started at the first value."""
    out = []
    level = float(values[0])
    for value in values.tolist():
        level += (value - level) / period
        out.append(level)
    return np.array(out)


def rsi(close: Series, period: int = RSI_PERIOD) -> Series:
    """Relative strength index, 0 to 100 (Wilder 1978); 50 where nothing moved."""
    change = np.diff(close, prepend=close[0])
    up, down = wilder(np.maximum(change, 0), period), wilder(np.maximum(-change, 0), period)
    total = up + down
    return np.where(total > 0, 100 * up / np.where(total > 0, total, 1), 50.0)


def ema_ends(values: Series, period: int) -> tuple[float, float]:
    """The last two values of `ema`, to the last digit, older one first. Needs two values."""
    alpha = 2 / (period + 1)
    *older, newest = values.tolist()
    level = older[0]
    for value in older:
        level += alpha * (value - level)
    return level, level + alpha * (newest - level)


def rsi_end(close: Series, period: int = RSI_PERIOD) -> float:
    """The last value of `rsi`, to the last digit."""
    up = down = 0.0
    rows = close.tolist()
    for before, value in pairwise(rows):
        change = value - before
        if change > 0:
            up += (change - up) / period
            down -= down / period
        else:
            up -= up / period
            down -= (change + down) / period
    total = up + down
    return 100 * up / total if total > 0 else 50.0


def ema_windows(values: Series, period: int, window: int) -> Series:
    """The last value of `ema` over the newest `window` values at every index; shape of `values`.

    The same sums in another order, so the last digits may differ.
    """
    alpha = 2 / (period + 1)
    return _windows(values, alpha, window, first=ema(values[: window - 1], period))


def rsi_windows(close: Series, period: int, window: int) -> Series:
    """The last value of `rsi` over the newest `window` closes at every index; shape of `close`."""
    change = np.diff(close, prepend=close[:1])
    # a window's first change is none: it is left out of the sums, which start at it
    up, down = (
        _windows(moved, 1 / period, window, first=wilder(moved[: window - 1], period), is_from_zero=True)
        for moved in (np.maximum(change, 0), np.maximum(-change, 0))
    )
    total = up + down
    return np.where(total > 0, 100 * up / np.where(total > 0, total, 1), 50.0)


def _windows(
    values: Series, alpha: float, window: int, *, first: Series, is_from_zero: bool = False
) -> Series:
    """Exponential averages over windows; `first` are those before a window is full."""
    if len(values) < window:
        return first
    weights = alpha * (1 - alpha) ** np.arange(window)
    weights[-1] = 0.0 if is_from_zero else (1 - alpha) ** (window - 1)
    return np.concatenate((first, np.convolve(values, weights, mode="valid")))


def atr(high: Series, low: Series, close: Series, period: int = ATR_PERIOD) -> Series:
    """Average true range, in quote per base (Wilder 1978)."""
    before = np.concatenate(([close[0]], close[:-1]))
    true_range = np.maximum(high, before) - np.minimum(low, before)
    return wilder(true_range, period)


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Candles of a symbol as arrays of one length, oldest first, for what is looked at before the rest."""

    high: Series
    low: Series
    close: Series
    volume: Series


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """At the close of which bars an agent's gate may see something; two arrays of bool, shape (bars,)."""

    #: with nothing held
    flat: NDArray[np.bool_]
    #: with a position open
    holding: NDArray[np.bool_]


def column(view: MarketView, figure: str) -> Series:
    """The "high", "low", "close" or "volume" of the view's candles, shape (candles,)."""
    if isinstance(view.candles, CandleWindow):
        return np.asarray(cast(Series, view.candles.floats(figure)))
    return np.array([float(getattr(candle, figure)) for candle in view.candles])


@dataclass(frozen=True, slots=True)
class Indicators:
    """The newest values, and the crossing of the averages that the gate looks for."""

    close: float
    ema_fast: float
    ema_slow: float
    #: the averages changed order within the last candle
    crossed: bool
    rsi: float
    #: average true range as a fraction of the price
    atr_fraction: float
    #: highest high and lowest low of the CHANNEL candles before the newest
    channel_high: float
    channel_low: float
    #: change of the close over 1 and 24 candles, as fractions
    change_1: float
    change_24: float
    #: volume against its mean of 24 candles
    volume_ratio: float


def compute(view: MarketView) -> Indicators | None:
    """The indicators at `view.as_of`; None while fewer than WARM_UP candles are known."""
    if len(view.candles) < WARM_UP:
        return None
    high, low, close, volume = (column(view, figure) for figure in ("high", "low", "close", "volume"))
    fast, slow = ema(close, FAST), ema(close, SLOW)
    mean_volume = float(volume[-24:].mean())
    return Indicators(
        close=float(close[-1]),
        ema_fast=float(fast[-1]),
        ema_slow=float(slow[-1]),
        crossed=bool((fast[-1] > slow[-1]) != (fast[-2] > slow[-2])),
        rsi=float(rsi(close)[-1]),
        atr_fraction=float(atr(high, low, close)[-1] / close[-1]),
        channel_high=float(high[-CHANNEL - 1 : -1].max()),
        channel_low=float(low[-CHANNEL - 1 : -1].min()),
        change_1=float(close[-1] / close[-2] - 1),
        change_24=float(close[-1] / close[-25] - 1),
        volume_ratio=float(volume[-1] / mean_volume) if mean_volume > 0 else 1.0,
    )


class IndicatorsTool:
    """The built-in tool `indicators`: trend, momentum, range and volume in words a model can use."""

    name = "indicators"

    def figures(self, view: MarketView) -> Mapping[str, str]:
        """Label -> value as text; empty while there is too little history."""
        values = compute(view)
        if values is None:
            return {}
        trend = "up" if values.ema_fast > values.ema_slow else "down"
        return {
            "trend": f"{trend} (EMA{FAST} {values.ema_fast:.6g}, EMA{SLOW} {values.ema_slow:.6g})",
            "RSI": f"{values.rsi:.0f}",
            "ATR": f"{values.atr_fraction:.2%} of price",
            f"{CHANNEL}-candle range": f"{values.channel_low:.6g} to {values.channel_high:.6g}",
            "change, last candle": f"{values.change_1:+.2%}",
            "change, 24 candles": f"{values.change_24:+.2%}",
            "volume": f"{values.volume_ratio:.1f} times its mean",
        }
