"""A backtest of the rule agent: candles a second beside a published engine's, and memory for a million."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from backtesting import Backtest, Strategy
from rich.console import Console
from rich.table import Table

from alina.backtest import loop
from alina.backtest.runtime import make_world
from alina.config import Settings
from alina.log import configure_logging
from alina.venue.candles_csv import Series, load_series

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]
CANDLES = Path(__file__).parents[3] / "shared" / "data" / "candles"
#: as freqtrade was measured on these ten files
FREQTRADE, TARGET = 83_000, 830_000
MILLION, MEGABYTES = 1_000_000, 600
#: what one trade may be is set aside: prices in BTC are not those the limits are made for
LIMITS = {"min_depth": None, "max_slippage": None, "max_trade_amount": "5000", "cooldown": "1m"}


@pytest.fixture(scope="module")
def pairs() -> dict[str, Series]:
    files = sorted(CANDLES.glob("*-5m.csv"))
    if not files:
        pytest.skip("the ten 5-minute files are not here")
    configure_logging("ERROR", "console")
    return {file.stem.split("-")[1].replace("_", "/"): load_series(file, warmup=1) for file in files}


def settings() -> Settings:
    return Settings(market={"venue": {"balances": {"BTC": "10"}}}, risk=LIMITS)  # type: ignore[arg-type]


class Crossing(Strategy):
    """The rule agent's rule, in the other engine's words: its indicators are worked out once."""

    def init(self) -> None:
        self.fast, self.slow = (self.I(_ema, self.data.Close, period) for period in (12, 26))
        self.strength = self.I(_rsi, self.data.Close)

    def next(self) -> None:
        above, was_above = self.fast[-1] > self.slow[-1], self.fast[-2] > self.slow[-2]
        if above and not was_above and not self.position and self.strength[-1] < 70:
            self.buy(size=0.04)
        elif was_above and not above and self.position:
            self.position.close()


def _ema(values: Sequence[float], period: int) -> Any:
    return pd.Series(values).ewm(span=period, adjust=False).mean()


def _rsi(values: Sequence[float]) -> Any:
    change = pd.Series(values).diff()
    up, down = (
        part.ewm(alpha=1 / 14, adjust=False).mean() for part in (change.clip(lower=0), -change.clip(upper=0))
    )
    return 100 * up / (up + down)


def published(series: Series) -> int:
    """Its trades on one market."""
    columns = ["Open", "High", "Low", "Close", "Volume"]
    frame = pd.DataFrame([[float(value) for value in bar[1:]] for bar in series.bars], columns=columns)
    frame.index = pd.to_datetime([bar.open_ms for bar in series.bars], unit="ms")
    return len(Backtest(frame, Crossing, cash=10, commission=0.001).run()["_trades"])


def test_candles_a_second_of_the_rule_agent(pairs: dict[str, Series]) -> None:
    candles = sum(len(series.bars) for series in pairs.values())
    begin = time.perf_counter()
    world = make_world(settings(), pairs, agent="rule")
    built = time.perf_counter()
    outcome = loop.run(world)
    ran = time.perf_counter()
    for series in pairs.values():
        published(series)
    ended = time.perf_counter()
    table = Table("engine", "candles/s", title=f"{candles:,} candles, {len(outcome.trades)} trades")
    table.add_row("alina, the run", f"{candles / (ran - built):,.0f}")
    table.add_row("alina, with building the markets", f"{candles / (ran - begin):,.0f}")
    table.add_row("backtesting, its own loop", f"{candles / (ended - ran):,.0f}")
    table.add_row("freqtrade, a figure", f"{FREQTRADE:,}")
    table.add_row("target", f"{TARGET:,}")
    Console().print(table)
    assert outcome.trades


_ONE_MILLION = """
import resource, sys
from alina.backtest import loop
from alina.backtest.runtime import make_world
from alina.config import Settings
from alina.log import configure_logging
from alina.venue.candles_csv import Series
from alina.venue.synthetic import synthetic_series
configure_logging("ERROR", "console")
whole = synthetic_series(1, "1m")
while len(whole.bars) < int(sys.argv[1]):
    step = whole.end_ms - whole.bars[0].open_ms
    whole = Series(whole.name, whole.interval_ms,
                   whole.bars + tuple(bar._replace(open_ms=bar.open_ms + step) for bar in whole.bars), ())
series = Series(whole.name, whole.interval_ms, whole.bars[: int(sys.argv[1])], ())
del whole
settings = Settings(market={"venue": {"balances": {"USDT": "10000"}}})
outcome = loop.run(make_world(settings, {"C1/USDT": series}, agent="rule"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_for_a_million_candles() -> None:
    run = subprocess.run(
        [sys.executable, "-c", _ONE_MILLION, str(MILLION)],
        capture_output=True,
        text=True,
        timeout=800,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    megabytes = int(run.stdout.split()[-1])
    Console().print(f"{MILLION:,} candles: {megabytes} MB at most (target: below {MEGABYTES} MB)")
