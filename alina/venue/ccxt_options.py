"""How ccxt's classes are pointed at a venue. Imports nothing of ccxt."""

from typing import Any

from alina.venue.spec import Dialect


def venue_options(base_url: str, dialect: Dialect = Dialect.BINANCE) -> dict[str, Any]:
    """Constructor options for ccxt's class of that dialect; it merges them deeply over its own."""
    return _kraken(base_url) if dialect is Dialect.KRAKEN else _binance(base_url)


def _binance(base_url: str) -> dict[str, Any]:
    socket_url = base_url.replace("http", "ws", 1)
    return {
        "urls": {
            "api": {
                "public": f"{base_url}/api/v3",
                "private": f"{base_url}/api/v3",
                "sapi": f"{base_url}/sapi/v1",
                "v1": f"{base_url}/api/v1",
                "ws": {"spot": f"{socket_url}/stream/ws", "ws-api": {"spot": f"{socket_url}/ws-api/v3"}},
            }
        },
        "options": {
            "fetchMarkets": {"types": ["spot"]},
            "fetchCurrencies": False,
            "fetchMargins": False,
        },
    }


def _kraken(base_url: str) -> dict[str, Any]:
    return {"urls": {"api": {"public": base_url, "private": base_url}}}
