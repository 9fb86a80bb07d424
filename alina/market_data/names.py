"""Which market a file of candles is of, as its name tells."""

import re
from dataclasses import dataclass
from pathlib import Path

_EXCHANGE = re.compile(r"([a-z][a-z0-9]+)-(?=[A-Z0-9]{2,15}[_-])")
_SYMBOL = re.compile(r"(?<![A-Z0-9])([A-Z0-9]{2,15})[_-]([A-Z0-9]{2,15})(?![A-Z0-9])")
_TIMEFRAME = re.compile(r"(?<![A-Za-z0-9])([1-9][0-9]{0,3}[mhdw])(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Named:
    """What a name tells; None: it does not."""

    symbol: str | None
    timeframe: str | None
    exchange: str | None


def named(path: Path) -> Named:
    """E.g. binance-BTC_USDT-4h.csv, BTC_USDT-5m.feather, BTC-USD.parquet."""
    symbol, timeframe = _SYMBOL.search(path.name), _TIMEFRAME.search(path.name)
    exchange = _EXCHANGE.match(path.name)
    return Named(
        f"{symbol[1]}/{symbol[2]}" if symbol else None,
        timeframe[1] if timeframe else None,
        exchange[1] if exchange else None,
    )


def name_for(exchange: str, symbol: str, timeframe: str, suffix: str) -> str:
    """The name of which `named` tells the same: binance-BTC_USDT-5m.parquet."""
    return f"{exchange}-{symbol.replace('/', '_')}-{timeframe}{suffix}"
