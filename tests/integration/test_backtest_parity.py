"""The rule agent trades alike here and in a published engine, on candles that fill every order at once.

The other engine is told the sizes, for it counts whole units and has no lots; when it trades, and at which
prices, it finds by itself. An order is filled at the open of the next candle, a buy one tick above.
"""

import warnings
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pandas as pd
from backtesting import Backtest, Strategy

from alina.backtest import loop
from alina.backtest.runtime import make_world
from alina.config import Settings
from alina.domain.orders import OrderSide
from alina.domain.records import ms_from_utc
from alina.market_data.bars import Bar, BarColumns
from alina.venue.candles_csv import Series

HOUR, BARS, CASH = 3_600_000, 200, 10_000
FIRST = 1_767_225_600_000
LOT = Decimal("0.00001")
HISTORY = 100
#: between bid and ask, where the spread is none: a buy pays it, and the other engine knows none
TICK = Decimal("0.01")
#: side, candle at whose open it is filled, and price
TABLE = [
    ("buy", 121, Decimal("995.01")),
    ("sell", 137, Decimal("981.00")),
    ("buy", 153, Decimal("995.01")),
    ("sell", 169, Decimal("981.00")),
    ("buy", 185, Decimal("995.01")),
]
SETTINGS = Settings(
    market={"venue": {"balances": {"USDT": str(CASH)}, "spread": "0", "taker_fee": "0.001"}, "history": 100},  # type: ignore[arg-type]
    risk={"min_depth": None, "cooldown": "1m", "max_losses_in_a_row": None},  # type: ignore[arg-type]
    trading={"take_profit": None, "max_holding": None},  # type: ignore[arg-type]
)


def candles() -> Series:
    """Prices zigzag up and down, sixteen hours each; volume is ample."""
    bars, price = [], Decimal(1000)
    for number in range(BARS):
        step = Decimal((7, -4)[number % 2] * (1 if number // 16 % 2 else -1))
        close = price + step
        high, low = max(price, close) + 1, min(price, close) - 1
        bars.append(Bar(FIRST + number * HOUR, price, high, low, close, Decimal(1_000_000)))
        price = close
    return Series("table", HOUR, BarColumns.of(bars), ())


class Crossing(Strategy):
    """The rule in the other engine's words. `sizes`: of the entries, in lots."""

    sizes: Sequence[int] = ()

    def init(self) -> None:
        self.fast, self.slow = self.I(_average, self.data.Close, 12), self.I(_average, self.data.Close, 26)
        self.strength = self.I(_strength, self.data.Close)
        self.entries = iter(self.sizes)

    def next(self) -> None:
        if len(self.data) < HISTORY:
            return
        is_above, was_above = self.fast[-1] > self.slow[-1], self.fast[-2] > self.slow[-2]
        if is_above and not was_above and not self.position and self.strength[-1] < 70:
            self.buy(size=next(self.entries))
        elif was_above and not is_above and self.position:
            self.position.close()


def _average(values: Sequence[float], period: int) -> Any:
    return pd.Series(values).ewm(span=period, adjust=False).mean()


def _strength(values: Sequence[float]) -> Any:
    change = pd.Series(values).diff().fillna(0.0)
    up, down = (
        part.ewm(alpha=1 / 14, adjust=False).mean() for part in (change.clip(0), -change.clip(None, 0))
    )
    return 100 * up / (up + down)


def published(series: Series, sizes: Sequence[int]) -> list[tuple[int, Decimal, int, Decimal]]:
    """At which bar and price each of its trades began and ended."""
    columns = ["Open", "High", "Low", "Close", "Volume"]
    frame = pd.DataFrame([[float(value * LOT) for value in bar[1:]] for bar in series.bars], columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its index is no dates, and what is open at the end
        found = Backtest(frame, Crossing, cash=CASH, commission=0.001).run(sizes=sizes)["_trades"]
    return [
        (int(one.EntryBar), _in_quote(one.EntryPrice), int(one.ExitBar), _in_quote(one.ExitPrice))
        for one in found.itertuples()
    ]


def _in_quote(price_of_a_lot: float) -> Decimal:
    return round(Decimal(price_of_a_lot) / LOT, 2)


def test_the_rule_agents_trades_are_those_of_a_published_engine() -> None:
    series = candles()
    outcome = loop.run(make_world(SETTINGS, {"T/USDT": series}, agent="rule"))
    own = [
        (fill.side.value, (ms_from_utc(fill.executed_at) - FIRST) // HOUR, fill.price)
        for fill in outcome.fills
    ]
    assert own == TABLE
    sizes = [int(fill.quantity / LOT) for fill in outcome.fills if fill.side is OrderSide.BUY]
    flat = [
        side
        for entry, paid, exit_, got in published(series, sizes)
        for side in (("buy", entry, paid + TICK), ("sell", exit_, got))
    ]
    assert flat == TABLE[: len(flat)]
    assert len(flat) == 4
