"""What the backtest leaves out changes nothing, on every candle that is shared. Takes minutes: `make bench`.

`tests/integration/test_backtest_loop.py` holds the same on a part of each file.
"""

from pathlib import Path

import pytest

from alina.backtest import loop
from alina.backtest.equity import Outcome
from alina.backtest.runtime import make_world, quote_of
from alina.config import Settings
from alina.log import configure_logging
from alina.venue.candles_csv import load_series

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
CANDLES = Path(__file__).parents[3] / "shared" / "data" / "candles"
#: the markets of one source, quote and timeframe trade together, of one account
GROUPS = sorted({(file.name.split("_")[1], file.name.split("-")[0]) for file in CANDLES.glob("*.csv")})
#: nothing stops the trading of the whole range
LIMITS = {
    **dict.fromkeys(("min_depth", "max_slippage", "max_daily_loss", "max_drawdown")),
    "max_trade_amount": "5000",
    "cooldown": "1m",
}
CASH = {"USDT": "10000", "BTC": "10", "USD": "10000"}


def run(files: list[Path], *, every: bool) -> Outcome:
    series = {file.stem.split("-")[1].replace("_", "/"): load_series(file, warmup=1) for file in files}
    quote = quote_of(list(series))
    settings = Settings(
        market={"venue": {"balances": {quote: CASH[quote]}}},  # type: ignore[arg-type]
        risk=LIMITS,  # type: ignore[arg-type]
    )
    return loop.run(make_world(settings, series, agent="rule"), every=every)


@pytest.mark.skipif(not GROUPS, reason="no recorded candles are shared here")
@pytest.mark.parametrize(("market", "source"), GROUPS)
def test_what_is_left_out_changes_nothing_on_all_recorded_candles(market: str, source: str) -> None:
    configure_logging("ERROR", "console")
    files = sorted(CANDLES.glob(f"{source}-*_{market}"))
    sparse, dense = run(files, every=False), run(files, every=True)
    assert sparse.trades
    assert (sparse.fills, sparse.positions) == (dense.fills, dense.positions)
