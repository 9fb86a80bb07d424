"""The figures of a run. Ratios are per bar, annualised by the bars of a year; crypto trades every day.

A ratio that is not defined (no trade, no loss, no movement) is None, never zero or infinite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import numpy as np

from alina.backtest.equity import Curve, Outcome, Series, Times, bar_of, exact, simple_returns, worth
from alina.domain.market import timeframe_duration
from alina.domain.orders import Fill

_YEAR = timedelta(days=365.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """One run in figures. Money in quote; fractions of 1; ratios annualised."""

    start: datetime
    end: datetime
    bars: int
    opening_equity: Decimal
    final_equity: Decimal
    #: after fees, open positions at their last close
    pnl: Decimal
    fees: Decimal
    total_return: float
    annual_return: float | None
    volatility: float
    sharpe: float | None
    sortino: float | None
    #: annual return over the maximum drawdown
    calmar: float | None
    #: fraction of the highest equity before it
    max_drawdown: float
    #: the longest time below an earlier equity
    longest_drawdown: timedelta
    #: mean and largest part of the equity that was invested
    exposure: float
    max_exposure: float
    #: quote traded a year over the mean equity
    turnover: float
    #: closed ones
    trades: int
    open_positions: int
    win_rate: float | None
    #: quote won over quote lost
    profit_factor: float | None
    average_trade: Decimal | None
    best_trade: Decimal | None
    worst_trade: Decimal | None
    average_holding: timedelta | None


def bars_a_year(timeframe: str) -> float:
    """How many candles of this timeframe a year has."""
    return _YEAR / timeframe_duration(timeframe)


def measure(outcome: Outcome, curve: Curve) -> Metrics:
    """Every figure of a run."""
    yearly = bars_a_year(outcome.timeframe)
    opening, final = worth(outcome, at_end=False), worth(outcome, at_end=True)
    returns, depth = curve.returns, drawdowns(curve.equity, curve.opening)
    annual = annual_return(curve, yearly)
    pnls = [trade.realised_pnl for trade in outcome.trades]
    exposure = curve.invested / curve.equity
    return Metrics(
        start=outcome.start,
        end=outcome.end,
        bars=len(curve.times),
        opening_equity=opening,
        final_equity=final,
        pnl=final - opening,
        fees=sum((fee_in_quote(fill, outcome) for fill in outcome.fills), Decimal(0)),
        total_return=float(final / opening - 1),
        annual_return=annual,
        volatility=float(returns.std(ddof=1) * np.sqrt(yearly)) if len(returns) > 1 else 0.0,
        sharpe=sharpe(returns, yearly),
        sortino=sortino(returns, yearly),
        calmar=_ratio(annual, float(depth.max())),
        max_drawdown=float(depth.max()),
        longest_drawdown=longest_drawdown(curve.times, depth),
        exposure=float(exposure.mean()),
        max_exposure=float(exposure.max()),
        turnover=float(sum(fill.notional for fill in outcome.fills))
        / float(curve.equity.mean())
        * (yearly / len(curve.times)),
        trades=len(pnls),
        open_positions=len(outcome.positions) - len(pnls),
        win_rate=_ratio(sum(pnl > 0 for pnl in pnls), len(pnls)),
        profit_factor=profit_factor(pnls),
        average_trade=sum(pnls, Decimal(0)) / len(pnls) if pnls else None,
        best_trade=max(pnls, default=None),
        worst_trade=min(pnls, default=None),
        average_holding=_average_holding(outcome),
    )


def sharpe(returns: Series, bars_a_year: float) -> float | None:
    """Mean over standard deviation (one degree of freedom), annualised; no risk-free rate (Sharpe 1994)."""
    ratio = sharpe_a_bar(returns)
    return None if ratio is None else ratio * float(np.sqrt(bars_a_year))


def sharpe_a_bar(returns: Series) -> float | None:
    """The Sharpe ratio, not annualised."""
    return _ratio(float(returns.mean()), float(returns.std(ddof=1))) if len(returns) > 1 else None


def sortino(returns: Series, bars_a_year: float) -> float | None:
    """Mean over the root of the mean squared loss of all bars, annualised (Sortino and Price 1994)."""
    downside = float(np.sqrt(np.mean(np.minimum(returns, 0) ** 2)))
    ratio = _ratio(float(returns.mean()), downside)
    return None if ratio is None else ratio * float(np.sqrt(bars_a_year))


def annual_return(curve: Curve, bars_a_year: float) -> float | None:
    """The compound return of a year at this pace; None if that is beyond any number."""
    with np.errstate(over="ignore"):
        grown = (curve.equity[-1] / curve.opening) ** (bars_a_year / len(curve.equity)) - 1
    return float(grown) if np.isfinite(grown) else None


def drawdowns(equity: Series, opening: float) -> Series:
    """How far below the highest worth so far each bar is: a fraction from 0 to 1, shape (bars,)."""
    return 1 - equity / np.maximum.accumulate(np.maximum(equity, opening))


def longest_drawdown(times: Times, depth: Series) -> timedelta:
    """The longest time from a highest worth to a bar that is still below it."""
    highest = np.maximum.accumulate(np.where(depth <= 0, np.arange(len(depth)), 0))
    return timedelta(milliseconds=int((times - times[highest]).max()))


def monthly_returns(curve: Curve) -> Mapping[tuple[int, int], float]:
    """(year, month) -> the return of that calendar month, UTC; the first and the last may be partial."""
    # a close at midnight of the first ends the month before
    months = (curve.times - 1).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    last_bars = np.flatnonzero(np.diff(months, append=months[-1] + 1))
    returns = simple_returns(curve.equity[last_bars], curve.opening)
    return {
        (1970 + int(month) // 12, int(month) % 12 + 1): float(value)
        for month, value in zip(months[last_bars], returns, strict=True)
    }


def profit_factor(pnls: Sequence[Decimal]) -> float | None:
    """Quote won over quote lost; None without a loss."""
    won, lost = sum(pnl for pnl in pnls if pnl > 0), -sum(pnl for pnl in pnls if pnl < 0)
    return _ratio(float(won), float(lost))


def fee_in_quote(fill: Fill, outcome: Outcome) -> Decimal:
    """What a fill's fee was worth: one in base at the fill's own price, any other at the next close."""
    base, quote = fill.symbol.split("/")
    if fill.fee_asset == quote:
        return fill.fee
    if fill.fee_asset == base:
        return fill.fee * fill.price
    price = outcome.prices.price(fill.fee_asset, outcome.quote)
    return fill.fee * exact(price[bar_of(outcome.prices.times, fill.executed_at)])


def _average_holding(outcome: Outcome) -> timedelta | None:
    held = [trade.closed_at - trade.opened_at for trade in outcome.trades if trade.closed_at]
    return sum(held, timedelta()) / len(held) if held else None


def _ratio(over: float | None, under: float) -> float | None:
    return over / under if over is not None and under > 0 else None
