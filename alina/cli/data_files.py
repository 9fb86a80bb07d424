"""`--data`: which file of candles is which market."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from alina.config import Settings
from alina.config.units import duration_text
from alina.errors import ConfigError
from alina.market_data.names import named
from alina.venue.feeds import load
from alina.venue.spec import MIRROR, Dialect, Listing, names_a_file


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


def mirrored(settings: Settings, exchange_id: str) -> dict[str, str]:
    """The environment in which these settings trade on paper against an exchange's live market.

    The venue speaks that exchange's own dialect where it knows it. Raises ConfigError for an exchange that
    ccxt does not know.
    """
    import ccxt  # half a second that the other commands need not wait

    if exchange_id not in ccxt.exchanges:
        raise ConfigError(f"--paper {exchange_id}: ccxt knows no such exchange; see `alina exchanges`")
    market = settings.market
    dialect = exchange_id if exchange_id in set(Dialect) else Dialect.BINANCE.value
    data = [f"{symbol}={MIRROR}{exchange_id}:{market.timeframe}" for symbol in market.symbols]
    return {
        "ALINA_MARKET__EXCHANGE__MODE": "paper",
        "ALINA_MARKET__EXCHANGE__ID": dialect,
        "ALINA_MARKET__VENUE__DATA": json.dumps(data),
        "ALINA_MARKET__VENUE__SPEED": "1",
    }


def timeframe_of(chosen: Sequence[Listing], *, warmup: int) -> str:
    """The timeframe that every file can show: the longest of theirs. Raises DataError for a bad file."""
    longest = max(load(listing, warmup=warmup).interval_ms for listing in chosen)
    return duration_text(timedelta(milliseconds=longest))
