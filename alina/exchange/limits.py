"""What an exchange says of its limits, and of what we have used of them.

Binance tells its limits in exchangeInfo (`rateLimits`) and our use of them in the headers of every answer.
Kraken tells neither, and refuses with status 200. Any other exchange names the end of a ban at most, as HTTP
has it. Sources: Binance Spot API, "LIMITS"; Kraken REST API, "Rate limits".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

#: of Binance's weight, one of ccxt's costs
WEIGHT_A_COST = Decimal(5)

_REFUSED_TOO_MANY = frozenset({418, 429})
_CODE = re.compile(r'"code":\s*(-\d+)')
_TOO_MANY_REQUESTS, _TOO_MANY_ORDERS = -1003, -1015
#: Kraken's errors, at the beginning of an answer
_KRAKEN_REFUSED = re.compile(
    r'\s*{\s*"error":\s*\["(EAPI|EOrder|EGeneral):(?:Rate limit exceeded|Too many requests)'
)
_USED_WEIGHT = "x-mbx-used-weight-1m"
_ORDER_COUNT = re.compile(r"x-mbx-order-count-(\d+)([smhd])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class Limits:
    """What an exchange takes from one address and from one account."""

    #: Binance's weight; None: not told
    weight_a_minute: int | None
    #: window in ms -> orders placed in it
    orders: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Word:
    """What one answer says of our use."""

    too_many_requests: bool
    too_many_orders: bool
    #: None: no end is named
    retry_after_ms: int | None
    #: Binance's weight, of the address in this minute
    used_weight: int | None
    #: window in ms -> orders of the account in it
    orders: Mapping[int, int]


def limits_of(exchange_info: object) -> Limits:
    """The limits in the answer that names the markets. None of them where it has no such part."""
    told = exchange_info.get("rateLimits", ()) if isinstance(exchange_info, Mapping) else ()
    orders = {_window_ms(one): int(one["limit"]) for one in told if one["rateLimitType"] == "ORDERS"}
    weights = {_window_ms(one): int(one["limit"]) for one in told if one["rateLimitType"] == "REQUEST_WEIGHT"}
    return Limits(weights.get(_UNIT_MS["m"]), orders)


def _window_ms(limit: Mapping[str, Any]) -> int:
    return int(limit["intervalNum"]) * _UNIT_MS[limit["interval"][0].lower()]


def word_of(status: int, headers: Mapping[str, str], body: str) -> Word:
    """What the answer to one request says. A refusal for too many orders is none of too many requests."""
    told = {name.lower(): value for name, value in headers.items()}
    found = _CODE.search(body) if status >= 400 else None
    code = int(found[1]) if found else None
    refused = _KRAKEN_REFUSED.match(body)
    family = refused[1] if refused else None
    seconds = _number(told.get("retry-after"))
    counts = ((_ORDER_COUNT.fullmatch(name), _number(value)) for name, value in told.items())
    return Word(
        too_many_requests=code == _TOO_MANY_REQUESTS
        or family in ("EAPI", "EGeneral")
        or (status in _REFUSED_TOO_MANY and code != _TOO_MANY_ORDERS),
        too_many_orders=code == _TOO_MANY_ORDERS or family == "EOrder",
        retry_after_ms=None if seconds is None else max(1, seconds) * 1000,
        used_weight=_number(told.get(_USED_WEIGHT)),
        orders={
            int(name[1]) * _UNIT_MS[name[2]]: count for name, count in counts if name and count is not None
        },
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
