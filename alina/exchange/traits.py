"""What ccxt does not unify, in one table: all that this adapter knows of single exchanges.

An exchange that is not listed is trusted with the least.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any
from uuid import UUID

import ccxt


class Finding(Enum):
    """What ccxt makes of the question for an order by its client order id."""

    #: `fetch_order` and `cancel_order` send it, so that "not found" means this order
    BY_ORDER = auto()
    #: `cancel_order` sends it, and the lists of open and of closed orders are narrowed to it: an order that
    #: is in neither, asked for in this sequence, is not there
    BY_NARROWED_LISTS = auto()
    #: it is sent nowhere: lists can be searched, and absence from a list proves nothing
    BY_SEARCH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class OlderTrades:
    """How own trades are asked for, newest first, `size` at a time: by parameters of the exchange's own."""

    size: int
    #: the parameter that names the order
    order: str
    #: the parameter that asks for those older than a trade, and what that trade is named by in its answer; or
    #: than a page, and what names the next one in it
    older_than: str
    named_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """One exchange."""

    finding: Finding = Finding.BY_SEARCH
    #: a stop order is kept among the others, under one id before and after it is triggered. Most keep it in a
    #: list of its own, so that its fate could not be told: there the stop is watched by us
    lists_stops_with_orders: bool = False
    #: requests bear a time stamp, and one outside of the receive window is refused
    has_receive_window: bool = False
    #: a list for one symbol is a JSON list of that symbol's entries and of no others
    lists_one_symbol: bool = False
    #: own trades come so many at a time, of all symbols, further ones by an offset; an order names its own
    own_trades_page: int | None = None
    #: trades of one order come so many at a time at most, the newest, or from an id on
    order_trades_page: int | None = None
    #: trades of one order come newest first, older ones by the oldest of the page before
    older_trades: OlderTrades | None = None
    #: levels of a side that an order book is asked for, where not any number will do
    book_levels: int | None = None
    #: ccxt sends the quantity of a market buy as the quote to spend, without a word
    buys_by_cost: bool = False
    #: client order ids must be UUIDs or short
    takes_uuids: bool = False
    #: merged into ccxt's constructor
    options: Mapping[str, Any] = field(default_factory=dict)

    def spelled(self, client_order_id: str) -> str:
        """A client order id as this exchange takes it. Ours are `al` and 30 hex digits; a UUID has 32."""
        if self.takes_uuids and re.fullmatch("al[0-9a-f]{30}", client_order_id):
            return str(UUID(f"a1{client_order_id[2:]}"))
        return client_order_id

    def read(self, told: str) -> str:
        """The inverse of `spelled`."""
        digits = told.replace("-", "")
        if self.takes_uuids and re.fullmatch("a1[0-9a-f]{30}", digits):
            return f"al{digits[2:]}"
        return told


_BINANCE = Traits(
    finding=Finding.BY_ORDER,
    lists_stops_with_orders=True,
    has_receive_window=True,
    lists_one_symbol=True,
    order_trades_page=1000,
    # without these it asks the futures, margin and wallet services before the first spot request
    options={
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}
    },
)
_KRAKEN = Traits(
    finding=Finding.BY_NARROWED_LISTS,
    lists_stops_with_orders=True,
    takes_uuids=True,
    own_trades_page=50,
    # answers that ccxt knows no meaning of: with one of them no order was taken
    options={
        "exceptions": {
            "exact": {
                "EAPI:Invalid signature": ccxt.AuthenticationError,
                "EOrder:Cost minimum not met": ccxt.InvalidOrder,
                "EOrder:Invalid price": ccxt.InvalidOrder,
                "EOrder:Orders limit exceeded": ccxt.InvalidOrder,
                "EOrder:Post only order": ccxt.InvalidOrder,
                "EOrder:Tick size check failed": ccxt.InvalidOrder,
            }
        }
    },
)
# not HTX: it forgets a client order id two hours after it was placed, or eight if it is open, and answers a
# cancel of one that it does not know with status ok
_ASKED = Traits(finding=Finding.BY_ORDER)
_ASKED_BY_UUID = replace(_ASKED, takes_uuids=True)
_OKX = replace(
    _ASKED, older_trades=OlderTrades(size=100, order="ordId", older_than="after", named_by="billId")
)
_KUCOIN = replace(
    _ASKED, older_trades=OlderTrades(size=100, order="orderId", older_than="lastId", named_by="id")
)
_BITGET = replace(
    _ASKED, older_trades=OlderTrades(size=100, order="orderId", older_than="idLessThan", named_by="tradeId")
)
_BYBIT = Traits(
    # on its classic accounts too, which take a cost
    options={"options": {"createOrder": {"createMarketBuyOrderRequiresPrice": True}}},
    older_trades=OlderTrades(size=100, order="orderId", older_than="cursor", named_by="nextPageCursor"),
)
_TABLE = {
    "binance": _BINANCE,
    "binanceus": _BINANCE,
    "kraken": _KRAKEN,
    "bitget": _BITGET,
    "kucoin": _KUCOIN,
    **dict.fromkeys(("okx", "okxus"), _OKX),
    "htx": Traits(book_levels=150),
    "mexc": _ASKED,
    **dict.fromkeys(("bybit", "bybiteu", "bybitid"), _BYBIT),
    **dict.fromkeys(("coinmate", "luno"), Traits(buys_by_cost=True)),
    **dict.fromkeys(("bitvavo", "coinbaseexchange"), _ASKED_BY_UUID),
}


def traits_of(exchange_id: str) -> Traits:
    return _TABLE.get(exchange_id, Traits())
