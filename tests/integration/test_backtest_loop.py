"""A run over history is the running system's own, and what it leaves out changes nothing."""

from pathlib import Path
from typing import Any

import pytest

from alina.backtest import loop
from alina.backtest.equity import Outcome
from alina.backtest.runtime import World, make_world
from alina.config import Settings
from alina.domain.portfolio import CloseReason
from alina.domain.records import ms_from_utc
from alina.errors import ConfigError, DataError
from alina.llm.scripted import ScriptedModel
from alina.orchestrator.comparison import compare_balances
from alina.venue.candles_csv import Series, load_series
from alina.venue.synthetic import synthetic_series

#: of the project's data; what is not there is not tested
CANDLES = Path(__file__).parents[3] / "shared" / "data" / "candles"
HELD_BY = {"USDT": "10000", "BTC": "10", "USD": "10000"}


def settings(**sections: Any) -> Settings:
    return Settings(**{"market": {"venue": {"balances": HELD_BY}}, "memory": {"recall_limit": 0}, **sections})


def world(series: dict[str, Series], *, agent: str = "rule", **sections: Any) -> World:
    return make_world(settings(**sections), series, agent=agent, model=lambda: SCRIPTED)


SCRIPTED = ScriptedModel(
    "scripted.jsonl",
    b'{"rationale": "The trend is up.", "action": "buy", "size_percent": 40, "confidence": 70, '
    b'"stop_percent": 1}\n{"rationale": "The move is over.", "action": "sell", "confidence": 70}\n',
    context_length=2048,
    threads=1,
)


def made(*seeds: int, timeframe: str = "1h", bars: int = 1500) -> dict[str, Series]:
    """Markets made from seeds."""
    series = {}
    for seed in seeds:
        whole = synthetic_series(seed, timeframe)
        kept = whole.bars[:bars]
        gaps = tuple(gap for gap in whole.gaps if gap.end_ms <= kept[-1].open_ms)
        series[f"C{seed}/USDT"] = Series(whole.name, whole.interval_ms, kept, gaps)
    return series


def files(pattern: str) -> list[Path]:
    return sorted(CANDLES.glob(pattern))


def both(series: dict[str, Series], **sections: Any) -> tuple[Outcome, Outcome]:
    """The same run from moment to moment, and over every bar."""
    return loop.run(world(series, **sections)), loop.run(world(series, **sections), every=True)


def same(one: Outcome, other: Outcome) -> bool:
    return (one.fills, one.positions) == (other.fills, other.positions)


@pytest.mark.parametrize(
    "trading",
    [
        {},
        {"stop_orders": "software", "stop_loss": "0.004", "take_profit": "0.006"},
        {"max_holding": "90m", "take_profit": None},
    ],
)
def test_what_is_left_out_changes_nothing_whatever_closes_a_position(trading: dict[str, Any]) -> None:
    sparse, dense = both(made(1, 2), trading=trading, risk={"cooldown": "1m"})
    assert same(sparse, dense)
    assert len(sparse.trades) > 5


@pytest.mark.skipif(not CANDLES.is_dir(), reason="no recorded candles are shared here")
@pytest.mark.parametrize("file", files("*.csv") or [CANDLES], ids=lambda file: file.stem)
def test_what_is_left_out_changes_nothing_on_recorded_candles(file: Path) -> None:
    symbol = file.stem.split("-")[1].replace("_", "/")
    whole = load_series(file, warmup=1)
    bars = whole.bars[-1500:]  # enough for every reason to close; the whole of it takes minutes
    part = Series(
        whole.name, whole.interval_ms, bars, tuple(g for g in whole.gaps if g.start_ms >= bars[0].open_ms)
    )
    limits = {"min_depth": None, "max_slippage": None, "max_trade_amount": "5000", "cooldown": "1m"}
    losses = {"max_daily_loss": None, "max_drawdown": None}  # a run that steps back hardly trades any more
    sparse, dense = both({symbol: part}, risk={**limits, **losses})
    assert same(sparse, dense)
    assert sparse.trades


def test_the_books_agree_with_the_exchange_to_the_last_digit() -> None:
    one = world(made(3, 4))
    outcome = loop.run(one)
    account = one.runtime.account
    assert outcome.fills
    opening = one.ledger.opening_balances(account)
    assert compare_balances(opening, one.exchange.balances(), outcome.fills) == []
    told = {asset: held.total for asset, held in one.ledger.balances(account).items()}
    assert told == {asset: held.total for asset, held in one.exchange.balances().items()}


def test_a_fill_is_never_at_a_price_from_the_bar_that_decided_it() -> None:
    series = made(5)
    one = world(series)
    outcome = loop.run(one)
    opens = {bar.open_ms: bar for bar in series["C5/USDT"].bars}
    assert outcome.positions
    for position in outcome.positions:
        proposal = one.ledger.position_proposal(position.id)
        first = next(fill for fill in outcome.fills if fill.executed_at == position.opened_at)
        assert first.executed_at >= proposal.as_of
        after = opens[ms_from_utc(proposal.as_of)]  # the bar that opens where the deciding one closes
        assert first.price >= after.open


def test_stops_targets_and_time_limits_close_positions() -> None:
    outcome = loop.run(world(made(1, 2, 3, 4), trading={"stop_loss": "0.004", "take_profit": "0.006"}))
    reasons = {trade.close_reason for trade in outcome.trades}
    assert {CloseReason.STOP_LOSS, CloseReason.TAKE_PROFIT} <= reasons


def test_the_model_is_asked_through_the_same_cycle() -> None:
    one = world(made(6, bars=400), agent="trading", trading={"gate_always_ask": True})
    outcome = loop.run(one)
    runs = one.ledger.runs(agent="trading", limit=1000)
    assert any(run.calls for run in runs)
    assert len(outcome.trades) > 3
    assert {trade.agent for trade in outcome.trades} == {"trading"}


def test_what_cannot_be_run_names_its_remedy() -> None:
    series = made(1)
    with pytest.raises(ConfigError, match="set it, or --cash"):
        make_world(Settings(market={"venue": {"balances": {"EUR": "1"}}}), series, agent="rule")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no installed agent"):
        world(series, agent="ghost")
    with pytest.raises(DataError, match="those of one timeframe"):
        world({**series, "C2/USDT": made(2, timeframe="5m")["C2/USDT"]})
    with pytest.raises(ConfigError, match="choose times within"):
        make_world(settings(), series, agent="rule", end_ms=1)
