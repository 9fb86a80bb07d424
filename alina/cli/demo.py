"""`alina demo`: the whole system over a recorded market, watched until it has shown its work."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console

from alina import bootstrap
from alina.agents.trading import SYSTEM_PROMPT
from alina.cli import data_files
from alina.cli.demo_summary import Outcome, cycles, refusals, summarise
from alina.cli.live_view import Progressed, View, Watcher, make_view
from alina.config import Settings, load_settings, render_config
from alina.domain.market import timeframe_duration
from alina.domain.portfolio import TradingState
from alina.domain.runs import CompletionRequest, Message
from alina.errors import SystemStateError
from alina.llm import opening
from alina.orchestrator import reconciliation, winding_down
from alina.orchestrator.runtime import Runtime

CYCLES, TRADES, REFUSALS = 30, 3, 1
SECONDS = 180
SAMPLE = ("BTC/USDT=sample",)
#: candles already past when the replay begins
WARMUP = 250
#: wall seconds a candle lasts: as long as the model needs here, but short enough to see 30 of them
_FASTEST, _SLOWEST = 1.2, 5.0
#: wall seconds for the servers and the workers to come up
_START_WITHIN = 120
_POLL = 0.7


def run_demo(
    folder: Path,
    console: Console,
    *,
    data: Sequence[str] | None = None,
    model: str | None = None,
    seconds: int = SECONDS,
) -> Outcome:
    """Run the demo in a new folder below `folder`, show it on `console`, and return what it showed.

    Raises AlinaError for bad data or a missing model, and when the system does not come up.
    """
    overrides = _overrides(data or SAMPLE, model)
    home = (folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}").absolute()
    overrides["system"] = {"data_folder": str(home / "data")}
    settings = _configure(home, overrides)
    _say(console, f"Measuring the model, then starting Postgres, Redis, the venue and the workers in {home}")
    candle_seconds = min(max(2 * _answer_seconds(settings), _FASTEST), _SLOWEST) * len(
        settings.market.symbols
    )
    candle = timeframe_duration(settings.market.timeframe)
    overrides["market"]["venue"]["speed"] = str(int(candle.total_seconds() / candle_seconds))
    settings = _configure(home, overrides)
    _say(console, f"A candle of {settings.market.timeframe} takes {candle_seconds:.1f} s here.")
    with _system(settings.config_file, home / "up.log"):
        runtime = bootstrap.make_runtime(
            settings,
            database_url=bootstrap.connections(settings).database_url,
            send=lambda *_: None,
            keys=bootstrap.venue_keys(settings),
        )
        with make_view(console) as view:
            _watch(runtime, view, seconds)
        return summarise(runtime, home, _close_the_books(runtime))


def _overrides(data: Sequence[str], model: str | None) -> dict[str, Any]:
    """What differs from the defaults: a fast market, near exits, a model asked at every candle.

    The values make trades close and limits bite within minutes; they are no advice for real money.
    """
    chosen = data_files.listings(data)
    timeframe = data_files.timeframe_of(chosen, warmup=WARMUP)
    candle = timeframe_duration(timeframe)
    return {
        "execution": {"concurrency": 1},
        "market": {
            "symbols": [listing.symbol for listing in chosen],
            "timeframe": timeframe,
            "poll_interval": timedelta(milliseconds=500),
            "venue": {"data": [f"{one.symbol}={one.data}" for one in chosen], "warmup": WARMUP},
        },
        "trading": {
            "gate_always_ask": True,
            "confidence_min": 30,
            "stop_loss": "0.01",
            "take_profit": "0.008",
            "max_holding": 4 * candle,
            "proposal_ttl": 3 * candle,
            "trade_fraction_max": "0.25",
        },
        "risk": {
            "max_trade_amount": "1200",
            "max_price_age": candle,
            "cooldown": 3 * candle,
            "max_daily_volume": "100000",
            "max_stop_losses": None,  # with stops this near they are no sign of a fault
            "max_symbol_stop_losses": None,
            "max_losses_in_a_row": None,
        },
        # one thread: a second one gains little here, and loses much when the core is shared
        "models": {"threads": 1} | ({"default": _absolute(model)} if model else {}),
        "monitoring": {
            "reconcile_interval": timedelta(seconds=3),
            "sweep_interval": timedelta(seconds=5),
            "health_interval": timedelta(seconds=15),
        },
    }


def _absolute(model: str) -> str:
    """The model's source with its file made absolute: the demo's config.yaml stands elsewhere."""
    scheme, separator, file = model.partition(":")
    if scheme == "package":
        return model
    return f"{scheme}:{Path(file).absolute()}" if separator else str(Path(model).absolute())


def _configure(home: Path, overrides: dict[str, Any]) -> Settings:
    """Write config.yaml into `home` and read it back, as any other command will."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "config.yaml"
    config.write_text(render_config(overrides))
    return load_settings(config)


def _answer_seconds(settings: Settings) -> float:
    """Wall seconds of a typical answer of the model on this machine, now."""
    model = opening.make_model(settings)
    prompt = Message("user", "BTC/USDT, 1h candles: which figure decides, and why? " * 25)
    request = CompletionRequest(
        messages=(Message("system", SYSTEM_PROMPT), prompt),
        json_schema=None,
        max_tokens=60,
        temperature=settings.models.temperature,
        seed=1,
        deadline_seconds=Decimal(60),
    )
    began = time.monotonic()
    model.complete(request)
    return time.monotonic() - began


@contextmanager
def _system(config: Path, log: Path) -> Iterator[None]:
    """`alina up` as a process of its own, stopped at the end whatever happens."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            _alina(config, "up"),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the demo, which then stops the system in order
        )
        try:
            _wait_until_ready(process, config, log)
            yield
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def _wait_until_ready(process: "subprocess.Popen[bytes]", config: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemStateError(f"the system did not start:\n{log.read_text(errors='replace')[-2000:]}")
        if _status(config).get("ready"):
            return
        time.sleep(_POLL)
    raise SystemStateError(f"the system was not ready within {_START_WITHIN} s: see {log}")


def _status(config: Path) -> dict[str, Any]:
    """What `alina status --json` says; empty while it says nothing yet."""
    shown = subprocess.run(_alina(config, "status", "--json"), capture_output=True, check=False)
    try:
        answer = json.loads(shown.stdout)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _alina(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "alina.cli.main", "--config", str(config), *arguments]


def _watch(runtime: Runtime, view: View, seconds: int) -> None:
    """Show events until every goal is reached or the time is over."""
    watcher = Watcher(runtime)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for event in watcher.events():
            view.show(event)
        with runtime.unit_of_work() as uow:
            counts = uow.ledger.counts()
            curve = uow.ledger.equity_curve(runtime.account)
        goals = {
            "cycles": (cycles(counts), CYCLES),
            "closed trades": (counts["closed_trades"], TRADES),
            "denied or rejected": (refusals(counts), REFUSALS),
        }
        equity, left = curve[-1] if curve else None, deadline - time.monotonic()
        view.progress(Progressed(goals=goals, equity=equity, seconds_left=left))
        if all(done >= goal for done, goal in goals.values()):
            return
        time.sleep(_POLL)


def _close_the_books(runtime: Runtime) -> list[str]:
    """Halt, let what is in flight settle, and compare venue and ledger: orders, fills and balances."""
    with runtime.unit_of_work() as uow:
        uow.ledger.lock_account(runtime.account)
        uow.ledger.set_trading_state(
            runtime.account, TradingState.HALTED, reason="the demo has ended", at=runtime.clock.now()
        )
    winding_down.cancel_open_orders(runtime)  # the stops that wait
    deadline = time.monotonic() + runtime.settings.execution.settle_after.total_seconds() + 10
    while True:
        differences = reconciliation.reconcile(runtime)
        with runtime.unit_of_work() as uow:
            in_flight = [known.order.client_order_id for known in uow.ledger.unsettled_orders()]
        if not in_flight:
            return differences
        if time.monotonic() > deadline:
            return [*differences, *(f"order {name} did not settle" for name in in_flight)]
        time.sleep(_POLL)


def _say(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
