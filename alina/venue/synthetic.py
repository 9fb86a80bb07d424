"""A market that never was, the same for a seed on every machine.

Regimes of their own drift and volatility follow one another; now and then the price jumps, and now and then
the market stands still for hours and comes back elsewhere.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from alina.market_data.bars import Bar, BarColumns
from alina.venue.candles_csv import INTERVALS, Series, gaps_in

#: 1 January 2024, 0:00 UTC
_BEGIN_MS = 1_704_067_200_000
_CANDLES = 20_000
#: steps of the price in a candle
_STEPS = 8
_FIRST_PRICE = 40_000.0
#: chances a candle
_JUMP, _OUTAGE = 1 / 600, 1 / 4000


@dataclass(frozen=True, slots=True)
class _Regime:
    """Fractions of the price a candle; `length`: candles, on average."""

    drift: float
    volatility: float
    length: int


_REGIMES = (
    _Regime(0.0, 0.0008, 600),
    _Regime(0.00012, 0.0015, 300),
    _Regime(-0.00012, 0.0018, 300),
    _Regime(0.0, 0.0040, 80),
)


def synthetic_series(seed: int, timeframe: str = "5m", *, candles: int = _CANDLES) -> Series:
    """Candles of `timeframe`, prices in hundredths. `timeframe` is one of `INTERVALS`."""
    interval = INTERVALS[timeframe]
    bars = BarColumns.of(islice(_market(random.Random(seed), interval), candles))  # noqa: S311  # repeatable
    return Series(f"synthetic:{seed}", interval, bars, gaps_in(bars, interval))


def _market(dice: random.Random, interval: int) -> Iterator[Bar]:
    """Candle by candle, for ever."""
    price, regime, open_ms = _FIRST_PRICE, _REGIMES[0], _BEGIN_MS
    while True:
        if dice.random() * regime.length < 1:
            regime = dice.choice(_REGIMES)
        if open_ms > _BEGIN_MS and dice.random() < _OUTAGE:
            open_ms += dice.randint(3, 48) * interval
            price *= 1 + 0.02 * _normal(dice)
        walked = _walk(price, regime, dice)
        yield _bar(open_ms, walked, dice)
        open_ms, price = open_ms + interval, walked[-1]


def _walk(price: float, regime: _Regime, dice: random.Random) -> list[float]:
    """The prices of one candle, in time."""
    jump_at = dice.randrange(_STEPS) if dice.random() < _JUMP else None
    walked = [price]
    for step in range(_STEPS):
        change = regime.drift / _STEPS + regime.volatility * _normal(dice) / _STEPS**0.5
        if step == jump_at:
            change += dice.choice((-1, 1)) * (0.01 + 0.04 * dice.random())
        walked.append(max(walked[-1] * (1 + change), 1.0))
    return walked


def _bar(open_ms: int, walked: list[float], dice: random.Random) -> Bar:
    ticks = [round(price * 100) for price in walked]
    busy = (max(ticks) - min(ticks)) / ticks[0] * 1000
    lots = round((1 + busy) * (0.5 + dice.random()) * 100_000)
    opened, high, low, close = (
        Decimal(one).scaleb(-2) for one in (ticks[0], max(ticks), min(ticks), ticks[-1])
    )
    return Bar(open_ms, opened, high, low, close, Decimal(lots).scaleb(-5))


def _normal(dice: random.Random) -> float:
    """Near a normal variate, of sums alone: logarithms differ from machine to machine in their last digit."""
    return (dice.random() + dice.random() + dice.random() - 1.5) * 2
