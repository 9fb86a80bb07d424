"""Own trades of an exchange that lists those of all symbols, a page at a time."""

from itertools import chain
from typing import Any

import pytest

from alina.exchange import own_trades
from alina.exchange.traits import Traits, traits_of


class Listing:
    """What of ccxt is asked here, over trades that are newest first; each request is noted."""

    def __init__(self, trades: int) -> None:
        self.has = {"fetchOrderTrades": "emulated"}
        self.trades = [{"id": f"T{number}", "symbol": "AB"[number % 2]} for number in range(trades)]
        self.asked: list[Any] = []

    def fetch_my_trades(self, symbol: str | None = None, params: dict[str, int] | None = None) -> list[Any]:
        offset = (params or {}).get("ofs", 0)
        self.asked.append(offset)
        return [one for one in self.trades[offset : offset + 50] if symbol in (None, one["symbol"])]

    def fetch_order(self, _name: str, _symbol: str) -> dict[str, Any]:
        return {"trades": [{"id": one["id"]} for one in self.trades]}

    def fetch_order_trades(self, _name: str, _symbol: str, params: dict[str, list[str]]) -> list[Any]:
        self.asked.append(len(params["trades"]))
        return [one for one in self.trades if one["id"] in params["trades"]]


@pytest.mark.parametrize(("trades", "asked"), [(0, [0]), (49, [0]), (50, [0, 50]), (120, [0, 50, 100])])
def test_pages_are_read_until_one_is_short(trades: int, asked: list[int]) -> None:
    api = Listing(trades)
    found = own_trades.newest(api, traits_of("kraken"), "A")
    assert [one["id"] for one in found] == [one["id"] for one in api.trades if one["symbol"] == "A"]
    assert api.asked == asked


def test_no_more_pages_are_read_than_a_comparison_is_worth() -> None:
    api = Listing(1000)
    own_trades.newest(api, traits_of("kraken"), "A")
    assert api.asked == [0, 50, 100, 150]


@pytest.mark.parametrize(("trades", "asked"), [(0, []), (1, [1]), (20, [19, 1]), (40, [19, 19, 2])])
def test_an_order_s_trades_are_asked_for_by_name_and_never_twenty_at_once(
    trades: int, asked: list[int]
) -> None:
    api = Listing(trades)
    assert list(chain(*own_trades.of_order(api, traits_of("kraken"), "A", "O1"))) == api.trades
    assert api.asked == asked


def test_an_exchange_that_lists_one_symbol_is_asked_once() -> None:
    api = Listing(60)
    assert all(one["symbol"] == "B" for one in own_trades.newest(api, Traits(), "B"))
    assert api.asked == [0]
