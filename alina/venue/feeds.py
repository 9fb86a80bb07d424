"""What a listing replays: recorded candles or trades of several kinds of file, or a market made from a seed.

Files are CSV, parquet, feather and ccxt's JSON. Trades become candles of a minute, and their path inside it
is the replay's own.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from alina.errors import ConfigError, DataError
from alina.market_data.bars import CHUNK, Bar, BarColumns
from alina.venue.candles_csv import INTERVALS, Series, load_series, packed, series_of
from alina.venue.spec import SAMPLE, SYNTHETIC, Listing
from alina.venue.synthetic import synthetic_series

if TYPE_CHECKING:
    from alina.venue.trades_file import Trade

_MINUTE_MS = 60_000


def load(listing: Listing, *, warmup: int) -> Series:
    """The candles of a listing. Raises DataError naming the file, the row and the remedy, or ConfigError."""
    if listing.data.startswith(SYNTHETIC):
        return _synthetic(listing.data)
    path = listing.path
    if listing.data == SAMPLE or not path.is_file():
        return load_series(path, warmup=warmup)
    from alina.venue.trades_file import read_trades  # pyarrow takes its time to load

    trades = read_trades(path)
    if trades is None and path.name.endswith((".csv", ".csv.gz")):
        return load_series(path, warmup=warmup)
    bars = _of_candles(path, listing.symbol) if trades is None else _of_trades(path, trades)
    return series_of(path, bars, warmup=warmup)


def _synthetic(data: str) -> Series:
    seed, _, timeframe = data.removeprefix(SYNTHETIC).partition(":")
    if not seed.isdecimal() or (timeframe and timeframe not in INTERVALS):
        raise ConfigError(f"{data!r}: write synthetic:SEED or synthetic:SEED:TIMEFRAME, e.g. synthetic:7:1h")
    return synthetic_series(int(seed), timeframe or "5m")


def _of_candles(path: Path, symbol: str) -> BarColumns:
    from alina.market_data.files import read_candles

    rows, parts = read_candles(path, symbol=symbol).rows, []
    for start in range(0, rows.num_rows, CHUNK):
        times, *figures = (column.to_pylist() for column in rows.slice(start, CHUNK).columns)
        parts.append(packed(path, [times, *figures], first_line=start + 1))
    return BarColumns.joined(parts)


def _of_trades(path: Path, trades: Iterable["Trade"]) -> BarColumns:
    try:
        return BarColumns.of(_minutes(trades))
    except ValueError as error:
        raise DataError(f"{path}: the trades of a minute together: {error}; round the amounts") from None


def _minutes(trades: Iterable["Trade"]) -> Iterator[Bar]:
    """Candles of a minute, each of its trades in their order; a minute without one has none."""
    for minute, group in groupby(trades, key=lambda trade: trade.ms // _MINUTE_MS):
        _, prices, amounts = zip(*group, strict=True)
        yield Bar(
            minute * _MINUTE_MS,
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
            sum(amounts, Decimal(0)),
        )
