"""The account's own trades as ccxt tells them, where one request does not tell all."""

from collections.abc import Iterator
from typing import Any

from alina.exchange.traits import OlderTrades, Traits

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


def of_order(api: Any, traits: Traits, symbol: str, exchange_order_id: str) -> Iterator[list[Any]]:
    """The trades of one order, an answer at a time; of others too where only a symbol can be named."""
    if traits.older_trades is not None:
        yield from _of_order_backwards(api, traits.older_trades, symbol, exchange_order_id)
    elif traits.order_trades_page is not None:
        yield from _of_order_by_pages(api, traits.order_trades_page, symbol, exchange_order_id)
    elif api.has["fetchOrderTrades"] is True:
        yield api.fetch_order_trades(exchange_order_id, symbol)
    elif traits.own_trades_page is None:
        yield api.fetch_my_trades(symbol)
    else:
        names = [trade["id"] for trade in api.fetch_order(exchange_order_id, symbol)["trades"]]
        for start in range(0, len(names), _NAMED):
            some = names[start : start + _NAMED]
            yield api.fetch_order_trades(exchange_order_id, symbol, params={"trades": some})


def _of_order_by_pages(api: Any, size: int, symbol: str, exchange_order_id: str) -> Iterator[list[Any]]:
    """A full page is the newest one: then all are read, from the first on. Raises ValueError."""
    page = api.fetch_order_trades(exchange_order_id, symbol, limit=size)
    if len(page) < size:
        yield page
    first = 0
    while len(page) == size:
        page = api.fetch_order_trades(exchange_order_id, symbol, limit=size, params={"fromId": first})
        names = [int(raw["id"]) for raw in page]
        if min(names, default=first) < first:
            raise ValueError(f"asked for the trades from {first} on, told of {min(names)}")
        yield page
        first = max(names, default=first) + 1


def _of_order_backwards(
    api: Any, older: OlderTrades, symbol: str, exchange_order_id: str
) -> Iterator[list[Any]]:
    """A full page may be followed by an older one. Raises ValueError."""
    asked: dict[str, Any] = {older.order: exchange_order_id}
    seen: set[Any] = set()
    while True:
        page = api.fetch_my_trades(symbol, limit=older.size, params=asked)
        yield page
        marks = [raw["info"][older.named_by] for raw in page if older.named_by in raw["info"]]
        if len(page) < older.size or not marks:
            return
        oldest = marks[0] if len(marks) == 1 else min(map(int, marks))  # one for a page is a cursor
        if oldest in seen:
            raise ValueError(f"asked for the trades before {oldest}, told of them again")
        seen.add(oldest)
        asked = {**asked, older.older_than: oldest}
