"""What ccxt's constructor is given: our defaults, the person's options over them, then what is fixed."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import ccxt

from alina.exchange.traits import traits_of

_SPOT_ONLY = {"options": {"defaultType": "spot"}}
#: ccxt looks for these for all requests and for single ones. A retry would send an order twice; a market buy
#: without a price would send the quantity, where an exchange takes a cost, as the cost
_FIXED = {"maxRetriesOnFailure": 0, "createMarketBuyOrderRequiresPrice": True}


def client_options(
    exchange_id: str,
    *,
    api_key: str | None,
    secret: str | None,
    options: Mapping[str, Any],
    timeout: timedelta,
) -> dict[str, Any]:
    """The constructor mapping of one ccxt exchange, merged deeply: mappings merge, all else is replaced."""
    defaults: dict[str, Any] = {"enableRateLimit": True, "timeout": timeout // timedelta(milliseconds=1)}
    fixed: dict[str, Any] = {
        "number": str,  # prices and amounts keep the exchange's own digits
        "enableLastJsonResponse": True,  # the only sign that an answer was no JSON at all
        "options": _FIXED,
    }
    keys = {name: value for name, value in (("apiKey", api_key), ("secret", secret)) if value}
    free = _without_fixed(options)
    return merged(_SPOT_ONLY, defaults, traits_of(exchange_id).options, free, keys, fixed)


def _without_fixed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_fixed(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
        if name not in _FIXED
    }


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts over one another, the last on top: mappings merge deeply, all else is replaced."""
    whole: dict[str, Any] = ccxt.Exchange.deep_extend(*parts)
    return whole
