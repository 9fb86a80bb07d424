"""How ccxt's `binance` class is pointed at a venue. Imports nothing of ccxt."""

from typing import Any


def venue_options(base_url: str) -> dict[str, Any]:
    """Constructor options for `ccxt.binance`; it merges them deeply over its own."""
    return {
        "urls": {
            "api": {
                "public": f"{base_url}/api/v3",
                "private": f"{base_url}/api/v3",
                "sapi": f"{base_url}/sapi/v1",
                "v1": f"{base_url}/api/v1",
            }
        },
        "options": {
            "fetchMarkets": {"types": ["spot"]},
            "fetchCurrencies": False,
            "fetchMargins": False,
        },
    }
