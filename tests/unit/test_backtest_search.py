"""A search that finds what is there, and shows when it has only found noise."""

from decimal import Decimal
from zlib import crc32

import numpy as np
import pytest

from alina.backtest.equity import Series
from alina.backtest.search import Parameter, Parameters, Window, applied, parse, search, walk
from alina.config import Settings
from alina.errors import ConfigError

YEAR = Window(0, 1200)
SPACE = (parse("trading.rule.ema_fast=2:31:1"), parse("trading.rule.ema_slow=32:61:1"))


def noise(parameters: Parameters, window: Window, salt: int = 0) -> Series:
    """A bar a millisecond, without any edge, as different as the parameters are."""
    seed = crc32(f"{salt}{sorted(parameters.items())}".encode())
    whole: Series = np.random.default_rng(seed).normal(0, 0.01, YEAR.end_ms)
    return whole[window.start_ms : window.end_ms]


def test_the_tested_windows_follow_one_another_to_the_end_and_come_after_their_fit() -> None:
    folds = walk(100, 1000, 4)
    assert [fold.fit.end_ms for fold in folds] == [fold.test.start_ms for fold in folds]
    assert [fold.test.end_ms for fold in folds[:-1]] == [fold.test.start_ms for fold in folds[1:]]
    assert (folds[-1].test.end_ms, folds[0].fit.start_ms >= 100) == (1000, True)


def test_over_fitted_noise_shows() -> None:
    believed = []
    for salt in range(6):
        found = search(lambda p, w, salt=salt: noise(p, w, salt), SPACE, YEAR, trials=25)  # type: ignore[misc]
        assert found.in_sample > 0.04  # a bar: the search is proud of itself
        assert found.out_of_sample < 0.75 * found.in_sample
        believed.append(found.holds)
    assert not any(believed)


def test_an_edge_shows_in_the_windows_that_the_search_never_saw() -> None:
    def edge(parameters: Parameters, window: Window) -> Series:
        near = abs(int(parameters["trading.rule.ema_fast"]) - 12) <= 4
        return noise(parameters, window) + (0.003 if near else 0)

    found = search(edge, SPACE, YEAR, trials=25)
    assert found.holds
    assert abs(int(found.whole.parameters["trading.rule.ema_fast"]) - 12) <= 4
    assert found.out_of_sample > 0.15


def test_the_same_search_finds_the_same() -> None:
    first, again = (search(noise, SPACE, YEAR, folds=1, trials=8) for _ in range(2))
    assert first.whole.parameters == again.whole.parameters
    assert first.whole.trials == again.whole.trials


def test_a_fit_never_sees_the_window_it_is_tested_on() -> None:
    asked: list[Window] = []

    def watched(parameters: Parameters, window: Window) -> Series:
        asked.append(window)
        return noise(parameters, window)

    search(watched, SPACE, YEAR, folds=1, trials=5)
    (fold,) = walk(YEAR.start_ms, YEAR.end_ms, 1)
    assert asked.index(fold.test) == asked.count(fold.fit)  # only once its fit was through
    assert fold.fit.end_ms <= fold.test.start_ms


def test_values_that_contradict_one_another_are_no_trial() -> None:
    def choosy(parameters: Parameters, window: Window) -> Series:
        if int(parameters["trading.rule.ema_fast"]) > 16:
            raise ConfigError("ema_fast must be below ema_slow")
        return noise(parameters, window)

    found = search(choosy, SPACE, YEAR, folds=1, trials=15)
    assert len(found.whole.trials) < 15
    assert int(found.whole.parameters["trading.rule.ema_fast"]) <= 16


def test_where_no_trial_runs_the_reason_is_told() -> None:
    def never(parameters: Parameters, window: Window) -> Series:
        raise ConfigError("this cannot be")

    with pytest.raises(ConfigError, match="this cannot be"):
        search(never, SPACE, YEAR, folds=1, trials=3)


def test_the_same_values_count_as_one_trial() -> None:
    found = search(noise, (Parameter("trading.stop_loss", ("0.01", "0.02")),), YEAR, folds=1, trials=10)
    assert len(found.whole.trials) <= 2


def test_a_range_is_exact() -> None:
    assert parse("trading.stop_loss=0.01:0.03:0.01").values == ("0.01", "0.02", "0.03")
    assert parse("trading.stop_orders=exchange,software").values == ("exchange", "software")


@pytest.mark.parametrize("text", ["stop_loss", "a=1:2", "a=1:2:0", "a=2:1:1", "a=x:y:z", "=1:2:1"])
def test_a_range_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_values_take_their_places_all_at_once() -> None:
    chosen = {"trading.rule.ema_fast": "30", "trading.rule.ema_slow": "60", "trading.stop_loss": "0.015"}
    changed = applied(Settings(), chosen).trading
    assert (changed.rule.ema_fast, changed.rule.ema_slow) == (30, 60)
    assert changed.stop_loss == Decimal("0.015")


@pytest.mark.parametrize(
    "chosen",
    [
        {"trading.rule.ema_fast": "90", "trading.rule.ema_slow": "60"},
        {"trading.rule.ema_fats": "9"},
        {"nothing.here": "1"},
    ],
)
def test_values_that_no_setting_takes_are_refused(chosen: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        applied(Settings(), chosen)
