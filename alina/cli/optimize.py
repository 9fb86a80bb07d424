"""`alina optimize`: settings searched on history, and whether what was found holds beyond it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alina.cli.backtest import FORMATS, chosen_series, with_choices
from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, print_table, say

if TYPE_CHECKING:
    from alina.backtest.equity import Series as Returns
    from alina.backtest.search import Objective, Parameters, Search, Window
    from alina.config import Settings
    from alina.venue.candles_csv import Series


def optimize(
    context: typer.Context,
    parameter: Annotated[
        list[str], typer.Option(help="NAME=LOW:HIGH:STEP or NAME=A,B,C; NAME as trading.rule.ema_fast.")
    ],
    symbols: Annotated[str | None, typer.Option(help="Of the data, e.g. BTC/USDT,ETH/USDT.")] = None,
    since: Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="UTC.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="SYMBOL=FILE, a file or a folder of them. Default: the venue's.")
    ] = None,
    cash: Annotated[str | None, typer.Option(help="Quote to begin with. Default: the venue's.")] = None,
    trials: Annotated[int, typer.Option(min=2, help="Of each search.")] = 40,
    folds: Annotated[int, typer.Option(min=1, help="Windows searched and then tested on the next.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Search settings of the rule agent, walking forward. Exit code 1: what was found does not hold.

    Example: alina optimize --parameter trading.rule.ema_fast=5:20:1 --parameter trading.stop_loss=0.01,0.02
    """
    from alina.backtest.metrics import bars_a_year
    from alina.backtest.search import parse, search

    settings = settings_of(context)
    series = chosen_series(settings, data or (), symbols.split(",") if symbols else None)
    settings = with_choices(settings, series, None, cash)
    space = [parse(each) for each in parameter]
    window, timeframe = _whole(settings, series, since, until)
    with _bar(trials * (folds + 1), quiet=as_json) as progress:
        found = search(
            _objective(settings, series), space, window, folds=folds, trials=trials, progress=progress
        )
    _tell(found, bars_a_year(timeframe) ** 0.5, as_json=as_json)
    if not found.holds:
        raise typer.Exit(1)


def _whole(
    settings: "Settings", series: "dict[str, Series]", since: datetime | None, until: datetime | None
) -> "tuple[Window, str]":
    """From when the agent has its history to the end, and the candles' length."""
    from alina.backtest.runtime import make_world
    from alina.backtest.search import Window
    from alina.domain.records import ms_from_utc

    begin, end = (None if one is None else ms_from_utc(one.replace(tzinfo=UTC)) for one in (since, until))
    world = make_world(settings, series, agent="rule", start_ms=begin, end_ms=end)
    return Window(world.start_ms, world.end_ms), world.history.timeframe


def _objective(settings: "Settings", series: "dict[str, Series]") -> "Objective":
    from alina.backtest import loop
    from alina.backtest.equity import curve
    from alina.backtest.runtime import make_world
    from alina.backtest.search import applied

    def returns(parameters: "Parameters", window: "Window") -> "Returns":
        chosen = applied(settings, parameters)
        world = make_world(chosen, series, agent="rule", start_ms=window.start_ms, end_ms=window.end_ms)
        return curve(loop.run(world)).returns

    return returns


@contextmanager
def _bar(total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal) as bars:
        task = bars.add_task("trials", total=total)
        yield lambda: bars.advance(task)


def _tell(found: "Search", yearly: float, *, as_json: bool) -> None:
    told = _figures(found, yearly)
    if as_json:
        print_json(told)
        return
    rows = [_row(fold) for fold in told["folds"]]
    columns = ("tested from", "to", "Sharpe in sample", "out of sample", "deflated: skill", "found")
    print_table("Walking forward", columns, rows)
    say(
        f"Sharpe in sample {told['in_sample']}, out of sample {told['out_of_sample']}: "
        f"{_text(told['confidence'])} sure to be above 0"
    )
    say(
        f"deflated Sharpe ratio of the best of {told['trials']} trials on the whole: "
        f"{_text(told['deflated'])} sure to be skill ({_listed(told['parameters'])})"
    )
    no = "It does not hold: what was found fits noise, or the history is too short to tell."
    say("It holds." if found.holds else no)


def _row(fold: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        f"{fold['from']:%Y-%m-%d}",
        f"{fold['to']:%Y-%m-%d}",
        fold["in_sample"],
        fold["out_of_sample"],
        _text(fold["deflated"]),
        _listed(fold["parameters"]),
    )


def _figures(found: "Search", yearly: float) -> dict[str, Any]:
    """Sharpe ratios annualised; probabilities from 0 to 1."""
    from alina.domain.records import utc_from_ms

    return {
        "holds": found.holds,
        "in_sample": round(found.in_sample * yearly, 2),
        "out_of_sample": round(found.out_of_sample * yearly, 2),
        "confidence": found.confidence,
        "deflated": found.whole.deflated,
        "trials": len(found.whole.trials),
        "parameters": found.whole.parameters,
        "folds": [
            {
                "from": utc_from_ms(fold.window.start_ms),
                "to": utc_from_ms(fold.window.end_ms),
                "in_sample": round(fold.fit.sharpe * yearly, 2),
                "out_of_sample": round(fold.sharpe * yearly, 2),
                "deflated": fold.fit.deflated,
                "parameters": fold.fit.parameters,
            }
            for fold in found.folds
        ],
    }


def _text(probability: float | None) -> str:
    return "not" if probability is None else f"{probability:.0%}"


def _listed(parameters: "Parameters") -> str:
    return ", ".join(f"{name}={value}" for name, value in parameters.items())
