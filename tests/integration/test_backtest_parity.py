"""The rule agent trades alike here and in a published engine, on candles that fill every order at once.

The other engine is given the rule, the candles and the fee; entries and exits, sizes, prices, fees and
results it finds by itself. Fees are paid in quote here as there (`fee_asset` is the quote), the spread is
none, and what is decided at a close is filled at the next open.

One difference is left, and it is a figure: an exchange's ask lies a tick above its bid, and the other engine
knows no bid. So a purchase of `quantity` costs `quantity` * TICK more here, and the fee on that.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

import pandas as pd
import pytest
from backtesting import Backtest, Strategy

from alina.backtest import loop
from alina.backtest.equity import Outcome
from alina.backtest.runtime import make_world
from alina.config import Settings
from alina.domain.orders import Fill, OrderSide
from alina.domain.portfolio import CloseReason, Position
from alina.domain.records import ms_from_utc
from alina.market_data.bars import Bar, BarColumns
from alina.venue.candles_csv import Series

HOUR, BARS, CASH = 3_600_000, 260, 10_000
FIRST = 1_767_225_600_000
#: the other engine counts whole units: a unit there is a lot here
LOT = Decimal("0.00001")
TICK, FEE = Decimal("0.01"), Decimal("0.001")
#: of the free quote, as the settings below have it
PART = 0.2 * 0.4
HISTORY, STOP, TARGET = 100, Decimal("0.006"), Decimal("0.008")
#: fees are cut to eight decimals, each
CUT = Decimal("2e-8")


@dataclass(frozen=True)
class Trade:
    """Bars are candles at whose open, or within which, it was filled; money in quote."""

    bought_at: int
    price: Decimal
    sold_at: int
    sold_for: Decimal
    quantity: Decimal
    fees: Decimal
    pnl: Decimal


#: how it is closed: bars, prices, quantity, fees of both sides, result after them. The first row by hand:
#: 10,000 * 0.2 * 0.4 is 800, of which 995.01 buys 0.80401; 0.80401 * (995.01 + 981.00) * 0.001 is
#: 1.58873180; 0.80401 * (981.00 - 995.01) less that is -12.85291190
TABLE = {
    CloseReason.AGENT: """
        121  995.01  137  981.00  0.80401  1.58873180  -12.85291190
        153  995.01  169  981.00  0.80297  1.58667674  -12.83628644
        185  995.01  201  981.00  0.80194  1.58464145  -12.81982085
        217  995.01  233  981.00  0.80091  1.58260616  -12.80335526""",
    CloseReason.STOP_LOSS: """
        121  995.01  130  989.03  0.80401  1.59518800  -6.40316780
        153  995.01  162  989.03  0.80349  1.59415629  -6.39902649
        185  995.01  194  989.03  0.80298  1.59314442  -6.39496482
        217  995.01  226  989.03  0.80246  1.59211273  -6.39082353
        249  995.01  258  989.03  0.80195  1.59110086  -6.38676186""",
    CloseReason.TAKE_PROFIT: """
        121  995.01  126  1002.98  0.80401  1.60640393  4.80155577
        153  995.01  158  1002.98  0.80439  1.60716317  4.80382513
        185  995.01  190  1002.98  0.80478  1.60794238  4.80615422
        217  995.01  222  1002.98  0.80517  1.60872160  4.80848330
        249  995.01  254  1002.98  0.80555  1.60948083  4.81075267""",
}
#: what either engine is told of it
EXITS: dict[CloseReason, tuple[dict[str, str], dict[str, Decimal]]] = {
    CloseReason.AGENT: ({}, {}),
    CloseReason.STOP_LOSS: ({"stop_loss": str(STOP)}, {"stop": STOP}),
    CloseReason.TAKE_PROFIT: ({"take_profit": str(TARGET)}, {"target": TARGET}),
}


def rows(reason: CloseReason) -> list[Trade]:
    figures = [[Decimal(figure) for figure in row.split()] for row in TABLE[reason].strip().splitlines()]
    return [Trade(int(bought), price, int(sold), *rest) for bought, price, sold, *rest in figures]


def settings(**trading: Any) -> Settings:
    venue = {
        "balances": {"USDT": str(CASH)},
        "spread": "0",
        "taker_fee": str(FEE),
        "fee_asset": "USDT",
        "fee_asset_prices": {"USDT": "1"},
    }
    return Settings(
        market={"venue": venue, "history": HISTORY},  # type: ignore[arg-type]  # plain values, as in config.yaml
        risk={"min_depth": None, "cooldown": "1m", "max_losses_in_a_row": None},  # type: ignore[arg-type]
        trading={"take_profit": None, "max_holding": None, "stop_loss": "0.1", **trading},  # type: ignore[arg-type]
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
    """The rule in the other engine's words. `stop`, `target`: fractions of the price; None: none."""

    stop: Decimal | None = None
    target: Decimal | None = None

    def init(self) -> None:
        self.fast, self.slow = self.I(_average, self.data.Close, 12), self.I(_average, self.data.Close, 26)
        self.strength = self.I(_strength, self.data.Close)

    def next(self) -> None:
        if len(self.data) < HISTORY:
            return
        is_above, was_above = self.fast[-1] > self.slow[-1], self.fast[-2] > self.slow[-2]
        if is_above and not was_above and not self.position and self.strength[-1] < 70:
            ask = _in_quote(self.data.Close[-1]) + TICK
            dearer = sum(trade.size for trade in self.closed_trades) * float(LOT * TICK * (1 + FEE))
            self.buy(
                size=int((self.equity - dearer) * PART / float(ask * LOT)),
                sl=None if self.stop is None else _a_lot(ask * (1 - self.stop), ROUND_FLOOR),
                tp=None if self.target is None else _a_lot(ask * (1 + self.target), ROUND_CEILING),
            )
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


def _in_quote(price_of_a_lot: float) -> Decimal:
    return round(Decimal(price_of_a_lot) / LOT, 2)


def _a_lot(price: Decimal, rounding: str) -> float:
    """On the tick grid, as the exchange's prices are: a stop down, a target up."""
    return float(price.quantize(TICK, rounding) * LOT)


def published(series: Series, **rule: Decimal) -> list[Trade]:
    """Its trades, a tick dearer each purchase: what is compared is all else."""
    columns = ["Open", "High", "Low", "Close", "Volume"]
    frame = pd.DataFrame([[float(value * LOT) for value in bar[1:]] for bar in series.bars], columns=columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its index is no dates, and what is open at the end
        found = Backtest(frame, Crossing, cash=CASH, commission=float(FEE)).run(**rule)["_trades"]
    return [_with_the_tick(one) for one in found.itertuples()]


def _with_the_tick(one: Any) -> Trade:
    quantity = int(one.Size) * LOT
    dearer = quantity * TICK
    fees, pnl = (round(Decimal(value), 9) for value in (one.Commission, one.PnL))
    return Trade(
        int(one.EntryBar),
        _in_quote(one.EntryPrice) + TICK,
        int(one.ExitBar),
        _in_quote(one.ExitPrice),
        quantity,
        fees + dearer * FEE,
        pnl - dearer * (1 + FEE),
    )


def own(outcome: Outcome) -> list[Trade]:
    buys = [fill for fill in outcome.fills if fill.side is OrderSide.BUY]
    sales = [fill for fill in outcome.fills if fill.side is OrderSide.SELL]
    return [_own(*parts) for parts in zip(outcome.trades, buys, sales, strict=False)]


def _own(trade: Position, bought: Fill, sold: Fill) -> Trade:
    assert bought.quantity == sold.quantity == trade.bought_quantity
    bars = [(ms_from_utc(fill.executed_at) - FIRST) // HOUR for fill in (bought, sold)]
    fees = bought.fee + sold.fee
    return Trade(bars[0], bought.price, bars[1], sold.price, trade.bought_quantity, fees, trade.realised_pnl)


@pytest.mark.parametrize("reason", TABLE)
def test_the_rule_agents_trades_are_those_of_a_published_engine(reason: CloseReason) -> None:
    trading, rule = EXITS[reason]
    outcome = loop.run(make_world(settings(**trading), {"T/USDT": candles()}, agent="rule"))
    theirs = published(candles(), **rule)
    assert own(outcome) == rows(reason)
    assert {trade.close_reason for trade in outcome.trades} == {reason}
    assert [_shape(trade) for trade in theirs] == [_shape(trade) for trade in rows(reason)]
    for here, there in zip(rows(reason), theirs, strict=True):
        assert abs(here.fees - there.fees) < CUT
        assert abs(here.pnl - there.pnl) < CUT


def _shape(trade: Trade) -> tuple[int, Decimal, int, Decimal, Decimal]:
    """What is equal to the last digit."""
    return trade.bought_at, trade.price, trade.sold_at, trade.sold_for, trade.quantity
