"""What a search found, for people (HTML) and for programs (JSON): whether it holds where it was not made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from alina.backtest import pictures
from alina.backtest.report import put, render
from alina.backtest.search import Forward, Parameters, Search
from alina.domain.records import utc_from_ms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SearchReport:
    """A search and what it was made on. `bars_a_year` annualises its Sharpe ratios."""

    agent: str
    symbols: Sequence[str]
    timeframe: str
    bars_a_year: float
    found: Search

    def yearly(self, ratio: float) -> float:
        """A Sharpe ratio a bar, annualised."""
        return ratio * sqrt(self.bars_a_year)


def verdict(report: SearchReport) -> str:
    """What the search shows, in one sentence."""
    if report.found.holds:
        return "It holds: on windows that were not searched, and as the best of so many trials."
    return "It does not hold: what was found fits noise, or the history is too short to tell."


def figures(report: SearchReport) -> dict[str, Any]:
    """Sharpe ratios annualised; probabilities from 0 to 1, or None where nothing moved."""
    found = report.found
    return {
        "agent": report.agent,
        "symbols": list(report.symbols),
        "timeframe": report.timeframe,
        "holds": found.holds,
        "verdict": verdict(report),
        "in_sample": round(report.yearly(found.in_sample), 2),
        "out_of_sample": round(report.yearly(found.out_of_sample), 2),
        "confidence": found.confidence,
        "best": round(report.yearly(found.whole.sharpe), 2),
        "luck": round(report.yearly(found.whole.luck), 2),
        "deflated": found.whole.deflated,
        "trials": len(found.whole.trials),
        "parameters": found.whole.parameters,
        "folds": [_fold(report, fold) for fold in found.folds],
    }


def write(report: SearchReport, folder: Path) -> Path:
    """Write search.json and search.html; returns the page, which comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    told = figures(report)
    put(folder / "search.json", json.dumps(told, indent=1, default=str, allow_nan=False).encode())
    page = folder / "search.html"
    put(page, render("search.html.j2", _page(report, told)))
    return page


#: of `row`
COLUMNS = ("tested from", "to", "Sharpe in sample", "out of sample", "deflated: skill", "found")


def row(fold: Mapping[str, Any]) -> tuple[str, ...]:
    """A fold of the figures, as `COLUMNS` name it."""
    return (
        f"{fold['from']:%Y-%m-%d}",
        f"{fold['to']:%Y-%m-%d}",
        f"{fold['in_sample']:.2f}",
        f"{fold['out_of_sample']:.2f}",
        likely(fold["deflated"]),
        listed(fold["parameters"]),
    )


def likely(probability: float | None) -> str:
    """In words: of what did not move nothing is sure."""
    return "not" if probability is None else f"{probability:.0%}"


def listed(parameters: Parameters) -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())


def _page(report: SearchReport, told: Mapping[str, Any]) -> dict[str, Any]:
    return {**told, **_pictures(report), "columns": COLUMNS, "rows": [row(fold) for fold in told["folds"]]}


def _fold(report: SearchReport, fold: Forward) -> dict[str, Any]:
    return {
        "from": utc_from_ms(fold.window.start_ms),
        "to": utc_from_ms(fold.window.end_ms),
        "in_sample": round(report.yearly(fold.fit.sharpe), 2),
        "out_of_sample": round(report.yearly(fold.sharpe), 2),
        "deflated": fold.fit.deflated,
        "parameters": fold.fit.parameters,
    }


def _pictures(report: SearchReport) -> dict[str, bytes]:
    found = report.found
    ratios = [
        (
            f"{utc_from_ms(fold.window.start_ms):%Y-%m-%d}",
            report.yearly(fold.fit.sharpe),
            report.yearly(fold.sharpe),
        )
        for fold in found.folds
    ]
    windows = [(fold.window.start_ms, fold.window.end_ms, fold.returns) for fold in found.folds]
    drawn = {
        "in_and_out": pictures.in_and_out(ratios),
        "tested": pictures.tested(windows),
        "spread": pictures.trials(
            [report.yearly(one) for one in found.whole.trials], report.yearly(found.whole.luck)
        ),
    }
    return {name: pictures.rendered(figure, "svg") for name, figure in drawn.items()}
