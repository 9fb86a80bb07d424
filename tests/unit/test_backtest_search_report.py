"""The page of a search: over-fitting is to be seen on it, and nothing of it comes from outside."""

import json
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from alina.backtest.equity import Series
from alina.backtest.search import Parameters, Search, Window, parse, search
from alina.backtest.search_report import SearchReport, figures, verdict, write
from alina.backtest.statistics import deflated_sharpe, probabilistic_sharpe

#: a bar a millisecond
WHOLE = Window(0, 900)


def noise(parameters: Parameters, window: Window) -> Series:
    """Without any edge, as different as the parameters are."""
    seed = crc32(str(sorted(parameters.items())).encode())
    whole: Series = np.random.default_rng(seed).normal(0, 0.01, WHOLE.end_ms)
    return whole[window.start_ms : window.end_ms]


@pytest.fixture(scope="module")
def found() -> Search:
    return search(noise, (parse("trading.rule.ema_fast=2:31:1"),), WHOLE, folds=3, trials=10)


def report_of(found: Search, agent: str = "rule") -> SearchReport:
    return SearchReport(agent=agent, symbols=("BTC/USDT",), timeframe="1h", bars_a_year=8766, found=found)


def test_the_page_shows_what_was_searched_beside_what_was_not_and_how_far_luck_reaches(
    found: Search, tmp_path: Path
) -> None:
    page = write(report_of(found), tmp_path / "new")
    text = page.read_text()
    told = json.loads((tmp_path / "new" / "search.json").read_text())
    assert text.count("data:image/svg+xml;base64,") == 3
    assert "http://" not in text
    assert "https://" not in text
    assert verdict(report_of(found)) in text
    assert "does not hold" in verdict(report_of(found))
    assert told["holds"] is False
    assert told["in_sample"] > told["out_of_sample"]
    assert [fold["deflated"] for fold in told["folds"]] == [fold.fit.deflated for fold in found.folds]
    assert {one.name for one in (tmp_path / "new").iterdir()} == {"search.html", "search.json"}


def test_the_same_search_gives_the_same_page(found: Search, tmp_path: Path) -> None:
    first, again = (write(report_of(found), tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == again


def test_an_agent_of_any_name_runs_nothing_on_the_page(found: Search, tmp_path: Path) -> None:
    page = write(report_of(found, "<script>alert(1)</script>"), tmp_path).read_text()
    assert "<script>" not in page


def test_luck_is_what_the_deflated_ratio_is_held_against(found: Search) -> None:
    whole = found.whole
    assert deflated_sharpe(whole.returns, whole.trials) == probabilistic_sharpe(
        whole.returns, above=whole.luck
    )
    assert figures(report_of(found))["luck"] == pytest.approx(whole.luck * 8766**0.5, abs=0.005)
