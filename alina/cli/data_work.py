"""What `alina data` does, with a bar for each market on standard error."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from sqlalchemy.orm import Session, sessionmaker

from alina.cli.database import open_database
from alina.config import Settings
from alina.db.engine import transaction
from alina.domain.market import timeframe_duration
from alina.domain.ports import Exchange
from alina.errors import ConfigError, SystemStateError
from alina.exchange.candle_bulk import CandleBulk, StoredSeries, stored_series
from alina.exchange.candle_download import Download
from alina.exchange.candle_import import import_candles
from alina.exchange.candle_store import LOCAL, CandleStore
from alina.market_data.arrays import CandleArrays, time_at
from alina.market_data.faults import faults
from alina.market_data.files import read_candles, write_parquet
from alina.market_data.names import name_for, named
from alina.venue.candles_csv import Series, load_series

Sessions = sessionmaker[Session]
Span = tuple[datetime, datetime]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def span(since: datetime | None, until: datetime | None) -> Span:
    """[since, until) in UTC, never beyond now."""
    now = datetime.now(UTC)
    start = since.replace(tzinfo=UTC) if since else _EPOCH
    end = min(until.replace(tzinfo=UTC), now) if until else now
    if start >= end:
        raise ConfigError(f"--from {start:%Y-%m-%d %H:%M} is not before --to {end:%Y-%m-%d %H:%M}")
    return start, end


@contextmanager
def bulk_of(sessions: Sessions, exchange: str) -> Iterator[CandleBulk]:
    """One transaction on an exchange's candles in bulk."""
    with transaction(sessions) as session:
        yield CandleBulk(session, exchange)


@contextmanager
def _store_of(sessions: Sessions, exchange: str) -> Iterator[CandleStore]:
    with transaction(sessions) as session:
        yield CandleStore(session, exchange)


def chosen_series(
    sessions: Sessions, exchange: str | None, symbols: Sequence[str] | None, timeframe: str | None
) -> list[StoredSeries]:
    """What is stored of these; None: of all. Raises SystemStateError where nothing is."""
    with transaction(sessions) as session:
        series = stored_series(session, exchange, list(symbols) if symbols else None, timeframe)
    if not series:
        asked = " ".join([*(symbols or ()), *filter(None, (timeframe, exchange))])
        raise SystemStateError(
            f"no candles{f' of {asked}' if asked else ''} are stored: "
            "`alina data download` or `alina data import` brings them"
        )
    return series


def stored_history(
    settings: Settings, exchange: str, symbols: Sequence[str], timeframe: str
) -> dict[str, Series]:
    """The stored candles of one exchange, to be traded on. Raises SystemStateError for what is not stored."""
    found = {}
    with open_database(settings) as sessions, tempfile.TemporaryDirectory(prefix="alina-") as folder:
        since, until = span(None, None)
        for symbol in symbols:
            chosen_series(sessions, exchange, [symbol], timeframe)
            path = Path(folder) / name_for(exchange, symbol, timeframe, ".csv")
            with bulk_of(sessions, exchange) as bulk, path.open("wb") as sink:
                bulk.export(symbol, timeframe, sink, since=since, until=until)
            found[symbol] = load_series(path, warmup=1)
    return found


def exchange_for(path: Path, *, default: str) -> str:
    """Whose candles a file holds, where nothing but its name says it."""
    import ccxt

    told = named(path).exchange
    return told if told is not None and (told == LOCAL or told in ccxt.exchanges) else default


def download_all(
    exchange: Exchange,
    name: str,
    sessions: Sessions,
    markets: Sequence[tuple[str, str]],
    span: Span,
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Download each market of the exchange of that name.

    `missing` is what the exchange itself does not have in between; `from` and `to` are the opening of the
    first and the close of the last candle that is stored of the span.
    """
    rows = []
    with _bars(quiet) as bars:
        for market in markets:
            store = partial(_store_of, sessions, name)
            new = _download(Download(exchange, store, *market), market, span, bars)
            with bulk_of(sessions, name) as bulk:
                candles = bulk.load(*market, since=span[0], until=span[1])
            told = {"exchange": name, "symbol": market[0], "timeframe": market[1], "new": new}
            rows.append({**told, "missing": _missing(candles), **_reach(candles)})
    return rows


def _reach(candles: CandleArrays) -> dict[str, datetime | None]:
    if not len(candles):
        return {"from": None, "to": None}
    closed = candles.open_time[-1] + candles.interval_ms
    return {"from": time_at(candles.open_time[0]), "to": time_at(closed)}


def _download(download: Download, market: tuple[str, str], span: Span, bars: Progress) -> int:
    holes, length = download.holes(*span), timeframe_duration(market[1])
    bar = bars.add_task(" ".join(market), total=sum((end - start) / length for start, end in holes))
    return sum(download.fill(hole, lambda step: bars.advance(bar, step / length)) for hole in holes)


def import_all(
    files: Sequence[Path],
    sessions: Sessions,
    exchange_of: Callable[[Path], str],
    *,
    symbol: str | None,
    timeframe: str | None,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Import each file; `missing` is what lacks between its candles."""
    rows = []
    with _bars(quiet) as bars:
        for path in files:
            file = read_candles(path, symbol=symbol, timeframe=timeframe)
            candles = file.arrays
            bar = bars.add_task(path.name, total=len(candles))
            exchange = exchange_of(path)
            store, stored = partial(bulk_of, sessions, exchange), partial(_completed, bars, bar)
            new = import_candles(file, store, now=datetime.now(UTC), stored=stored)
            market = {
                "file": path,
                "exchange": exchange,
                "symbol": candles.symbol,
                "timeframe": candles.timeframe,
            }
            rows.append({**market, "candles": len(candles), "new": new, "missing": _missing(candles)})
    return rows


def export_all(
    folder: Path,
    sessions: Sessions,
    series: Sequence[StoredSeries],
    span: Span,
    file_format: str,
    *,
    quiet: bool,
) -> list[dict[str, Any]]:
    """Write one file a market, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with _bars(quiet) as bars:
        for one in bars.track(series, description="markets"):
            path = folder / name_for(one.exchange, one.symbol, one.timeframe, f".{file_format}")
            unfinished = path.with_name(f"{path.name}.part")
            with bulk_of(sessions, one.exchange) as bulk:
                _write(bulk, one, span, unfinished, file_format)
            unfinished.replace(path)
            rows.append(
                {"file": path, "exchange": one.exchange, "symbol": one.symbol, "timeframe": one.timeframe}
            )
    return rows


def _write(bulk: CandleBulk, one: StoredSeries, span: Span, path: Path, file_format: str) -> None:
    since, until = span
    if file_format == "parquet":
        write_parquet(bulk.load(one.symbol, one.timeframe, since=since, until=until), path)
        return
    with path.open("wb") as sink:
        bulk.export(one.symbol, one.timeframe, sink, since=since, until=until)


def _missing(candles: CandleArrays) -> int:
    return sum(fault.count for fault in faults(candles) if fault.kind == "gap")


def _bars(quiet: bool) -> Progress:
    """Bars for whoever watches; a pipe sees none."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_seen = sys.stderr.isatty() and not quiet
    return Progress(*columns, console=Console(stderr=True), disable=not is_seen)


def _completed(bars: Progress, bar: TaskID, candles: int) -> None:
    bars.update(bar, completed=candles)
