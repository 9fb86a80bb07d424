"""How sure the figures are: intervals from resampled blocks, and Sharpe ratios after many trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import e, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from alina.backtest.equity import Series
from alina.backtest.metrics import sharpe_a_bar

RESAMPLES = 2000
CONFIDENCE = 0.95
#: Euler and Mascheroni's constant
_GAMMA = 0.5772156649015329
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, and between which values it would lie with `confidence`."""

    estimate: float
    low: float
    high: float
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Circular blocks of consecutive bars: every row of `starts` is one resampled history.

    Whole blocks keep what follows on what, such as calm and wild days (Politis and Romano 1992).
    `starts` has shape (resamples, blocks) and `lengths` (blocks,); the lengths sum to the bars.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def sums(self, values: Series) -> Series:
        """The sum of `values` (bars,) over each resampled history, shape (resamples,)."""
        running = np.concatenate(([0.0], np.cumsum(np.concatenate((values, values)))))
        total: Series = (running[self.starts + self.lengths] - running[self.starts]).sum(axis=1)
        return total


def draw_blocks(bars: int, *, seed: int, resamples: int = RESAMPLES, length: int | None = None) -> Blocks:
    """Blocks for a history of `bars`; by default the cube root of it long, which errs least for a mean."""
    length = min(length or max(1, round(bars ** (1 / 3))), bars)
    whole, rest = divmod(bars, length)
    lengths = np.array([length] * whole + [rest] * bool(rest), dtype=np.int64)
    starts = np.random.default_rng(seed).integers(0, bars, size=(resamples, len(lengths)))
    return Blocks(starts, lengths)


def growth_interval(returns: Series, blocks: Blocks, *, over: Series | None = None) -> Interval:
    """The total return as a fraction; with `over`, how much more was gained than by those returns."""
    growth = np.log1p(returns) - (0 if over is None else np.log1p(over))
    return _interval(float(np.expm1(growth.sum())), np.expm1(blocks.sums(growth)))


def sharpe_interval(returns: Series, blocks: Blocks, *, bars_a_year: float) -> Interval | None:
    """The annualised Sharpe ratio; None where nothing moved."""
    estimate, bars = sharpe_a_bar(returns), len(returns)
    if estimate is None:
        return None
    mean = blocks.sums(returns) / bars
    variance = np.maximum(blocks.sums(returns**2) - bars * mean**2, 0) / (bars - 1)
    moved = variance > 0  # a history drawn from idle bars alone has no ratio
    ratios = mean[moved] / np.sqrt(variance[moved])
    return _interval(estimate * sqrt(bars_a_year), ratios * sqrt(bars_a_year))


def _interval(estimate: float, resampled: Series) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, (tail, 1 - tail))
    return Interval(estimate, float(low), float(high))


def probabilistic_sharpe(returns: Series, *, above: float = 0.0) -> float | None:
    """The probability that the true Sharpe ratio exceeds `above`, both a bar and not annualised.

    It counts the length, the skewness and the fat tails of the history (Bailey and Lopez de Prado 2012).
    None where nothing moved.
    """
    ratio = sharpe_a_bar(returns)
    if ratio is None:
        return None
    standard = (returns - returns.mean()) / returns.std()
    skewness, kurtosis = float(np.mean(standard**3)), float(np.mean(standard**4))
    # never below 0, as the kurtosis is never below 1 + skewness squared
    variance = 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2
    return _NORMAL.cdf((ratio - above) * sqrt((len(returns) - 1) / variance)) if variance > 0 else None


def expected_maximum(trials: int, deviation: float) -> float:
    """The highest Sharpe ratio that so many trials without any skill show on average.

    `deviation` is the standard deviation of the trials' ratios (Bailey and Lopez de Prado 2014, eq. 1).
    """
    if trials < 2:
        return 0.0
    common, rare = _NORMAL.inv_cdf(1 - 1 / trials), _NORMAL.inv_cdf(1 - 1 / (trials * e))
    return deviation * ((1 - _GAMMA) * common + _GAMMA * rare)


def deflated_sharpe(chosen: Series, trials: Sequence[float]) -> float | None:
    """The probability that the chosen trial's true Sharpe ratio exceeds 0, knowing what it was chosen from.

    `chosen` are its returns a bar, `trials` every distinct trial's ratio a bar, its own among them (Bailey
    and Lopez de Prado 2014).
    """
    return probabilistic_sharpe(chosen, above=reach_of_luck(trials, bars=len(chosen)))


def reach_of_luck(trials: Sequence[float], *, bars: int) -> float:
    """The highest Sharpe ratio a bar that so many trials over so many bars show without skill.

    Their spread says how far luck alone reaches. Trials with skill widen it too, so it counts at most as
    what chance gives to ratios without skill: 1 / sqrt(bars - 1).
    """
    if len(trials) < 2:
        return 0.0
    deviation = min(float(np.std(np.array(trials), ddof=1)), 1 / sqrt(bars - 1))
    return expected_maximum(len(trials), deviation)
