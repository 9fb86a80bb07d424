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
from alina.config import Settings, render_config
from alina.config.settings import Trading
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


def published(series: Series, cash: float = 10) -> int:
    """Its trades on one market, of which it buys whole units."""
    columns = zip(("Open", "High", "Low", "Close", "Volume"), series.bars.figures, strict=True)
    frame = pd.DataFrame({name: column.floats for name, column in columns})
    frame.index = pd.to_datetime(series.bars.open_ms, unit="ms")
    return len(Backtest(frame, Crossing, cash=cash, commission=0.001).run()["_trades"])


def timed_run(pairs: dict[str, Series], **trading: object) -> tuple[float, int, int]:
    """Seconds of the processor that one run takes, its cycles and its closed trades."""
    world = make_world(settings().model_copy(update={"trading": Trading(**trading)}), pairs, agent="rule")
    begin = time.process_time()
    trades = len(loop.run(world).trades)
    took = time.process_time() - begin
    return took, len(world.ledger.runs(limit=MILLION)), trades


def timed_command(tmp_path: Path) -> float:
    """Seconds of the whole command, from its start to its report."""
    command = [sys.executable, "-m", "alina.cli.main", "backtest", "--agent", "rule", "--cash", "10"]
    for file in CANDLES.glob("*-5m.csv"):
        command += ["--data", f"{file.stem.split('-')[1].replace('_', '/')}={file}"]
    (tmp_path / "config.yaml").write_text(render_config())
    begin = time.perf_counter()
    subprocess.run([*command, "--out", str(tmp_path)], check=True, capture_output=True, cwd=tmp_path)
    return time.perf_counter() - begin


def test_candles_a_second_of_the_rule_agent(pairs: dict[str, Series], tmp_path: Path) -> None:
    candles = sum(len(series.bars) for series in pairs.values())
    trading, cycles, trades = timed_run(pairs)
    idle, none, _ = timed_run(pairs, rule={"rsi_max": 1})  # no entry is ever weak enough
    assert trades
    assert not none
    begin = time.process_time()
    theirs = sum(published(series) for series in pairs.values())
    published_took = time.process_time() - begin
    whole = timed_command(tmp_path)
    table = Table("engine", "candles/s", "trades", title=f"{candles:,} candles of {len(pairs)} markets")
    table.add_row("alina, the run", f"{candles / trading:,.0f}", f"{trades}")
    table.add_row("alina, an agent that never trades", f"{candles / idle:,.0f}", "0")
    table.add_row("alina, the whole command with its report", f"{candles / whole:,.0f}", f"{trades}")
    table.add_row("backtesting, its own loop", f"{candles / published_took:,.0f}", f"{theirs}")
    table.add_row("freqtrade, a figure", f"{FREQTRADE:,}", "")
    table.add_row("target", f"{TARGET:,}", "")
    Console().print(table)
    Console().print(
        f"a bar that is decided: {(trading - idle) / cycles * 1e6:,.0f} us, proposal, review and order in it "
        f"({cycles:,} of them); a bar that is not: {idle / candles * 1e6:.2f} us"
    )


_TEN_MARKETS = """
import resource, sys
from alina.venue.synthetic import synthetic_series
markets = {f"C{seed}/USDT": synthetic_series(seed, "5m", candles=int(sys.argv[1])) for seed in range(10)}
"""
_OURS = """
from alina.backtest import loop
from alina.backtest.runtime import make_world
from alina.config import Settings
from alina.log import configure_logging
configure_logging("ERROR", "console")
settings = Settings(market={"venue": {"balances": {"USDT": "10000"}}})
world = make_world(settings, markets, agent="rule")
ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
trades = len(loop.run(world).trades)
print(ready, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, trades)
"""
_THEIRS = """
from test_bench_backtest import published
ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
trades = sum(published(series, cash=10_000_000) for series in markets.values())
print(ready, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, trades)
"""


def peak_megabytes(script: str) -> tuple[int, int, int]:
    """Of a process of its own: before its run begins, in all, and its trades."""
    run = subprocess.run(
        [sys.executable, "-c", _TEN_MARKETS + script, str(MILLION // 10)],
        capture_output=True,
        text=True,
        timeout=800,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(__file__).parent)},
    )
    ready, peak, trades = map(int, run.stdout.split()[-3:])
    return ready, peak, trades


def test_memory_for_a_million_candles() -> None:
    table = Table("engine", "MB when it begins", "MB at most", "trades", title=f"{MILLION:,} candles, MB")
    ours, theirs = peak_megabytes(_OURS), peak_megabytes(_THEIRS)
    table.add_row("alina", *map(str, ours))
    table.add_row("backtesting, market by market", *map(str, theirs))
    table.add_row("target", "", f"below {MEGABYTES}", "")
    Console().print(table)
    assert ours[1] < MEGABYTES
