"""What ccxt's constructor is given: our defaults, the person's options over them, then what is fixed."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import ccxt

from alina.exchange.traits import traits_of

_SPOT_ONLY = {"options": {"defaultType": "spot"}}
#: ccxt looks for it for all requests, and by the path of each: a retry would send an order twice
_RETRIES = "maxRetriesOnFailure"


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
        "options": {_RETRIES: 0},
    }
    keys = {name: value for name, value in (("apiKey", api_key), ("secret", secret)) if value}
    once = _without_retries(options)
    return merged(_SPOT_ONLY, defaults, traits_of(exchange_id).options, once, keys, fixed)


def _without_retries(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_retries(value) if isinstance(value, Mapping) else value
        for name, value in options.items()
        if name != _RETRIES
    }


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts over one another, the last on top: mappings merge deeply, all else is replaced."""
    whole: dict[str, Any] = ccxt.Exchange.deep_extend(*parts)
    return whole
