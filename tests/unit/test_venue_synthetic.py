"""A market made from a seed is whole, lively and always the same."""

from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from alina.errors import ConfigError
from alina.venue.candles_csv import check
from alina.venue.feeds import load
from alina.venue.spec import Listing
from alina.venue.synthetic import synthetic_series


def test_a_seed_gives_the_same_market_on_every_machine() -> None:
    series = synthetic_series(7)
    assert series == synthetic_series(7)
    assert series.bars != synthetic_series(8).bars
    assert (series.bars[0].open, series.bars[0].volume) == (Decimal("40000.00"), Decimal("1.99594"))


def test_every_candle_can_be_true_and_gaps_lie_where_none_is() -> None:
    series = synthetic_series(3, "1h")
    check(Path("synthetic"), series.bars)
    steps = [(one.open_ms + series.interval_ms, two.open_ms) for one, two in pairwise(series.bars)]
    assert [step for step in steps if step[0] != step[1]] == [tuple(gap) for gap in series.gaps]
    assert series.gaps


def test_calm_and_storm_follow_one_another_and_prices_jump() -> None:
    bars = synthetic_series(5).bars
    moves = [abs(bar.close / bar.open - 1) for bar in bars]
    windows = sorted(sum(moves[at : at + 50]) / 50 for at in range(0, len(moves) - 50, 50))
    assert windows[-5] > 3 * windows[5]
    assert sum(move > Decimal("0.012") for move in moves) > 5


@pytest.mark.parametrize("data", ["synthetic:", "synthetic:x", "synthetic:7:7m", "synthetic:-1"])
def test_a_word_that_names_no_seed_or_timeframe_is_refused(data: str) -> None:
    with pytest.raises(ConfigError, match="synthetic:SEED"):
        load(Listing("BTC/USDT", data), warmup=1)
