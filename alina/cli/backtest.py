"""`alina backtest`: an agent over recorded candles, by the running system's own cycle and kernel."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alina.cli.model_choice import source_of
from alina.cli.options import settings_of
from alina.cli.output import AsJson, prepare_folder, print_json, say
from alina.errors import ConfigError

if TYPE_CHECKING:
    from alina.backtest.answers import KeptAnswers
    from alina.backtest.equity import Outcome
    from alina.backtest.lookahead import MakeWorld
    from alina.config import Settings
    from alina.venue.candles_csv import Series

Stored = Annotated[
    str | None,
    typer.Option(
        "--exchange", help="In place of --data: the stored candles of this one, as `alina data` has it."
    ),
]
OfStored = Annotated[str | None, typer.Option("--timeframe", help="Of them. Default: market.timeframe.")]
FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def backtest(
    context: typer.Context,
    agent: Annotated[str, typer.Option(help="`rule` asks no model.")] = "trading",
    symbols: Annotated[str | None, typer.Option(help="Of the data, e.g. BTC/USDT,ETH/USDT.")] = None,
    since: Annotated[datetime | None, typer.Option("--from", formats=FORMATS, help="UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="UTC.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="In place of models.default: of `alina models list`, a GGUF file, provider:NAME/MODEL, "
            "scripted:FILE.jsonl, or scripted: a script that buys and sells now and then."
        ),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="SYMBOL=FILE, a file or a folder of them. Default: the venue's.")
    ] = None,
    exchange: Stored = None,
    timeframe: OfStored = None,
    cash: Annotated[str | None, typer.Option(help="Quote to begin with. Default: the venue's.")] = None,
    out: Annotated[Path | None, typer.Option(help="A folder for the report.")] = None,
    check_lookahead: Annotated[
        bool,
        typer.Option("--check-lookahead", help="Instead, name what knew the future; exit code 1 if any."),
    ] = False,
    cuts: Annotated[
        int,
        typer.Option(
            min=1,
            max=10_000,
            help="Of --check-lookahead: moments up to which the run is repeated, half of them at its trades.",
        ),
    ] = 4,
    as_json: AsJson = False,
) -> None:
    """Trade recorded candles with an agent, and say what came of it.

    A second run asks no model again.

    Example: alina backtest --agent rule --data candles --out report
    """
    settings = settings_of(context)
    names = symbols.split(",") if symbols else None
    series = chosen_series(settings, data or (), names, exchange=exchange, timeframe=timeframe)
    settings = with_choices(settings, series, model, cash)
    if check_lookahead:
        _check(settings, series, agent, (since, until), cuts=cuts, as_json=as_json)
        return
    if out is not None:
        prepare_folder(out)
    kept, outcome = _run(settings, series, agent, (since, until), quiet=as_json)
    _tell(outcome, kept, out, as_json=as_json)


def chosen_series(
    settings: "Settings",
    entries: Sequence[str],
    symbols: Sequence[str] | None,
    *,
    exchange: str | None = None,
    timeframe: str | None = None,
) -> "dict[str, Series]":
    """The candles of the chosen symbols: of files, of the store, or the venue's."""
    from alina.cli.data_files import listings
    from alina.venue.feeds import load

    if exchange is not None and not entries:
        from alina.cli.data_work import stored_history

        return stored_history(
            settings, exchange, symbols or settings.market.symbols, timeframe or settings.market.timeframe
        )
    if exchange is not None or timeframe is not None:
        raise ConfigError(
            "--exchange and --timeframe choose stored candles: leave out --data, and name the exchange"
        )
    named = [file for entry in entries for file in _files(entry)]
    if not entries:
        venue = settings.market.venue.listings
        named = [
            f"{symbol}={settings.path(Path(file)) if '.' in file else file}" for symbol, file in venue.items()
        ]
    chosen = [one for one in listings(named) if symbols is None or one.symbol in symbols]
    missing = set(symbols or ()) - {one.symbol for one in chosen}
    if missing or not chosen:
        raise ConfigError(f"the data holds no {', '.join(sorted(missing)) or 'candles'}: name it with --data")
    return {one.symbol: load(one, warmup=1) for one in chosen}


def _files(entry: str) -> list[str]:
    """The files of a folder, or what is no folder."""
    return [str(path) for path in sorted(Path(entry).glob("*.*"))] if Path(entry).is_dir() else [entry]


def with_choices(
    settings: "Settings", series: "dict[str, Series]", model: str | None, cash: str | None
) -> "Settings":
    """The settings with the model and the cash that were asked for."""
    if model is not None:
        models = settings.models.model_copy(update={"default": source_of(settings, model)})
        settings = settings.model_copy(update={"models": models})
    if cash is None:
        return settings
    quote = next(iter(series)).partition("/")[2]
    venue = settings.market.venue.model_copy(update={"balances": {quote: _amount(cash)}})
    market = settings.market.model_copy(update={"venue": venue})
    return settings.model_copy(update={"market": market})


def _amount(cash: str) -> Decimal:
    with suppress(ArithmeticError):
        amount = Decimal(cash)
        if amount.is_finite() and amount > 0:
            return amount
    raise ConfigError(f"--cash {cash}: write an amount above zero, e.g. 10000")


def _run(
    settings: "Settings",
    series: "dict[str, Series]",
    agent: str,
    span: tuple[datetime | None, datetime | None],
    *,
    quiet: bool,
) -> "tuple[KeptAnswers | None, Outcome]":
    """The finished run, and the answers it stood on where it asked a model."""
    from alina.backtest import loop

    kept: list[KeptAnswers] = []
    world = _maker(settings, agent, span, kept)(series, None, None)
    with _Bar(world.start_ms, world.end_ms, quiet=quiet) as progress:
        outcome = loop.run(world, progress=progress)
    return (kept[0] if kept else None), outcome


def _check(
    settings: "Settings",
    series: "dict[str, Series]",
    agent: str,
    span: tuple[datetime | None, datetime | None],
    *,
    cuts: int,
    as_json: bool,
) -> None:
    """Say which parts looked ahead. Exits with 1 if one did."""
    from alina.backtest import lookahead

    checked = lookahead.check(_maker(settings, agent, span, []), series, cuts=cuts)
    if as_json:
        print_json({"looked_ahead": checked.findings, "cuts": checked.cuts})
    for line in () if as_json else map(str, checked.findings):
        say(line)
    if checked.findings:
        raise typer.Exit(1)
    if not as_json:
        say(
            f"with the future removed or poisoned {agent} says the same: "
            f"nothing looked ahead up to the {len(checked.cuts)} moments that were tried"
        )


def _maker(
    settings: "Settings",
    agent: str,
    span: tuple[datetime | None, datetime | None],
    kept: "list[KeptAnswers]",
) -> "MakeWorld":
    """Makes worlds within the span; the model's answers, opened once, are left in `kept`."""
    from alina.backtest.answers import KeptAnswers
    from alina.backtest.runtime import World, make_world
    from alina.domain.records import ms_from_utc
    from alina.llm import opening

    begin, end = (None if one is None else ms_from_utc(one.replace(tzinfo=UTC)) for one in span)

    def model() -> KeptAnswers:
        if not kept:
            opened = opening.make_model(settings)
            path = settings.data_folder / "backtest" / "answers.jsonl"
            kept.append(KeptAnswers(lambda: opened, opened.identity, path))
        return kept[0]

    def make(series: "Mapping[str, Series]", start_ms: int | None, end_ms: int | None) -> World:
        return make_world(
            settings, series, agent=agent, model=model, start_ms=start_ms or begin, end_ms=end_ms or end
        )

    return make


class _Bar:
    """A bar of the market time, on standard error where somebody looks."""

    def __init__(self, start_ms: int, end_ms: int, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._bar = self._bars.add_task("backtest", total=end_ms - start_ms)
        self._start_ms = start_ms

    def __enter__(self) -> Callable[[datetime], None]:
        self._bars.start()
        return self._come_to

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _come_to(self, moment: datetime) -> None:
        from alina.domain.records import ms_from_utc

        done = ms_from_utc(moment) - self._start_ms
        self._bars.update(self._bar, completed=done, description=f"{moment:%Y-%m-%d}")


def _tell(outcome: "Outcome", kept: "KeptAnswers | None", out: Path | None, *, as_json: bool) -> None:
    from alina.backtest import report

    assessed = report.assess(outcome)
    page = report.write(assessed, out) if out is not None else None
    answers = {"kept": kept.found, "asked": kept.asked} if kept is not None else None
    if as_json:
        print_json({**report.figures(assessed), "answers": answers, "report": page})
        return
    metrics = assessed.metrics
    symbols = ", ".join(outcome.prices.closes)
    say(f"{outcome.agent} on {symbols}, {outcome.start:%Y-%m-%d} to {outcome.end:%Y-%m-%d}")
    say(f"{metrics.trades} trades, result {metrics.pnl:.2f} {outcome.quote} after {metrics.fees:.2f} of fees")
    say(f"maximum drawdown {metrics.max_drawdown:.1%}")
    say(report.verdict(assessed))
    if outcome.stepped_back:
        say(f"positions only shrank from {outcome.stepped_back}; live, `alina resume` would have gone on")
    for one in outcome.denied:
        say(f"denied: {one.count} as {one.reason}, the first since {one.example}")
    if answers is not None:
        say(f"answers: {answers['kept']} kept from earlier runs, {answers['asked']} of the model")
    if page is not None:
        say(f"report: {page}")
