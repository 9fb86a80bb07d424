"""The account's own trades as ccxt tells them, where one request does not tell all."""

from collections.abc import Iterator
from typing import Any

from alina.exchange.traits import Traits

#: pages of a list of all symbols that are read for the newest trades of one: each costs as much as the first
_PAGES = 4
#: a request names no more trades than this. ccxt asks for twenty at once, and for none after just twenty
_NAMED = 19


def newest(api: Any, traits: Traits, symbol: str) -> list[Any]:
    """The newest trades of a symbol; raw, in no order, each once."""
    if traits.own_trades_page is None:
        return list(api.fetch_my_trades(symbol))
    found = {raw["id"]: raw for page in _pages(api, traits.own_trades_page) for raw in page}
    return [raw for raw in found.values() if raw["symbol"] == symbol]


def _pages(api: Any, size: int) -> Iterator[list[Any]]:
    """Newest first. A trade between two requests moves one to the next page, where it is told again."""
    for number in range(_PAGES):
        page = api.fetch_my_trades(params={"ofs": number * size})
        yield page
        if len(page) < size:
            return


def of_order(api: Any, traits: Traits, symbol: str, exchange_order_id: str) -> list[Any]:
    """The trades of one order, and on an exchange that tells them by symbol only, of others."""
    if api.has["fetchOrderTrades"] is True:
        return list(api.fetch_order_trades(exchange_order_id, symbol))
    if traits.own_trades_page is None:
        return list(api.fetch_my_trades(symbol))
    names = [trade["id"] for trade in api.fetch_order(exchange_order_id, symbol)["trades"]]
    asked = (names[start : start + _NAMED] for start in range(0, len(names), _NAMED))
    return [
        raw
        for some in asked
        for raw in api.fetch_order_trades(exchange_order_id, symbol, params={"trades": some})
    ]
