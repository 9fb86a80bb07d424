"""Intervals that hold what they promise, and Sharpe ratios that know how often somebody tried."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.backtest.metrics import sharpe, sharpe_a_bar
from alina.backtest.statistics import (
    deflated_sharpe,
    draw_blocks,
    expected_maximum,
    growth_interval,
    probabilistic_sharpe,
    sharpe_interval,
)


@given(bars=st.integers(2, 300), length=st.integers(1, 40), seed=st.integers(0, 99))
def test_every_resampled_history_is_as_long_as_the_history(bars: int, length: int, seed: int) -> None:
    blocks = draw_blocks(bars, seed=seed, resamples=5, length=length)
    assert blocks.lengths.sum() == bars
    assert blocks.sums(np.ones(bars)).tolist() == [bars] * 5


def test_blocks_are_runs_of_consecutive_bars_around_the_end() -> None:
    values = np.array([1.0, 10, 100, 1000, 10_000])
    blocks = draw_blocks(5, seed=1, resamples=200, length=2)
    assert blocks.lengths.tolist() == [2, 2, 1]
    pairs = {int(total) for total in (blocks.sums(values) - values[blocks.starts[:, 2]])}
    runs = (11, 110, 1100, 11_000, 10_001)
    assert pairs <= {one + other for one in runs for other in runs}


def test_the_same_seed_gives_the_same_interval() -> None:
    returns = np.random.default_rng(3).normal(0.001, 0.01, 500)
    first, again = (growth_interval(returns, draw_blocks(500, seed=9)) for _ in range(2))
    assert first == again
    assert first.low < first.estimate < first.high


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered, histories, true_mean, bars = 0, 200, 0.0005, 250
    for seed in range(histories):
        returns = np.expm1(np.random.default_rng(seed).normal(true_mean, 0.01, bars))
        found = growth_interval(returns, draw_blocks(bars, seed=seed, resamples=400))
        covered += found.low <= np.expm1(true_mean * bars) <= found.high
    assert 0.88 <= covered / histories <= 0.99


def test_blocks_see_that_bars_which_hang_together_tell_less() -> None:
    noise = np.random.default_rng(5).normal(0, 0.01, 2000)
    trending = np.convolve(noise, np.ones(10) / 10, mode="same")
    by_block, by_bar = (
        growth_interval(trending, draw_blocks(2000, seed=2, length=length)) for length in (40, 1)
    )
    assert by_block.high - by_block.low > 2 * (by_bar.high - by_bar.low)


def test_the_sharpe_interval_holds_the_sharpe_ratio() -> None:
    returns = np.random.default_rng(8).normal(0.001, 0.01, 1000)
    found = sharpe_interval(returns, draw_blocks(1000, seed=4), bars_a_year=365)
    assert found is not None
    assert found.estimate == pytest.approx(sharpe(returns, 365))
    assert found.low < found.estimate < found.high
    # the standard error of a Sharpe ratio of iid bars (Lo 2002)
    error = np.sqrt((1 + (found.estimate**2 / 365) / 2) / 1000 * 365)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.2)


def test_a_history_without_movement_has_no_sharpe_interval() -> None:
    assert sharpe_interval(np.zeros(50), draw_blocks(50, seed=1), bars_a_year=365) is None
    assert probabilistic_sharpe(np.zeros(50)) is None


def test_the_gain_over_a_benchmark_is_measured_bar_by_bar() -> None:
    market = np.random.default_rng(6).normal(0, 0.02, 800)
    better = (1 + market) * 1.001 - 1
    found = growth_interval(better, draw_blocks(800, seed=1), over=market)
    assert found.estimate == pytest.approx(1.001**800 - 1)
    assert found.low == pytest.approx(found.high)  # the market's noise is in both


def test_the_probabilistic_sharpe_ratio_of_the_paper() -> None:
    # Bailey and Lopez de Prado 2014, the example of section 4.1, gives 0.9004: five years of days,
    # annual ratio 2.5, skewness -3, kurtosis 10, above 0.1132 a day
    ratio, bars, above = 2.5 / 250**0.5, 1250, 0.1132
    returns = with_moments(bars, mean=ratio, skewness=-3, kurtosis=10)
    assert sharpe_a_bar(returns) == pytest.approx(ratio, rel=1e-3)
    assert probabilistic_sharpe(returns, above=above) == pytest.approx(0.9004, abs=0.002)


def with_moments(bars: int, *, mean: float, skewness: float, kurtosis: float) -> np.ndarray:
    """Bars of standard deviation 1 with these moments: three values, weighted to fit (a 3-point law)."""
    root = np.sqrt(4 * kurtosis - 3 * skewness**2)
    low, high = (skewness - root) / 2, (skewness + root) / 2
    chance_low, chance_high = 1 / (low * (low - high)), 1 / (high * (high - low))
    counts = np.round(np.array([chance_low, chance_high]) * bars).astype(int)
    values = np.concatenate(
        (np.full(counts[0], low), np.full(counts[1], high), np.zeros(bars - counts.sum()))
    )
    return (values - values.mean()) / values.std(ddof=1) + mean


def test_the_highest_of_many_trials_without_skill() -> None:
    # the same example: 100 trials with a variance of 1/2 a year expect 0.1132 a day
    assert expected_maximum(100, (0.5 / 250) ** 0.5) == pytest.approx(0.1132, abs=0.0001)
    drawn = np.random.default_rng(1).normal(0, 0.3, (4000, 40)).max(axis=1).mean()
    assert expected_maximum(40, 0.3) == pytest.approx(drawn, rel=0.03)
    assert expected_maximum(1, 0.3) == 0


def test_the_best_of_many_noises_is_seen_through() -> None:
    believed = 0
    for seed in range(100):
        noises = np.random.default_rng(seed).normal(0, 0.01, (50, 400))
        ratios = [sharpe_a_bar(noise) or 0 for noise in noises]
        best = noises[int(np.argmax(ratios))]
        assert (probabilistic_sharpe(best) or 0) > 0.9  # alone it looks like skill
        believed += (deflated_sharpe(best, ratios) or 0) > 0.95
    assert believed <= 5


def test_an_edge_outlives_being_chosen_from_many() -> None:
    generator = np.random.default_rng(2)
    noises = generator.normal(0, 0.01, (49, 400))
    skilled = generator.normal(0.003, 0.01, 400)
    ratios = [sharpe_a_bar(each) or 0 for each in (*noises, skilled)]
    assert (deflated_sharpe(skilled, ratios) or 0) > 0.95
