"""What a run showed, for people (HTML, PNG) and for programs (JSON, CSV)."""

import csv
import json
import os
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

from alina.backtest import pictures
from alina.backtest.benchmarks import Comparison, RandomAgents, buy_and_hold, compare, random_agents
from alina.backtest.equity import Curve, Outcome, Series, curve
from alina.backtest.metrics import Metrics, drawdowns, measure, monthly_returns
from alina.backtest.statistics import CONFIDENCE, Interval
from alina.domain.records import utc_from_ms

#: newest trades on the page; trades.csv has all
_TRADES_SHOWN = 100
#: luck below this does not explain a result
_SIGNIFICANT = 1 - CONFIDENCE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """A run with everything that was worked out from it."""

    outcome: Outcome
    curve: Curve
    #: the worth of buying and holding, shape (bars,)
    held: Series
    random: RandomAgents | None
    metrics: Metrics
    comparison: Comparison


def assess(outcome: Outcome) -> Report:
    """Work out a run. Raises DataError for an asset without a price."""
    drawn = curve(outcome)
    held, random = buy_and_hold(outcome, drawn.opening), random_agents(outcome, drawn)
    return Report(
        outcome=outcome,
        curve=drawn,
        held=held,
        random=random,
        metrics=measure(outcome, drawn),
        comparison=compare(outcome, drawn, held, random),
    )


def verdict(report: Report) -> str:
    """What the run shows, in two sentences that claim no more than it does."""
    compared = report.comparison
    made = (
        f"{_signed(compared.total_return.estimate)} after fees ({_range(compared.total_return)}); "
        f"holding made {_signed(compared.holding_return)}."
    )
    if compared.luck is None:
        denied = sum(one.count for one in report.outcome.denied)
        return f"{made} Nothing was traded" + (f": {denied} proposals were denied." if denied else ".")
    if compared.luck < _SIGNIFICANT:
        return f"{made} Of random agents that trade as much, {compared.luck:.1%} end as high: more than luck."
    return f"{made} Of random agents that trade as much, {compared.luck:.0%} end as high: luck explains it."


def figures(report: Report) -> Mapping[str, Any]:
    """Everything but the series, in JSON's types: money as text, times in ISO, durations in seconds."""
    return {
        "agent": report.outcome.agent,
        "timeframe": report.outcome.timeframe,
        "symbols": list(report.outcome.prices.closes),
        "quote": report.outcome.quote,
        "verdict": verdict(report),
        "stepped_back": report.outcome.stepped_back or None,
        "denied": [asdict(one) for one in report.outcome.denied],
        "metrics": _plain(asdict(report.metrics)),
        "comparison": _plain(asdict(report.comparison)),
        "months": [
            {"year": year, "month": month, "return": value}
            for (year, month), value in monthly_returns(report.curve).items()
        ],
    }


def write(report: Report, folder: Path) -> Path:
    """Write report.html, report.png, report.json, trades.csv and equity.csv; returns the page.

    A file is whole or not there, and the page comes last: where it is, everything is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    overview = pictures.overview(report.curve, report.held, report.random)
    told = json.dumps(figures(report), indent=1, ensure_ascii=False, allow_nan=False)
    put(folder / "report.json", told.encode())
    put(folder / "trades.csv", _csv(*_trades(report)))
    put(folder / "equity.csv", _csv(*_equity(report)))
    put(folder / "report.png", pictures.rendered(overview, "png"))
    page = folder / "report.html"
    put(page, render("report.html.j2", _page(report, pictures.rendered(overview, "svg"))))
    return page


def put(path: Path, content: bytes) -> None:
    """Replace the file at once: a reader sees the old content or the new."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def render(template: str, values: Mapping[str, Any]) -> bytes:
    """One of our pages. What agents and models say is escaped, and runs nothing."""
    from jinja2 import PackageLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=PackageLoader("alina.backtest"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["image"] = image
    return environment.get_template(template).render(values).encode()


def image(svg: bytes) -> str:
    """An SVG as the source of an <img>, where no script in it could run."""
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"


def _page(report: Report, overview: bytes) -> Mapping[str, Any]:
    columns, rows = _trades(report)
    return {
        "outcome": report.outcome,
        "verdict": verdict(report),
        "cards": _cards(report),
        "overview": overview,
        "intervals": pictures.rendered(pictures.intervals(report.comparison), "svg"),
        "months": pictures.rendered(pictures.months(monthly_returns(report.curve)), "svg"),
        "figures": _table(report.metrics),
        "columns": columns,
        "trades": rows[-_TRADES_SHOWN:][::-1],
        "count": len(rows),
    }


def _cards(report: Report) -> Sequence[tuple[str, str, str]]:
    """Name, value, and what it is to be seen beside."""
    metrics, compared = report.metrics, report.comparison
    return (
        ("return after fees", _signed(metrics.total_return), f"holding {_signed(compared.holding_return)}"),
        ("Sharpe", _ratio(metrics.sharpe), f"holding {_ratio(compared.holding_sharpe)}"),
        ("max drawdown", f"{metrics.max_drawdown:.1%}", f"holding {compared.holding_drawdown:.1%}"),
        ("trades", str(metrics.trades), f"{_percent(metrics.win_rate)} won"),
        ("invested", f"{metrics.exposure:.0%}", f"at most {metrics.max_exposure:.0%}"),
        ("as good by luck", _percent(compared.luck), "of random agents"),
    )


def _table(metrics: Metrics) -> Sequence[tuple[str, str]]:
    return [(name.replace("_", " "), _cell(name, value)) for name, value in asdict(metrics).items()]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "n/a"
    if name.endswith(("return", "drawdown", "exposure", "rate", "volatility")) and isinstance(value, float):
        return f"{value:.2%}"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, Decimal):
        return f"{value:,.8g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return str(timedelta(seconds=round(value.total_seconds())) if isinstance(value, timedelta) else value)


def _trades(report: Report) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    columns = ("symbol", "opened_at", "closed_at", "bought", "cost", "proceeds", "pnl", "return", "closed_by")
    rows = [
        (
            trade.symbol,
            trade.opened_at.isoformat(),
            trade.closed_at.isoformat() if trade.closed_at else "",
            f"{trade.bought_quantity:f}",
            f"{trade.cost:f}",
            f"{trade.proceeds:f}",
            f"{trade.realised_pnl:f}",
            f"{trade.realised_pnl / trade.cost:.6f}",
            trade.close_reason.value if trade.close_reason else "",
        )
        for trade in report.outcome.trades
    ]
    return columns, rows


def _equity(report: Report) -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    drawn = report.curve
    series = (drawn.equity, drawn.invested, drawdowns(drawn.equity, drawn.opening), report.held)
    rows = (
        (utc_from_ms(moment).isoformat(), *(f"{value:.8f}" for value in values))
        for moment, *values in zip(drawn.times.tolist(), *(each.tolist() for each in series), strict=True)
    )
    return ("close_time", "equity", "invested", "drawdown", "buy_and_hold"), rows


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def _signed(fraction: float) -> str:
    return f"{fraction:+.2%}"


def _range(interval: Interval) -> str:
    return f"{interval.confidence:.0%}: {_signed(interval.low)} to {_signed(interval.high)}"


def _ratio(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0%}"
