"""`alina data`: candles in, out and looked over."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from alina.cli.options import settings_of
from alina.cli.output import AsJson, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alina.market_data.arrays import CandleArrays

app = typer.Typer(
    no_args_is_help=True,
    help="Candles: download, import, check and export. What was interrupted goes on where it ended.",
)

Exchange = Annotated[str | None, typer.Option(help="Only of this one: a ccxt id, or venue.")]
Symbols = Annotated[list[str] | None, typer.Option("--symbol", help="Only this one; repeat for more.")]
Timeframe = Annotated[str | None, typer.Option(help="Length of a candle: 5m, 1h, 4h, 1d.")]
Since = Annotated[datetime | None, typer.Option("--from", help="UTC. Default: the first.")]
Until = Annotated[datetime | None, typer.Option("--to", help="UTC, exclusive. Default: now.")]
Files = Annotated[list[Path], typer.Argument(help="CSV, parquet, feather, ccxt JSON, or folders of them.")]

_KINDS = ("gap", "duplicate", "off the grid", "impossible", "no volume")


@app.command()
def download(
    context: typer.Context,
    since: Annotated[datetime, typer.Option("--from", help="UTC.")],
    symbols: Annotated[list[str] | None, typer.Argument(help="Default: market.symbols.")] = None,
    timeframe: Timeframe = None,
    until: Until = None,
    exchange: Annotated[str | None, typer.Option(help="A ccxt id. Default: market.exchange.id.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a real exchange for candles.

    Only for those that are not stored yet, gaps included. `from` and `to` say how far the exchange reaches:
    some tell only their newest candles.

    Example: alina data download BTC/USDT --timeframe 5m --from 2024-01-01
    """
    from alina import bootstrap
    from alina.cli.data_work import download_all, span
    from alina.cli.database import open_database

    settings = settings_of(context)
    markets = [(one, timeframe or settings.market.timeframe) for one in symbols or settings.market.symbols]
    source = bootstrap.public_exchange(settings, exchange)
    with open_database(settings, make=True) as sessions:
        name = exchange or settings.market.exchange.id
        rows = download_all(source, name, sessions, markets, span(since, until), quiet=as_json)
    columns = ("exchange", "symbol", "timeframe", "new", "missing", "from", "to")
    _show("Downloaded", columns, rows, as_json=as_json)


@app.command("import")
def import_(
    context: typer.Context,
    files: Files,
    symbol: Annotated[str | None, typer.Option(help="Where a file's name does not tell it.")] = None,
    timeframe: Timeframe = None,
    exchange: Annotated[
        str | None, typer.Option(help="Whose they are. Default: as the name says, or market.exchange.id.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store the candles of files.

    Exchange, symbol and timeframe are told by names such as binance-BTC_USDT-5m.csv. The same again
    changes nothing. A file with duplicates, impossible candles or times off the grid is refused.

    Example: alina data import user_data/data/binance
    """
    from alina.cli.data_work import exchange_for, import_all
    from alina.cli.database import open_database
    from alina.market_data.files import candle_files

    found = [one for path in files for one in candle_files(path)]
    settings = settings_of(context)

    def exchange_of(path: Path) -> str:
        return exchange or exchange_for(path, default=settings.market.exchange.id)

    with open_database(settings, make=True) as sessions:
        rows = import_all(found, sessions, exchange_of, symbol=symbol, timeframe=timeframe, quiet=as_json)
    columns = ("file", "exchange", "symbol", "timeframe", "candles", "new", "missing")
    _show("Imported", columns, rows, as_json=as_json)


@app.command()
def check(
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="Files or folders. Default: the store.")] = None,
    exchange: Exchange = None,
    symbols: Symbols = None,
    timeframe: Timeframe = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong with candles.

    Gaps, duplicates, times off the grid, impossible prices, candles without volume. Exit code 1 if there
    is any of these.

    Example: alina data check --symbol BTC/USDT --json
    """
    from alina.market_data.faults import faults

    series = _of_files(files, symbols, timeframe) if files else _stored(context, exchange, symbols, timeframe)
    rows = [
        {
            "source": source,
            "symbol": candles.symbol,
            "timeframe": candles.timeframe,
            "candles": len(candles),
            "faults": faults(candles),
        }
        for source, candles in series
    ]
    if as_json:
        print_json(rows)
    else:
        columns = ("source", "symbol", "timeframe", "candles", *_KINDS, "from", "to")
        print_table("Candles", columns, [_fault_cells(row) for row in rows])
    raise typer.Exit(1 if any(row["faults"] for row in rows) else 0)


def _of_files(
    paths: "Sequence[Path]", symbols: list[str] | None, timeframe: str | None
) -> "Iterator[tuple[str, CandleArrays]]":
    from alina.market_data.files import candle_files, read_candles

    for path in (one for given in paths for one in candle_files(given)):
        symbol = symbols[0] if symbols else None
        yield str(path), read_candles(path, symbol=symbol, timeframe=timeframe).arrays


def _stored(
    context: typer.Context, exchange: str | None, symbols: list[str] | None, timeframe: str | None
) -> "Iterator[tuple[str, CandleArrays]]":
    from alina.cli.data_work import bulk_of, chosen_series, span
    from alina.cli.database import open_database

    with open_database(settings_of(context)) as sessions:
        for one in chosen_series(sessions, exchange, symbols, timeframe):
            since, until = span(None, None)
            with bulk_of(sessions, one.exchange) as bulk:
                yield f"store: {one.exchange}", bulk.load(one.symbol, one.timeframe, since=since, until=until)


def _fault_cells(row: dict[str, Any]) -> tuple[Any, ...]:
    found = {fault.kind: fault for fault in row["faults"]}
    counts = [found[kind].count if kind in found else None for kind in _KINDS]
    first = min((fault.first for fault in found.values()), default=None)
    last = max((fault.last for fault in found.values()), default=None)
    return (row["source"], row["symbol"], row["timeframe"], row["candles"], *counts, first, last)


@app.command()
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Made if it is not there.")],
    exchange: Exchange = None,
    symbols: Symbols = None,
    timeframe: Timeframe = None,
    since: Since = None,
    until: Until = None,
    file_format: Annotated[
        Literal["csv", "parquet"], typer.Option("--format", help="csv: every digit; parquet: floats.")
    ] = "csv",
    as_json: AsJson = False,
) -> None:
    """Write stored candles to files.

    One file a market, named as `alina data import` reads it: binance-BTC_USDT-5m.csv.

    Example: alina data export candles --symbol BTC/USDT --format parquet
    """
    from alina.cli.data_work import chosen_series, export_all, span
    from alina.cli.database import open_database

    with open_database(settings_of(context)) as sessions:
        series = chosen_series(sessions, exchange, symbols, timeframe)
        rows = export_all(folder, sessions, series, span(since, until), file_format, quiet=as_json)
    _show("Exported", ("file", "exchange", "symbol", "timeframe"), rows, as_json=as_json)


def _show(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    else:
        print_table(title, columns, [[row[name] for name in columns] for row in rows])
