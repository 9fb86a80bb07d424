"""What the same money would have done without the agent: held, or traded as often at random."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alina.backtest.equity import Curve, Outcome, Series, bar_of, simple_returns
from alina.backtest.metrics import bars_a_year, drawdowns, fee_in_quote, sharpe
from alina.backtest.statistics import (
    CONFIDENCE,
    Interval,
    draw_blocks,
    growth_interval,
    sharpe_interval,
)

AGENTS = 500
#: bars at which random agents are looked at
_POINTS = 400
_SEED = 7

Bars = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RandomAgents:
    """Agents that make the run's own trades, as large and as long, at random moments.

    `bars` (points,) says where they are looked at; `equity` has shape (agents, points), in quote.
    """

    bars: Bars
    equity: Series

    @property
    def median(self) -> Series:
        middle: Series = np.median(self.equity, axis=0)
        return middle

    def band(self) -> tuple[Series, Series]:
        """Between which values CONFIDENCE of them lie at every point."""
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(self.equity, (tail, 1 - tail), axis=0)
        return low, high

    def luck(self, final_equity: float) -> float:
        """How probable it is that a random agent ends as high: small means that luck does not explain it."""
        as_high = int(np.count_nonzero(self.equity[:, -1] >= final_equity))
        return (1 + as_high) / (1 + len(self.equity))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """A run beside holding the market and beside random agents; intervals at CONFIDENCE."""

    total_return: Interval
    sharpe: Interval | None
    #: gained beyond holding, as a fraction of what holding ended at
    over_holding: Interval
    #: gained beyond the average random agent, likewise; None without a trade
    over_random: Interval | None
    #: the probability that a random agent ends as high; None without a trade
    luck: float | None
    holding_return: float
    holding_sharpe: float | None
    holding_drawdown: float
    random_return: float | None


def compare(outcome: Outcome, curve: Curve, held: Series, random: RandomAgents | None) -> Comparison:
    """The run beside its benchmarks. The seed is fixed: the same run gives the same intervals."""
    yearly = bars_a_year(outcome.timeframe)
    returns, holding = curve.returns, simple_returns(held, curve.opening)
    blocks = draw_blocks(len(returns), seed=_SEED)
    return Comparison(
        total_return=growth_interval(returns, blocks),
        sharpe=sharpe_interval(returns, blocks, bars_a_year=yearly),
        over_holding=growth_interval(returns, blocks, over=holding),
        over_random=_over_random(curve, random) if random else None,
        luck=random.luck(float(curve.equity[-1])) if random else None,
        holding_return=float(held[-1] / curve.opening - 1),
        holding_sharpe=sharpe(holding, yearly),
        holding_drawdown=float(drawdowns(held, curve.opening).max()),
        random_return=float(random.median[-1] / curve.opening - 1) if random else None,
    )


def _over_random(curve: Curve, random: RandomAgents) -> Interval:
    """Between the points; totals do not depend on how finely the way to them is cut."""
    ours = simple_returns(curve.equity[random.bars], curve.opening)
    theirs = simple_returns(np.exp(np.log(random.equity).mean(axis=0)), curve.opening)
    return growth_interval(ours, draw_blocks(len(ours), seed=_SEED), over=theirs)


def buy_and_hold(outcome: Outcome, opening: float) -> Series:
    """The worth of `opening` put in equal parts into every symbol at the first close, shape (bars,)."""
    grown: Series = np.mean([close / close[0] for close in outcome.prices.closes.values()], axis=0)
    return opening * (1 - float(outcome.taker_fee)) * grown


def random_agents(outcome: Outcome, curve: Curve, *, agents: int = AGENTS) -> RandomAgents | None:
    """Random agents with the run's turnover, symbol by symbol; None where nothing was traded.

    Each makes every trade of the run once, with the same part of its equity, for as many bars and at the
    run's own rate of fees, in random order and with random pauses. They pay no spread, which favours them.
    """
    if not outcome.positions:
        return None
    bars = np.unique(np.linspace(0, len(curve.times) - 1, _POINTS).astype(np.int64))
    growth, generator = np.zeros((agents, len(bars))), np.random.default_rng(_SEED)
    fee = _fee_rate(outcome)
    for symbol, close in outcome.prices.closes.items():
        trades = _trades_in(symbol, outcome, curve)
        if len(trades.lengths):
            growth += _growth(trades.shuffled(generator, agents, len(close)), close, bars, fee)
    return RandomAgents(bars, curve.opening * np.exp(growth))


@dataclass(frozen=True, slots=True, eq=False)
class _Trades:
    """Trades of one symbol that do not overlap, by bar; shape (trades,), or (agents, trades)."""

    entries: Bars
    lengths: Bars
    #: part of the equity at entry
    sizes: Series

    def shuffled(self, generator: np.random.Generator, agents: int, bars: int) -> "_Trades":
        """The same trades for every agent in random order, the free bars spread between them at random."""
        shape = (agents, len(self.lengths))
        order = np.argsort(generator.random(shape), axis=1)
        lengths, free = self.lengths[order], bars - 1 - int(self.lengths.sum())
        pauses = np.sort(generator.integers(0, free + 1, size=shape), axis=1)
        return _Trades(pauses + np.cumsum(lengths, axis=1) - lengths, lengths, self.sizes[order])

    def chosen(self, numbers: Bars) -> "_Trades":
        """Of every agent the trades with these numbers, shape (agents, n)."""
        rows = np.arange(len(numbers))[:, None]
        return _Trades(self.entries[rows, numbers], self.lengths[rows, numbers], self.sizes[rows, numbers])


def _trades_in(symbol: str, outcome: Outcome, curve: Curve) -> _Trades:
    chosen = [position for position in outcome.positions if position.symbol == symbol]
    entries = np.array([bar_of(curve.times, one.opened_at) for one in chosen], dtype=np.int64)
    exits = [bar_of(curve.times, one.closed_at or outcome.end) for one in chosen]
    paid = np.array([float(one.cost) for one in chosen])
    sizes = np.minimum(paid / curve.equity[entries], 1) if chosen else paid
    return _Trades(entries, np.array(exits, dtype=np.int64) - entries, sizes)


def _fee_rate(outcome: Outcome) -> float:
    traded = sum(fill.notional for fill in outcome.fills)
    return float(sum(fee_in_quote(fill, outcome) for fill in outcome.fills) / traded)


def _growth(trades: _Trades, close: Series, bars: Bars, fee: float) -> Series:
    """What one symbol's trades add to the logarithm of the equity, shape (agents, points)."""
    agents, count = trades.entries.shape
    whole = _gain(trades, close, trades.entries + trades.lengths, fee)
    before = np.concatenate((np.zeros((agents, 1)), np.cumsum(whole, axis=1)), axis=1)
    # one search for all agents: each one's bars are moved behind those of the agent before it
    offset = np.arange(agents)[:, None] * len(close)
    begun = np.searchsorted((trades.entries + offset).ravel(), (bars + offset).ravel(), side="right")
    newest = begun.reshape(agents, -1) - np.arange(agents)[:, None] * count - 1
    chosen = np.maximum(newest, 0)
    current = trades.chosen(chosen)
    running = _gain(current, close, np.minimum(bars, current.entries + current.lengths), fee)
    return np.where(newest < 0, 0, np.take_along_axis(before, chosen, axis=1) + running)


def _gain(trades: _Trades, close: Series, at: Bars, fee: float) -> Series:
    """The growth of the equity by each trade up to bar `at`, as a logarithm; its exit's fee once it ended."""
    kept = np.where(at >= trades.entries + trades.lengths, 1 - fee, 1)
    # what `sizes` paid holds the fee of the entry
    result = kept * close[at] / close[np.minimum(trades.entries, at)] / (1 + fee) - 1
    return np.log1p(np.maximum(trades.sizes * result, -0.999999))
