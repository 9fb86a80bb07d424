"""What the demo showed: the figures, the equity picture, and the table at the end."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from alina.cli import equity_picture
from alina.domain.runs import RunState
from alina.orchestrator.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo showed; `summary` is JSON-ready. The books agree when `differences` is empty."""

    summary: dict[str, Any]
    differences: list[str]


def cycles(counts: dict[str, int]) -> int:
    """The runs that ended, however they did."""
    return sum(counts[f"runs:{state.value}"] for state in RunState if state is not RunState.STARTED)


def refusals(counts: dict[str, int]) -> int:
    """Proposals denied by the kernel and orders rejected by the exchange."""
    return counts["decisions:denied"] + counts["orders:rejected"]


def summarise(runtime: Runtime, home: Path, differences: list[str]) -> Outcome:
    """Draw the equity and gather the figures; both are also left in `home`."""
    picture = home / "equity.png"
    held_end = _draw(runtime, picture)
    with runtime.unit_of_work() as uow:
        counts = uow.ledger.counts()
        curve = uow.ledger.equity_curve(runtime.account)
        trades = uow.ledger.closed_trades(limit=1000)
        latencies = sorted(uow.ledger.latencies_ms())
        calls = [call for run in uow.ledger.runs(limit=1000) for call in run.calls]
    speeds = [call.completion.tokens_per_second for call in calls]
    summary = {
        "cycles": cycles(counts),
        **{name: _part(counts, name) for name in ("runs", "decisions", "denials", "orders")},
        "closed_trades": len(trades),
        "winning_trades": sum(1 for trade in trades if trade.realised_pnl > 0),
        "pnl_after_fees": f"{sum((trade.realised_pnl for trade in trades), Decimal(0)):.2f}",
        "equity_start": f"{curve[0].total:.2f}" if curve else None,
        "equity_end": f"{curve[-1].total:.2f}" if curve else None,
        "buy_and_hold_end": f"{held_end:.2f}" if held_end is not None else None,
        "market_hours": (curve[-1].as_of - curve[0].as_of) // timedelta(hours=1) if curve else 0,
        "model": runtime.settings.models.default,
        "tokens_per_second": f"{statistics.median(speeds):.0f}" if speeds else None,
        "proposal_to_acknowledged_ms": {
            "orders": len(latencies),
            "p50": _percentile(latencies, 50),
            "p99": _percentile(latencies, 99),
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
    return Outcome(summary, differences)


def _draw(runtime: Runtime, picture: Path) -> Decimal | None:
    """The picture of the first symbol; returns what buying and holding it would be worth."""
    market = runtime.settings.market
    symbol = market.symbols[0]
    with runtime.unit_of_work() as uow:
        curve = uow.ledger.equity_curve(runtime.account)
        fills = uow.ledger.fills(runtime.account, symbol)
        candles = uow.candles.history(symbol, market.timeframe, until=runtime.clock.now(), limit=1000)
    shown = [candle for candle in candles if curve and candle.close_time >= curve[0].as_of]
    model = runtime.settings.models.default.rsplit("/", 1)[-1]
    equity_picture.draw(picture, curve, shown, fills, title=f"{symbol}, {model}: equity after fees")
    held = equity_picture.held_instead(curve, shown)
    return held[-1][1] if held else None


def _part(counts: dict[str, int], name: str) -> dict[str, int]:
    prefix = f"{name}:"
    return {
        key.removeprefix(prefix): count for key, count in counts.items() if key.startswith(prefix) and count
    }


def _percentile(ordered: Sequence[Decimal], percent: int) -> str | None:
    """Nearest rank; None for nothing measured."""
    return f"{ordered[(len(ordered) * percent - 1) // 100]:.1f}" if ordered else None


def print_outcome(console: Console, outcome: Outcome) -> None:
    """The table at the end, and honest words about the model."""
    summary, stored = outcome.summary, outcome.summary["stored"]
    latency = summary["proposal_to_acknowledged_ms"]
    rows = {
        "cycles": f"{summary['cycles']} ({_counted(summary['runs'])})",
        "decisions": _counted(summary["decisions"]),
        "denied because": _counted(summary["denials"]),
        "orders": _counted(summary["orders"]),
        "closed trades": f"{summary['closed_trades']}, {summary['winning_trades']} won",
        "PnL after fees": summary["pnl_after_fees"],
        "equity": f"{summary['equity_start']} -> {summary['equity_end']}",
        "market time": f"{summary['market_hours']} hours",
        "buy and hold instead": summary["buy_and_hold_end"],
        "model": f"{summary['model'].rsplit('/', 1)[-1]}, {summary['tokens_per_second']} tokens/s (median)",
        "proposal to acknowledged": f"p50 {latency['p50']} ms, p99 {latency['p99']} ms",
        "books of venue and ledger": "agree to the last digit" if not outcome.differences else "DIFFER",
    }
    table = Table(title="What happened", show_header=False, title_justify="left")
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
    for difference in outcome.differences:
        console.print(f"  {difference}", style="red")
    lines = (
        f"Equity picture: {stored['equity_picture']}",
        f"Everything else (ledger, logs, config): {stored['folder']}",
        "The default model is small and no good trader. What is shown here is everything around it:",
        "each decision is stored, explained and can be replayed bit for bit:",
        f"  .venv/bin/alina --config {stored['config']} decisions",
        f"  .venv/bin/alina --config {stored['config']} replay ID",
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"
