"""`alina demo`: the whole system over a recorded market, watched until it has shown its work."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.table import Table

from alina import bootstrap
from alina.cli import equity_picture
from alina.cli.live_view import Event, Progressed, View, make_view
from alina.config import Settings, load_settings, render_config
from alina.config.units import duration_text
from alina.domain.portfolio import TradingState
from alina.domain.runs import Run, RunState
from alina.errors import SystemStateError
from alina.orchestrator import reconciliation
from alina.orchestrator.runtime import Runtime

CYCLES, TRADES, REFUSALS = 30, 3, 1
SECONDS = 180
#: market seconds a wall second: an hour candle every two seconds leaves a small model time to answer
SPEED = 1800
#: seconds for the servers and the workers to come up
START_WITHIN = 90
_POLL = 0.4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo showed; `summary` is JSON-ready."""

    summary: dict[str, Any]
    differences: list[str]


def demo_settings(folder: Path, data: list[str] | None, model: str | None) -> dict[str, Any]:
    """What differs from the defaults: a fast market, exits near enough to be seen, no waiting.

    The values make trades close and limits bite within minutes; they are no advice for real money.
    """
    overrides: dict[str, Any] = {
        "system": {"data_folder": str(folder / "data")},
        "execution": {"concurrency": 1},
        "market": {"poll_interval": "500ms", "venue": {"speed": SPEED}},
        "trading": {
            "gate_always_ask": True,
            "confidence_min": 30,
            "stop_loss": "0.01",
            "take_profit": "0.008",
            "max_holding": "4h",
            "trade_fraction_max": "0.25",
        },
        "risk": {"max_trade_amount": "1200", "max_price_age": "1h", "cooldown": "3h"},
        "monitoring": {"reconcile_interval": "3s", "sweep_interval": "5s", "health_interval": "15s"},
    }
    if data:
        overrides["market"]["venue"]["data"] = data
        overrides["market"]["symbols"] = [entry.split("=")[0] for entry in data]
    if model:
        overrides["models"] = {"default": model}
    return overrides


def run_demo(
    folder: Path, console: Console, *, data: list[str] | None, model: str | None, seconds: int = SECONDS
) -> Outcome:
    """Run the demo in a new folder below `folder` and return what it showed.

    Raises AlinaError if the system does not come up.
    """
    home = (folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}").absolute()
    home.mkdir(parents=True)
    config = home / "config.yaml"
    config.write_text(render_config(demo_settings(home, data, model)))
    settings = load_settings(config)
    console.print(f"Starting Postgres, Redis, the venue and the workers in {home} ...", soft_wrap=True)
    with _system(config, home):
        runtime = _connected(settings)
        with make_view(console) as view:
            _watch(runtime, view, seconds)
        differences = _close_the_books(runtime)
        return Outcome(_summary(runtime, home, differences), differences)


@contextmanager
def _system(config: Path, home: Path) -> Iterator[None]:
    """`alina up` as a process of its own, stopped at the end whatever happens."""
    log = home / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "alina.cli.main", "--config", str(config), "up"],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the demo, which then stops the system in order
            env={**os.environ, "ALINA_CONFIG": str(config)},
        )
        try:
            _wait_until_ready(process, config, log)
            yield
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def _wait_until_ready(process: "subprocess.Popen[bytes]", config: Path, log: Path) -> None:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemStateError(f"the system did not start:\n{log.read_text(errors='replace')[-2000:]}")
        if _status(config).get("ready"):
            return
        time.sleep(_POLL)
    raise SystemStateError(f"the system was not ready within {START_WITHIN} s: see {log}")


def _status(config: Path) -> dict[str, Any]:
    """What `alina status --json` says; empty while it says nothing yet."""
    shown = subprocess.run(
        [sys.executable, "-m", "alina.cli.main", "--config", str(config), "status", "--json"],
        capture_output=True,
        check=False,
    )
    try:
        answer = json.loads(shown.stdout)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _connected(settings: Settings) -> Runtime:
    """A runtime beside the system's own: it reads the ledger, and compares the books at the end."""
    return bootstrap.make_runtime(
        settings,
        database_url=bootstrap.connections(settings).database_url,
        send=lambda *_: None,
        keys=bootstrap.venue_keys(settings),
    )


class _Watcher:
    """Turns what is new in the ledger into events, each shown once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._seen: set[UUID] = set()

    def events(self) -> list[Event]:
        """What was decided since the last call, oldest first."""
        with self._runtime.unit_of_work() as uow:
            ended = [run for run in uow.ledger.runs(limit=40) if run.state is not RunState.STARTED]
            trails = {
                trail.proposal.run_id or trail.proposal.id: trail for trail in uow.ledger.decisions(limit=40)
            }
        new = []
        for run in reversed(ended):
            trail = trails.get(run.id)
            is_decided = run.state is not RunState.PROPOSED or trail is not None
            if run.id not in self._seen and is_decided:
                self._seen.add(run.id)
                new.append(_run_event(run, trail))
        for key, trail in reversed(trails.items()):
            if trail.run is None and key not in self._seen:
                self._seen.add(key)
                new.append(_exit_event(trail))
        return new


def _run_event(run: Run, trail: Any) -> Event:
    speed = run.calls[-1].completion.tokens_per_second if run.calls else None
    decision = trail.proposal.side.value if trail else run.state.value
    return Event(
        candle=run.as_of,
        symbol=run.symbol,
        decision=decision,
        why=trail.proposal.rationale if trail else run.summary,
        verdict=_verdict(trail) if trail else "",
        order=_order(trail) if trail else "",
        speed=speed,
    )


def _exit_event(trail: Any) -> Event:
    proposal = trail.proposal
    return Event(
        candle=proposal.as_of,
        symbol=proposal.symbol,
        decision="sell",
        why=proposal.rationale,
        verdict=_verdict(trail),
        order=_order(trail),
    )


def _verdict(trail: Any) -> str:
    reason = trail.decision.reason
    return f"{trail.decision.verdict} {reason.name}" if reason else str(trail.decision.verdict)


def _order(trail: Any) -> str:
    order = trail.order
    return f"{order.state.value} {order.filled_quantity:f}" if order else ""


def _watch(runtime: Runtime, view: View, seconds: int) -> None:
    """Show events until every goal is reached or the time is over."""
    watcher = _Watcher(runtime)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for event in watcher.events():
            view.show(event)
        goals = _goals(runtime)
        with runtime.unit_of_work() as uow:
            curve = uow.ledger.equity_curve(runtime.account)
        left = deadline - time.monotonic()
        view.progress(Progressed(goals=goals, equity=curve[-1] if curve else None, seconds_left=left))
        if all(done >= goal for done, goal in goals.values()):
            return
        time.sleep(_POLL)


def _goals(runtime: Runtime) -> dict[str, tuple[int, int]]:
    with runtime.unit_of_work() as uow:
        counts = uow.ledger.counts()
    cycles = sum(counts[f"runs:{state.value}"] for state in RunState if state is not RunState.STARTED)
    refusals = counts["decisions:denied"] + counts["orders:rejected"]
    return {
        "cycles": (cycles, CYCLES),
        "closed trades": (counts["closed_trades"], TRADES),
        "denied or rejected": (refusals, REFUSALS),
    }


def _close_the_books(runtime: Runtime) -> list[str]:
    """Halt, let what is in flight settle, and compare venue and ledger: orders, fills and balances."""
    with runtime.unit_of_work() as uow:
        uow.ledger.lock_account(runtime.account)
        uow.ledger.set_trading_state(
            runtime.account, TradingState.HALTED, reason="the demo has ended", at=runtime.clock.now()
        )
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


def _summary(runtime: Runtime, home: Path, differences: list[str]) -> dict[str, Any]:
    """The figures of the whole run, and the picture; written to summary.json too."""
    symbol = runtime.settings.market.symbols[0]
    with runtime.unit_of_work() as uow:
        counts = uow.ledger.counts()
        curve = uow.ledger.equity_curve(runtime.account)
        trades = uow.ledger.closed_trades(limit=1000)
        latencies = sorted(uow.ledger.latencies_ms())
        runs = uow.ledger.runs(limit=1000)
        fills = uow.ledger.fills(runtime.account, symbol)
        candles = uow.candles.history(
            symbol, runtime.settings.market.timeframe, until=runtime.clock.now(), limit=1000
        )
    shown = [candle for candle in candles if curve and candle.close_time >= curve[0].as_of]
    picture = home / "equity.png"
    model = runtime.settings.models.default.rsplit("/", 1)[-1]
    equity_picture.draw(picture, curve, shown, fills, title=f"{symbol}, {model}: equity after fees")
    held = equity_picture.held_instead(curve, shown)
    speeds = [run.calls[-1].completion.tokens_per_second for run in runs if run.calls]
    summary = {
        "cycles": _goals(runtime)["cycles"][0],
        "runs": _part(counts, "runs"),
        "decisions": _part(counts, "decisions"),
        "denials": _part(counts, "denials"),
        "orders": _part(counts, "orders"),
        "closed_trades": len(trades),
        "winning_trades": sum(1 for trade in trades if trade.realised_pnl > 0),
        "pnl_after_fees": f"{sum((trade.realised_pnl for trade in trades), Decimal(0)):f}",
        "equity_start": f"{curve[0].total:.2f}" if curve else None,
        "equity_end": f"{curve[-1].total:.2f}" if curve else None,
        "buy_and_hold_end": f"{held[-1][1]:.2f}" if held else None,
        "market_time": duration_text(curve[-1].as_of - curve[0].as_of) if curve else None,
        "tokens_per_second": f"{statistics.median(speeds):.0f}" if speeds else None,
        "proposal_to_acknowledged_ms": {
            "p50": _percentile(latencies, 50),
            "p99": _percentile(latencies, 99),
            "orders": len(latencies),
        },
        "books_agree": not differences,
        "differences": differences,
        "stored": {
            "folder": str(home),
            "config": str(home / "config.yaml"),
            "equity_picture": str(picture),
            "logs": str(home / "data" / "logs"),
        },
    }
    (home / "summary.json").write_text(json.dumps(summary, indent=1))
    return summary


def _part(counts: dict[str, int], name: str) -> dict[str, int]:
    prefix = f"{name}:"
    return {
        key.removeprefix(prefix): value for key, value in counts.items() if key.startswith(prefix) and value
    }


def _percentile(ordered: list[Decimal], percent: int) -> str | None:
    if not ordered:
        return None
    return f"{ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]:.1f}"


def print_summary(console: Console, outcome: Outcome) -> None:
    """The table at the end, and the honest words about the model."""
    summary = outcome.summary
    table = Table(title="What happened", show_header=False)
    latency = summary["proposal_to_acknowledged_ms"]
    rows = {
        "cycles": f"{summary['cycles']} ({_counted(summary['runs'])})",
        "decisions": _counted(summary["decisions"]),
        "denied because": _counted(summary["denials"]),
        "orders": _counted(summary["orders"]),
        "closed trades": f"{summary['closed_trades']}, {summary['winning_trades']} won",
        "PnL after fees": summary["pnl_after_fees"],
        "equity": f"{summary['equity_start']} -> {summary['equity_end']} over {summary['market_time']}",
        "buy and hold": summary["buy_and_hold_end"],
        "model": f"{summary['tokens_per_second']} tokens/s (median)",
        "proposal to acknowledged": f"p50 {latency['p50']} ms, p99 {latency['p99']} ms",
        "books of venue and ledger": "agree" if not outcome.differences else "DIFFER",
        "equity picture": summary["stored"]["equity_picture"],
        "everything else": summary["stored"]["folder"],
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
    for difference in outcome.differences:
        console.print(f"  {difference}", style="red")
    console.print(
        "The default model is small and no good trader; what this shows is everything around it: "
        "every decision above is stored and can be replayed.",
    )
    console.print(
        f"  alina --config {summary['stored']['config']} decisions", soft_wrap=True, highlight=False
    )
    console.print(
        f"  alina --config {summary['stored']['config']} replay ID", soft_wrap=True, highlight=False
    )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{value} {name}" for name, value in counts.items()) or "none"
