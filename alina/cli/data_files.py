"""`--data`: which file of candles is which market."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from alina.config.units import duration_text
from alina.errors import ConfigError
from alina.market_data.names import named
from alina.venue.feeds import load
from alina.venue.spec import Listing, names_a_file


def listings(entries: Sequence[str]) -> tuple[Listing, ...]:
    """SYMBOL=FILE, FILE alone where its name tells (exchange-BTC_USDT-4h.csv), or SYMBOL=sample.

    Or SYMBOL=synthetic:SEED, a market made from that seed.

    Raises ConfigError for what names no market or no file.
    """
    return tuple(_listing(entry) for entry in entries)


def _listing(entry: str) -> Listing:
    symbol, equals, file = entry.partition("=")
    if not equals:
        file, found = entry, named(Path(entry)).symbol
        if found is None:
            raise ConfigError(f"--data {entry}: which market is it? Write SYMBOL=FILE, e.g. BTC/USDT={entry}")
        symbol = found
    if not names_a_file(file):
        return Listing(symbol, file)
    if not Path(file).is_file():
        raise ConfigError(f"--data {entry}: {file} is not there: correct the path")
    return Listing(symbol, str(Path(file).absolute()))


def timeframe_of(chosen: Sequence[Listing], *, warmup: int) -> str:
    """The timeframe that every file can show: the longest of theirs. Raises DataError for a bad file."""
    longest = max(load(listing, warmup=warmup).interval_ms for listing in chosen)
    return duration_text(timedelta(milliseconds=longest))
