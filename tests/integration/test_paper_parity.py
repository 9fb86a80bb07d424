"""Promise 3: the same agent on the same candles trades alike in a backtest and on paper, to the last digit.

On paper means here: a venue process and its HTTP door, the ccxt adapter, the ledger in Postgres, and the
polls, runs, executions and reconciliations of a running system. Only the passing of time is the test's: it
moves the market to every close, to every moment at which the backtest did something, and to others between.
"""

import csv
import json
import random
import re
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from system import KEYS, System, empty, served

from alina import bootstrap
from alina.backtest import loop
from alina.backtest.equity import Outcome
from alina.backtest.runtime import make_world
from alina.config import Settings
from alina.domain.portfolio import CloseReason, Position
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.orchestrator import execution, polling, reconciliation, stops
from alina.venue.candles_csv import HEADER, Series, load_series
from alina.venue.spec import Listing, VenueSpec
from alina.venue.synthetic import synthetic_series

SYMBOL = "BTC/USDT"
#: candles the agent sees, which are past when trading begins
HISTORY = 60
BALANCES = {"USDT": Decimal(10_000)}
EVERY_EXIT = {CloseReason.STOP_LOSS, CloseReason.TAKE_PROFIT, CloseReason.AGENT}
#: of the project's data; what is not there is not tested
RECORDED = Path(__file__).parents[3] / "shared" / "data" / "candles" / "binance-BTC_USDT-4h.csv"


def settings_of(home: Path, timeframe: str, **sections: dict[str, Any]) -> Settings:
    """A rule that trades often, with the limits of the kernel as they are."""
    chosen: dict[str, dict[str, Any]] = {
        "system": {"data_folder": home},
        "market": {
            "symbols": (SYMBOL,),
            "timeframe": timeframe,
            "history": HISTORY,
            "exchange": {"timeout": "2m", "options": {"options": {"recvWindow": 60_000}}},
            "venue": {"data": (f"{SYMBOL}=candles.csv",), "balances": BALANCES},
        },
        "trading": {
            "agents": ("rule",),
            "rule": {"ema_fast": 3, "ema_slow": 8, "rsi_period": 5, "rsi_max": 90},
            **sections.pop("trading", {}),
        },
        # both are measured on the wall clock, which stands still beside this market
        "risk": {
            "max_order_rate": None,
            "max_clock_drift": None,
            "max_equity_age": "8h",
            **sections.pop("risk", {}),
        },
        "monitoring": {"reconcile_interval": "4h"},
        # a busy machine may be slow, and a stop that is stuck is seen to at once: wall time says nothing here
        "execution": {"stop_patience": "1ms", "settle_after": "2m"},
        **sections,
    }
    return Settings(**chosen)  # type: ignore[arg-type]  # plain values, as config.yaml gives them


def cut(series: Series, first: int, count: int) -> Series:
    bars = series.bars[first : first + count]
    gaps = (gap for gap in series.gaps if bars[0].open_ms <= gap.start_ms < gap.end_ms <= bars[-1].open_ms)
    return Series(series.name, series.interval_ms, bars, tuple(gaps))


def write(series: Series, path: Path) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *series.bars])


@dataclass(frozen=True)
class Past:
    """A backtest, and when it did something, market ms."""

    outcome: Outcome
    moments: set[int]
    balances: dict[str, Decimal]
    start_ms: int
    end_ms: int


def backtested(settings: Settings, series: Series, monkeypatch: pytest.MonkeyPatch) -> Past:
    world = make_world(settings, {SYMBOL: series}, agent="rule")
    moments, advance = set(), world.exchange.advance

    def noted(until: datetime) -> Any:
        moments.add(ms_from_utc(until))
        return advance(until)

    monkeypatch.setattr(world.exchange, "advance", noted)
    outcome = loop.run(world)
    held = {asset: balance.total for asset, balance in world.exchange.balances().items()}
    return Past(outcome, moments, held, world.start_ms, world.end_ms)


class LedClock:
    """The venue's time as it told it last: nobody else moves it."""

    moment = utc_from_ms(0)

    def now(self) -> datetime:
        return self.moment

    def move(self, url: str, moment: int) -> None:
        """Move the venue's market on, and this clock with it."""
        body = json.dumps({"market": moment}).encode()
        with urllib.request.urlopen(f"{url}/venue/v1/clock", data=body, timeout=120) as answer:  # noqa: S310  # loopback
            self.moment = utc_from_ms(json.load(answer)["market"])


class Paper(System):
    """A running system without Celery, whose market this test moves."""

    def come_to(self, url: str, moment: int, *, reconciling: bool) -> None:
        """What beat has done by then."""
        clock = self.runtime.clock
        assert isinstance(clock, LedClock)
        clock.move(url, moment)
        assert ms_from_utc(clock.now()) == moment
        if reconciling:
            assert reconciliation.reconcile(self.runtime) == []
        else:
            execution.settle_all(self.runtime)
            stops.protect(self.runtime)
        self.deliver()
        polling.poll(self.runtime)
        self.deliver()

    def positions(self) -> list[Position]:
        with self.work() as uow:
            closed = uow.ledger.closed_trades(account=self.runtime.account, limit=1000)
            still = uow.ledger.open_positions(self.runtime.account)
        return sorted([*closed, *still], key=lambda one: one.opened_at)


@contextmanager
def paper(settings: Settings, database_url: str, candles: Path) -> Iterator[tuple[Paper, str]]:
    """A system over a venue of these candles, at their first moment after the history."""
    spec = VenueSpec(
        folder=settings.data_folder / "venue",
        listings=(Listing(SYMBOL, str(candles)),),
        speed=Decimal(0),
        warmup=HISTORY,
        balances=BALANCES,
        api_key=str(KEYS.api_key),
        secret=str(KEYS.secret),
        faults=True,
    )
    with served(spec) as url, closing(bootstrap.make_exchange(settings, KEYS)) as exchange:
        sent: list[tuple[Any, ...]] = []
        bootstrap.prepare_ledger(settings, database_url=database_url)
        runtime = bootstrap.make_runtime(
            settings,
            database_url=database_url,
            send=lambda *message: sent.append(message),
            exchange=exchange,
            clock=LedClock(),
        )
        yield Paper(runtime, SYMBOL, sent), url


def moments_of(tested: Past, interval_ms: int) -> list[int]:
    """Every close, where the backtest did something, and others: they must change nothing."""
    dice = random.Random(3)
    closes = range(tested.start_ms, tested.end_ms, interval_ms)
    between = {close + dice.randrange(1, interval_ms) for close in closes[::16]}
    return sorted(one for one in {*closes, *tested.moments, *between} if one < tested.end_ms)


def told(position: Position) -> dict[str, Any]:
    """All but the name that each ledger gave it."""
    return {**asdict(position), "id": None, "realised_pnl": position.realised_pnl}


def without_zeros(reason: str) -> str:
    """The database pads numbers."""
    return re.sub(r"(\.\d*?)0+\b", r"\1", reason)


def assert_alike(
    settings: Settings, series: Series, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> Outcome:
    empty(ledger_url)
    tested = backtested(settings, series, monkeypatch)
    every_ms = settings.monitoring.reconcile_interval // timedelta(milliseconds=1)
    candles = settings.data_folder / "candles.csv"
    write(series, candles)
    with paper(settings, ledger_url, candles) as (system, url):
        for moment in moments_of(tested, series.interval_ms):
            system.come_to(url, moment, reconciling=(moment - tested.start_ms) % every_ms == 0)
        with system.work() as uow:
            fills = uow.ledger.fills(system.runtime.account, SYMBOL)
            state = uow.ledger.account(system.runtime.account)
        positions, balances = system.positions(), system.exchange.balances()
    assert sorted(fills, key=lambda fill: int(fill.trade_id)) == list(tested.outcome.fills)
    assert [told(one) for one in positions] == [told(one) for one in tested.outcome.positions]
    assert {asset: balance.total for asset, balance in balances.items()} == tested.balances
    assert without_zeros(state.reason) == without_zeros(tested.outcome.stepped_back.partition(": ")[2])
    return tested.outcome


def test_on_paper_the_agent_trades_and_steps_back_as_in_the_backtest_on_synthetic_candles(
    tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With orders that are filled in parts, and losses that end it: the next entry is denied in both."""
    series = cut(synthetic_series(5, "1h"), 950, HISTORY + 90)
    trading = {"stop_loss": "0.004", "take_profit": "0.006"}
    risk = {"cooldown": "1m", "max_daily_loss": "8"}
    settings = settings_of(tmp_path, "1h", trading=trading, risk=risk)
    outcome = assert_alike(settings, series, ledger_url, monkeypatch)
    assert len(outcome.fills) > 2 * len(outcome.trades) >= 16
    assert {trade.close_reason for trade in outcome.trades} >= EVERY_EXIT
    assert outcome.stepped_back.startswith("2024-02-15 10:00: lost ")


@pytest.mark.skipif(not RECORDED.is_file(), reason="no recorded candles are shared here")
def test_on_paper_the_agent_trades_as_in_the_backtest_on_recorded_candles(
    tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = cut(load_series(RECORDED, warmup=1), 160, 170)
    settings = settings_of(tmp_path, "4h")
    trades = assert_alike(settings, series, ledger_url, monkeypatch).trades
    assert len(trades) >= 8
    assert {trade.close_reason for trade in trades} >= EVERY_EXIT
