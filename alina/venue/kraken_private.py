"""Kraken's signed doors: orders, their fates and the account."""

from collections.abc import Iterable
from typing import Any

from alina.venue import kraken_wire as wire
from alina.venue.kraken_names import asset_code, number_of, order_txid, trade_txid
from alina.venue.kraken_public import named_market
from alina.venue.local_exchange import LocalExchange
from alina.venue.orders import Kind, OrderRequest, Side, TimeInForce, VenueFill, VenueOrder
from alina.venue.params import Params
from alina.venue.refusal import Refusal
from alina.venue.store import Page

#: rows of one answer
_PAGE = 50
_MOST_ROWS = 10_000
_KINDS = {
    "market": Kind.MARKET,
    "limit": Kind.LIMIT,
    "stop-loss": Kind.STOP_LOSS,
    "stop-loss-limit": Kind.STOP_LOSS_LIMIT,
    "take-profit": Kind.TAKE_PROFIT,
    "take-profit-limit": Kind.TAKE_PROFIT_LIMIT,
}
#: in quote is what fees are anyway
_FLAGS = {"post", "viqc", "fciq", "nompp"}
#: what an order may say; anything else, passed over in silence, might have changed what is done
_OF_AN_ORDER = frozenset(
    (
        *("nonce", "otp", "pair", "type", "ordertype", "volume", "price", "price2", "oflags"),
        *("timeinforce", "cl_ord_id", "validate", "stptype"),
    )
)


def add_order(exchange: LocalExchange, params: Params, now: int) -> Any:
    request = _request(exchange, params)
    rules = exchange.market(request.symbol).rules
    told: dict[str, Any] = {"descr": {"order": wire.description(request, rules)}}
    if params.has("validate") and params.text("validate").lower() == "true":
        exchange.check(request, now)
        return told
    order, _ = exchange.place(request, now)
    return {**told, "txid": [order_txid(order.order_id)]}


def _request(exchange: LocalExchange, params: Params) -> OrderRequest:
    market = named_market(exchange, params.text("pair"))
    flags = set(params.text("oflags").split(",")) if params.has("oflags") else set()
    params.only(_OF_AN_ORDER)
    if flags - _FLAGS:
        raise Refusal(-1100, "A parameter is not supported.")
    kind = _kind(params, is_post_only="post" in flags)
    amount, in_quote = params.amount("volume"), "viqc" in flags
    if in_quote and kind is not Kind.MARKET:
        raise Refusal(-1100, "viqc is for market orders.")
    return OrderRequest(
        symbol=market.rules.symbol,
        client_order_id=params.optional_client_order_id("cl_ord_id"),
        side=_side(params),
        kind=kind,
        time_in_force=_time_in_force(params, kind),
        quantity=None if in_quote else amount,
        quote_quantity=amount if in_quote else None,
        limit_price=None if kind.is_market else params.amount("price2" if kind.is_stop else "price"),
        stop_price=params.amount("price") if kind.is_stop else None,
    )


def _kind(params: Params, *, is_post_only: bool) -> Kind:
    kind = _KINDS.get(params.text("ordertype"))
    if kind is None or (is_post_only and kind is not Kind.LIMIT):
        raise Refusal(-1116, "Invalid ordertype.")
    return Kind.LIMIT_MAKER if is_post_only else kind


def _side(params: Params) -> Side:
    try:
        return Side(params.text("type").upper())
    except ValueError:
        raise Refusal(-1117, "Invalid type.") from None


def _time_in_force(params: Params, kind: Kind) -> TimeInForce:
    if kind.is_market or not params.has("timeinforce"):
        return TimeInForce.GTC
    return params.choice("timeinforce", TimeInForce, -1115, "Invalid timeinforce.")


def cancel_order(exchange: LocalExchange, params: Params, now: int) -> Any:
    orders = [order for order in exchange.engine.open_orders() if _is_named(order, params)]
    if not orders:
        raise Refusal(-2011, "Unknown order.")
    return {"count": len(exchange.cancel(orders, now))}


def cancel_all(exchange: LocalExchange, _params: Params, now: int) -> Any:
    return {"count": len(exchange.cancel(exchange.engine.open_orders(), now))}


def _is_named(order: VenueOrder, params: Params) -> bool:
    if params.has("cl_ord_id"):
        return order.client_order_id == params.text("cl_ord_id")
    return order.order_id == number_of(params.text("txid"))


def open_orders(exchange: LocalExchange, params: Params, _now: int) -> Any:
    wanted = params.text("cl_ord_id") if params.has("cl_ord_id") else None
    shown = [one for one in exchange.engine.open_orders() if exchange.shows(one.order_id)]
    named = [one for one in shown if wanted in (None, one.client_order_id)]
    return {"open": _told(exchange, params, named)}


def closed_orders(exchange: LocalExchange, params: Params, _now: int) -> Any:
    """The newest first; `start` and `end` are times (s) at which orders were placed."""
    offset = params.optional_integer("ofs") or 0
    if params.has("cl_ord_id"):
        found = _of_client(exchange, params.text("cl_ord_id"))
    else:
        most = offset + _PAGE + len(exchange.engine.open_orders())
        found = _of_all_markets(exchange, _page(params, most))
    closed = [one for one in found if not one.status.is_open and exchange.shows(one.order_id)]
    closed.sort(key=lambda one: (one.updated_ms, one.order_id), reverse=True)
    return {"closed": _told(exchange, params, closed[offset : offset + _PAGE]), "count": len(closed)}


def _of_client(exchange: LocalExchange, client_order_id: str) -> list[VenueOrder]:
    found = (exchange.store.order(symbol, client_order_id=client_order_id) for symbol in exchange.markets)
    return [order for order in found if order is not None]


def _of_all_markets(exchange: LocalExchange, page: Page) -> list[VenueOrder]:
    return [order for symbol in exchange.markets for order in exchange.store.orders(symbol, page)]


def query_orders(exchange: LocalExchange, params: Params, _now: int) -> Any:
    """Those of the named ones that there are."""
    numbers = [number_of(txid) for txid in params.text("txid").split(",")][:_PAGE]
    found = (
        exchange.store.order(symbol, order_id=number)
        for number in numbers
        for symbol in exchange.markets
        if number is not None
    )
    shown = [one for one in found if one is not None and exchange.shows(one.order_id)]
    return _told(exchange, params, shown)


def trades_history(exchange: LocalExchange, params: Params, _now: int) -> Any:
    """The newest first."""
    offset = params.optional_integer("ofs") or 0
    page = _page(params, offset + _PAGE)
    fills = [fill for symbol in exchange.markets for fill in _fills(exchange, symbol, page)]
    fills.sort(key=lambda fill: fill.trade_id, reverse=True)
    return {"trades": _told_trades(exchange, fills[offset : offset + _PAGE]), "count": len(fills)}


def query_trades(exchange: LocalExchange, params: Params, _now: int) -> Any:
    numbers = [number_of(txid) for txid in params.text("txid").split(",")][:_PAGE]
    fills = [
        fill
        for number in numbers
        for symbol in exchange.markets
        if number is not None
        for fill in _fills(exchange, symbol, Page(from_id=number, limit=1))
        if fill.trade_id == number
    ]
    return _told_trades(exchange, fills)


def _fills(
    exchange: LocalExchange, symbol: str, page: Page | None = None, *, order_id: int | None = None
) -> list[VenueFill]:
    fills = exchange.store.fills(symbol, page or Page(), order_id=order_id)
    return [fill for fill in fills if exchange.shows_trades(fill.order_id)]


def balances(exchange: LocalExchange, _params: Params, _now: int) -> Any:
    return {asset_code(one.asset): wire.balance(one)["balance"] for one in exchange.engine.accounts.all()}


def extended_balances(exchange: LocalExchange, _params: Params, _now: int) -> Any:
    return {asset_code(one.asset): wire.balance(one) for one in exchange.engine.accounts.all()}


def trade_volume(exchange: LocalExchange, params: Params, _now: int) -> Any:
    return wire.trade_volume(named_market(exchange, params.text("pair")).rules, exchange.fees)


def _page(params: Params, limit: int) -> Page:
    """`start` and `end` in whole seconds."""
    start, end = params.optional_integer("start"), params.optional_integer("end")
    return Page(
        start_ms=None if start is None else start * 1000,
        end_ms=None if end is None else end * 1000,
        limit=limit if start is None else _MOST_ROWS,  # from a moment on, rows come oldest first
    )


def _told(exchange: LocalExchange, params: Params, orders: Iterable[VenueOrder]) -> dict[str, Any]:
    with_trades = params.has("trades") and params.text("trades").lower() == "true"
    return {
        order_txid(one.order_id): wire.order(
            one,
            exchange.markets[one.symbol].rules,
            _fills(exchange, one.symbol, order_id=one.order_id),
            with_trades=with_trades,
        )
        for one in orders
    }


def _told_trades(exchange: LocalExchange, fills: Iterable[VenueFill]) -> dict[str, Any]:
    return {
        trade_txid(one.trade_id): wire.own_trade(one, exchange.markets[one.symbol].rules) for one in fills
    }
