"""A backtest steps back after losses when a running system does: at a tick of reconciliation, for good."""

import random
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from alina.backtest import loop
from alina.backtest.path import Path
from alina.backtest.runtime import World, make_world
from alina.backtest.worth import WorthKeeper
from alina.config import Settings
from alina.domain.decisions import Proposal
from alina.domain.orders import OrderSide
from alina.domain.portfolio import TradingState
from alina.risk.limits import Limits, Snapshot
from alina.venue.candles_csv import Series
from alina.venue.replay import Replay
from alina.venue.synthetic import synthetic_series

#: the stop is out of the way: what is lost is lost by holding
SETTINGS = {
    "market": {"history": 60, "venue": {"balances": {"USDT": "10000"}}},
    "trading": {
        "rule": {"ema_fast": 3, "ema_slow": 8, "rsi_period": 5, "rsi_max": 90},
        "stop_loss": "0.10",
        "take_profit": None,
        "trade_fraction_max": "1",
    },
    "monitoring": {"reconcile_interval": "10m"},
}


#: what would keep it from losing enough
UNLIMITED = dict.fromkeys(
    (
        "max_losses_in_a_row",
        "max_exposure",
        "max_symbol_exposure",
        "max_daily_volume",
        "max_slippage",
        "max_order_rate",
    )
)


def series(seed: int, bars: int = 220) -> Series:
    whole = synthetic_series(seed, "1h")
    kept = whole.bars[:bars]
    gaps = tuple(gap for gap in whole.gaps if gap.end_ms <= kept[-1].open_ms)
    return Series(whole.name, whole.interval_ms, kept, gaps)


def world(risk: dict[str, str | None], *seeds: int) -> tuple[World, list[object]]:
    """A world of the rule agent, and what its kernel will have been told at every review."""
    limits = {"cooldown": "1m", "max_trade_amount": "4000", "max_equity_age": "20m", **UNLIMITED, **risk}
    settings = Settings(**SETTINGS, risk=limits)  # type: ignore[arg-type]  # plain values, as in config.yaml
    made = make_world(settings, {f"C{seed}/USDT": series(seed) for seed in seeds}, agent="rule")
    told: list[object] = []

    def notes(_proposal: Proposal, seen: Snapshot, _limits: Limits) -> None:
        known = seen.activity
        assert known is not None
        told.append(
            (seen.now, seen.trading_state, known.equity, known.equity_peak, known.equity_at_day_start)
        )

    return replace(made, runtime=replace(made.runtime, checks=(notes, *made.runtime.checks))), told


@pytest.mark.parametrize("seeds", [(4,), (2, 3)])
@pytest.mark.parametrize(
    "risk",
    [
        {"max_daily_loss": None, "max_drawdown": "0.006"},
        {"max_daily_loss": "25", "max_drawdown": "0.004"},
        {},
    ],
)
def test_the_ticks_that_are_left_out_change_nothing(
    risk: dict[str, str | None], seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    sparse, told = world(risk, *seeds)
    outcome = loop.run(sparse)

    def every_tick(keeper: WorthKeeper, until: int) -> int | None:
        return keeper._next if keeper._is_watching and keeper._next <= until else None

    monkeypatch.setattr(WorthKeeper, "next_loss", every_tick)
    dense, whole_told = world(risk, *seeds)
    whole = loop.run(dense)
    assert (outcome.fills, outcome.positions) == (whole.fills, whole.positions)
    assert outcome.stepped_back == whole.stepped_back
    assert told == whole_told
    assert bool(outcome.stepped_back) is bool(risk)
    assert "STALE_EQUITY" not in {one.reason for one in outcome.denied}
    assert len(outcome.trades) > 2


def test_after_losses_positions_only_shrink_and_no_day_makes_it_good() -> None:
    one, _ = world({"max_daily_loss": "25"}, 4)
    outcome = loop.run(one)
    assert outcome.stepped_back.startswith("2024-01-05 06:10: lost ")
    account = one.ledger.account(one.runtime.account)
    assert account.trading_state is TradingState.REDUCING
    last = max(fill.executed_at for fill in outcome.fills if fill.side is OrderSide.BUY)
    assert f"{last:%Y-%m-%d %H:%M}" < outcome.stepped_back[:16]
    assert one.ledger.open_positions(one.runtime.account) == []


def test_the_prices_of_many_moments_are_those_of_each() -> None:
    candles, dice = series(3), random.Random(5)
    replay, path = Replay(candles, Decimal("0.01")), Path(candles, Decimal("0.01"))
    first, last = candles.bars[0].open_ms, candles.end_ms + candles.interval_ms
    moments = sorted(dice.randrange(first, last) for _ in range(2000))
    moments += [bar.open_ms + candles.interval_ms * part // 3 for bar in candles.bars for part in range(4)]
    assert path.prices(np.array(moments)).tolist() == pytest.approx(
        [float(replay.price(moment)) for moment in moments], rel=1e-12
    )
    since, until = moments[300], moments[900]
    low, high = path.bounds(since, until)
    assert all(low <= replay.price(moment) <= high for moment in range(since, until, 60_000))
