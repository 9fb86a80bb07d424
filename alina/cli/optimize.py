"""`alina optimize`: settings searched on history, and whether what was found holds beyond it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alina.cli.backtest import FORMATS, OfStored, Stored, chosen_series, with_choices
from alina.cli.options import settings_of
from alina.cli.output import AsJson, prepare_folder, print_json, print_table, say
from alina.errors import ConfigError

if TYPE_CHECKING:
    from alina.backtest.equity import Series as Returns
    from alina.backtest.search import Objective, Parameter, Parameters, Window
    from alina.backtest.search_report import SearchReport
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
    exchange: Stored = None,
    timeframe: OfStored = None,
    cash: Annotated[str | None, typer.Option(help="Quote to begin with. Default: the venue's.")] = None,
    trials: Annotated[int, typer.Option(min=2, help="Of each search.")] = 40,
    agent: Annotated[str, typer.Option(help="One that asks no model.")] = "rule",
    out: Annotated[Path | None, typer.Option(help="A folder for the report.")] = None,
    folds: Annotated[int, typer.Option(min=1, help="Windows searched and then tested on the next.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Search settings of an agent, walking forward. Exit code 1: what was found does not hold.

    Example: alina optimize --parameter trading.rule.ema_fast=5:20:1 --parameter trading.stop_loss=0.01,0.02
    """
    from alina.backtest.metrics import bars_a_year
    from alina.backtest.search import parse, search
    from alina.backtest.search_report import SearchReport

    settings = settings_of(context)
    _check_agent(settings, agent)
    names = symbols.split(",") if symbols else None
    series = chosen_series(settings, data or (), names, exchange=exchange, timeframe=timeframe)
    settings = with_choices(settings, series, None, cash)
    space = [_of_an_agent(parse(each)) for each in parameter]
    window, length = _whole(settings, series, agent, since, until)
    if out is not None:
        prepare_folder(out)
    with _bar(trials * (folds + 1), quiet=as_json) as progress:
        found = search(
            _objective(settings, series, agent), space, window, folds=folds, trials=trials, progress=progress
        )
    report = SearchReport(
        agent=agent,
        symbols=tuple(series),
        timeframe=length,
        bars_a_year=bars_a_year(length),
        found=found,
    )
    _tell(report, out, as_json=as_json)
    if not found.holds:
        raise typer.Exit(1)


def _check_agent(settings: "Settings", agent: str) -> None:
    """Raises ConfigError for an agent that asks a model: its answers would decide, not the settings."""
    from alina import bootstrap
    from alina.agents.base import Answering

    trading = settings.trading.model_copy(update={"agents": (agent,)})
    chosen = bootstrap.make_agents(settings.model_copy(update={"trading": trading}))[agent]
    if not isinstance(chosen, Answering):
        raise ConfigError(
            f"{agent} asks a model at every trial: search an agent that answers by itself, as rule does"
        )


def _of_an_agent(parameter: "Parameter") -> "Parameter":
    """Raises ConfigError for a setting of the market, the exchange or the system: those are no choice."""
    if parameter.name.partition(".")[0] not in ("trading", "risk"):
        raise ConfigError(f"{parameter.name}: only settings of trading and risk are an agent's to search")
    return parameter


def _whole(
    settings: "Settings",
    series: "dict[str, Series]",
    agent: str,
    since: datetime | None,
    until: datetime | None,
) -> "tuple[Window, str]":
    """From when the agent has its history to the end, and the candles' length."""
    from alina.backtest.runtime import make_world
    from alina.backtest.search import Window
    from alina.domain.records import ms_from_utc

    begin, end = (None if one is None else ms_from_utc(one.replace(tzinfo=UTC)) for one in (since, until))
    world = make_world(settings, series, agent=agent, start_ms=begin, end_ms=end)
    return Window(world.start_ms, world.end_ms), world.history.timeframe


def _objective(settings: "Settings", series: "dict[str, Series]", agent: str) -> "Objective":
    from alina.backtest import loop
    from alina.backtest.equity import curve
    from alina.backtest.runtime import make_world
    from alina.backtest.search import applied

    def returns(parameters: "Parameters", window: "Window") -> "Returns":
        chosen = applied(settings, parameters)
        world = make_world(chosen, series, agent=agent, start_ms=window.start_ms, end_ms=window.end_ms)
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


def _tell(report: "SearchReport", out: Path | None, *, as_json: bool) -> None:
    from alina.backtest import search_report

    told = search_report.figures(report)
    page = search_report.write(report, out) if out is not None else None
    if as_json:
        print_json({**told, "report": page})
        return
    print_table("Walking forward", search_report.COLUMNS, map(search_report.row, told["folds"]))
    say(
        f"Sharpe in sample {told['in_sample']}, out of sample {told['out_of_sample']}: "
        f"{search_report.likely(told['confidence'])} sure to be above 0"
    )
    say(
        f"deflated Sharpe ratio of the best of {told['trials']} trials on the whole: "
        f"{search_report.likely(told['deflated'])} sure to be skill "
        f"({search_report.listed(told['parameters'])})"
    )
    say(told["verdict"])
    if page is not None:
        say(f"report: {page}")
