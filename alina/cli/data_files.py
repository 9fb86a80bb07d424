"""`--data`: which file of candles is which market."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from alina.config.units import duration_text
from alina.errors import ConfigError
from alina.venue.feeds import load
from alina.venue.spec import Listing, names_a_file

_IN_A_NAME = re.compile(r"(?<![A-Z0-9])([A-Z0-9]{2,15})[_-]([A-Z0-9]{2,15})(?![A-Z0-9])")


def listings(entries: Sequence[str]) -> tuple[Listing, ...]:
    """SYMBOL=FILE, FILE alone where its name tells (exchange-BTC_USDT-4h.csv), or SYMBOL=sample.

    Or SYMBOL=synthetic:SEED, a market made from that seed.

    Raises ConfigError for what names no market or no file.
    """
    return tuple(_listing(entry) for entry in entries)


def _listing(entry: str) -> Listing:
    symbol, equals, file = entry.partition("=")
    if not equals:
        file, found = entry, _IN_A_NAME.search(Path(entry).name)
        if found is None:
            raise ConfigError(f"--data {entry}: which market is it? Write SYMBOL=FILE, e.g. BTC/USDT={entry}")
        symbol = f"{found[1]}/{found[2]}"
    if not names_a_file(file):
        return Listing(symbol, file)
    if not Path(file).is_file():
        raise ConfigError(f"--data {entry}: {file} is not there: correct the path")
    return Listing(symbol, str(Path(file).absolute()))


def timeframe_of(chosen: Sequence[Listing], *, warmup: int) -> str:
    """The timeframe that every file can show: the longest of theirs. Raises DataError for a bad file."""
    longest = max(load(listing, warmup=warmup).interval_ms for listing in chosen)
    return duration_text(timedelta(milliseconds=longest))
