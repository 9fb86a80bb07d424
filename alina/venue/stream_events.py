"""What the streams say, as Binance's JSON. Times are market time in ms.

Source: Binance Spot API, "WebSocket Streams" and "User Data Streams".
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from alina.domain.market import Balance, BookLevel
from alina.market_data.bars import Bar
from alina.venue.engine import Changes
from alina.venue.orders import Side, Status, VenueFill, VenueOrder
from alina.venue.wire import number

Event = dict[str, Any]

#: the stream's letters for what GET ticker/24hr names in words
_MINI_TICKER = {
    "c": "lastPrice",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
}
_TICKER = {
    **_MINI_TICKER,
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    "x": "prevClosePrice",
    "Q": "lastQty",
    "b": "bidPrice",
    "B": "bidQty",
    "a": "askPrice",
    "A": "askQty",
    "O": "openTime",
    "C": "closeTime",
    "F": "firstId",
    "L": "lastId",
    "n": "count",
}


def ticker(day: Mapping[str, Any], now: int) -> Event:
    """`day` is the answer of GET ticker/24hr."""
    told = {one: day[name] for one, name in _TICKER.items()}
    return {"e": "24hrTicker", "E": now, "s": day["symbol"], **told}


def mini_ticker(day: Mapping[str, Any], now: int) -> Event:
    told = {one: day[name] for one, name in _MINI_TICKER.items()}
    return {"e": "24hrMiniTicker", "E": now, "s": day["symbol"], **told}


def book_ticker(symbol: str, bid: BookLevel, ask: BookLevel, now: int) -> Event:
    return {
        "u": now,
        "s": symbol,
        "b": number(bid.price),
        "B": number(bid.quantity),
        "a": number(ask.price),
        "A": number(ask.quantity),
    }


def kline(symbol: str, interval: str, interval_ms: int, bar: Bar, now: int) -> Event:
    closes = bar.open_ms + interval_ms
    return {
        "e": "kline",
        "E": now,
        "s": symbol,
        "k": {
            "t": bar.open_ms,
            "T": closes - 1,
            "s": symbol,
            "i": interval,
            "f": -1,
            "L": -1,
            "o": number(bar.open),
            "c": number(bar.close),
            "h": number(bar.high),
            "l": number(bar.low),
            "v": number(bar.volume),
            "n": 0,
            "x": now >= closes,
            "q": number(bar.volume * bar.close),
            "V": "0",
            "Q": "0",
            "B": "0",
        },
    }


def depth(symbol: str, first: int, last: int, bids: list[list[str]], asks: list[list[str]]) -> Event:
    """Levels as they are now; those of quantity zero are gone."""
    return {"e": "depthUpdate", "E": last, "s": symbol, "U": first, "u": last, "b": bids, "a": asks}


def trade(fill: VenueFill, now: int) -> Event:
    return {"e": "trade", "t": fill.trade_id, **_traded(fill, now)}


def aggregate_trade(fill: VenueFill, now: int) -> Event:
    """Every trade is its own aggregate."""
    ids = {"a": fill.trade_id, "f": fill.trade_id, "l": fill.trade_id}
    return {"e": "aggTrade", **ids, **_traded(fill, now)}


def _traded(fill: VenueFill, now: int) -> Event:
    return {
        "E": now,
        "s": fill.symbol,
        "p": number(fill.price),
        "q": number(fill.quantity),
        "T": fill.executed_ms,
        "m": fill.is_maker == (fill.side is Side.BUY),
        "M": True,
    }


def account_events(changes: Changes, *, newest_told: int, now: int) -> Iterator[Event]:
    """What one commit did to orders and balances. Orders above the id `newest_told` are new."""
    for order in changes.orders:
        fills = [fill for fill in changes.fills if fill.order_id == order.order_id]
        yield from _order_events(order, fills, is_new=order.order_id > newest_told, now=now)
    if changes.balances:
        yield _position(changes.balances, now)


def _order_events(order: VenueOrder, fills: list[VenueFill], *, is_new: bool, now: int) -> Iterator[Event]:
    """That it was taken or came on the book, each of its trades, and its end where that is none of them."""
    quantity = order.filled_quantity - sum((fill.quantity for fill in fills), Decimal(0))
    notional = order.filled_notional - sum((fill.price * fill.quantity for fill in fills), Decimal(0))
    if is_new or (not fills and order.status.is_open):
        status = Status.PARTIALLY_FILLED if quantity else Status.NEW
        yield _report(order, "NEW", status, quantity, notional, now)
    for fill in fills:
        quantity, notional = quantity + fill.quantity, notional + fill.price * fill.quantity
        status = Status.FILLED if quantity == order.quantity else Status.PARTIALLY_FILLED
        yield {**_report(order, "TRADE", status, quantity, notional, now), **_of_fill(fill)}
    if order.status in (Status.CANCELED, Status.EXPIRED):
        yield _report(order, str(order.status), order.status, quantity, notional, now)


def _report(
    order: VenueOrder, kind: str, status: Status, quantity: Decimal, notional: Decimal, now: int
) -> Event:
    is_cancel = kind == "CANCELED"
    zero = number(Decimal(0))
    return {
        "e": "executionReport",
        "E": now,
        "s": order.symbol,
        "c": f"cancel-{order.order_id}" if is_cancel else order.client_order_id,
        "S": str(order.side),
        "o": str(order.kind),
        "f": str(order.time_in_force),
        "q": number(order.quantity),
        "p": number(order.limit_price or Decimal(0)),
        "P": number(order.stop_price or Decimal(0)),
        "F": zero,
        "g": -1 if order.list_id is None else order.list_id,
        "C": order.client_order_id if is_cancel else "",
        "x": kind,
        "X": str(status),
        "r": "NONE",
        "i": order.order_id,
        "l": zero,
        "z": number(quantity),
        "L": zero,
        "n": "0",
        "N": None,
        "T": order.updated_ms,
        "t": -1,
        "w": order.working_ms is not None and status.is_open,
        "m": False,
        "O": order.placed_ms,
        "Z": number(notional),
        "Y": zero,
        "Q": number(order.quote_quantity or Decimal(0)),
    }


def _of_fill(fill: VenueFill) -> Event:
    return {
        "l": number(fill.quantity),
        "L": number(fill.price),
        "n": number(fill.fee),
        "N": fill.fee_asset,
        "T": fill.executed_ms,
        "t": fill.trade_id,
        "m": fill.is_maker,
        "Y": number(fill.price * fill.quantity),
    }


def _position(balances: Iterable[Balance], now: int) -> Event:
    told = [{"a": one.asset, "f": number(one.free), "l": number(one.locked)} for one in balances]
    return {"e": "outboundAccountPosition", "E": now, "u": now, "B": told}
