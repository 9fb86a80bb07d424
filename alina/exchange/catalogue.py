"""What each exchange supports, as ccxt and our own table of traits know it. Asks nobody."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ccxt

from alina.domain.market import timeframe_duration
from alina.errors import InvalidRecord
from alina.exchange.traits import Finding, traits_of

_FOUND_BY = {
    Finding.BY_ORDER: "client order id",
    Finding.BY_NARROWED_LISTS: "client order id",
    Finding.BY_SEARCH: "lists",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """One exchange that has spot markets."""

    id: str
    name: str
    #: how the fate of an order is told: "client order id", or "lists", whose silence proves nothing
    orders_found_by: str
    #: where a protective stop waits: "exchange", or "here" and the market is watched
    stops_wait_at: str
    #: the exchange itself takes stop orders, whether or not they could be followed
    has_stop_orders: bool
    #: lengths of a candle that we know, shortest first
    timeframes: tuple[str, ...]
    has_testnet: bool


def supported() -> list[Support]:
    """Every spot exchange that ccxt knows, by id."""
    found = (getattr(ccxt, exchange_id)() for exchange_id in sorted(ccxt.exchanges))
    return [_support(api) for api in found if api.has["spot"]]


def _support(api: Any) -> Support:
    traits = traits_of(api.id)
    return Support(
        id=api.id,
        name=api.name,
        orders_found_by=_FOUND_BY[traits.finding],
        stops_wait_at="exchange" if traits.lists_stops_with_orders else "here",
        has_stop_orders=_has_stop_orders(api),
        timeframes=_timeframes(api.timeframes or ()),
        has_testnet=bool(api.urls.get("test")),
    )


def _timeframes(offered: Iterable[str]) -> tuple[str, ...]:
    known = {}
    for timeframe in offered:
        with suppress(InvalidRecord):  # seconds, months and words
            known[timeframe] = timeframe_duration(timeframe)
    return tuple(sorted(known, key=known.__getitem__))


def _has_stop_orders(api: Any) -> bool:
    told = ((api.features or {}).get("spot") or {}).get("createOrder") or {}
    return bool(told.get("stopLossPrice") or told.get("triggerPrice"))
