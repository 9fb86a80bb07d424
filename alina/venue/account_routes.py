"""The signed doors: orders, their fates and the account."""

from typing import Any

from alina.venue import wire
from alina.venue.local_exchange import LocalExchange
from alina.venue.orders import Kind, OrderRequest, Side, TimeInForce, VenueOrder
from alina.venue.params import OF_SIGNATURES, Params
from alina.venue.refusal import Refusal, order_refused
from alina.venue.store import Page

#: what an order may say. An account's own orders never trade with one another, so the mode of its prevention
#: changes nothing; a strategy is a label
_OF_AN_ORDER = frozenset(
    (
        *OF_SIGNATURES,
        *("symbol", "side", "type", "timeInForce", "quantity", "quoteOrderQty", "price", "stopPrice"),
        *("trailingDelta", "icebergQty", "newClientOrderId", "newOrderRespType"),
        *("selfTradePreventionMode", "strategyId", "strategyType"),
    )
)


def place_order(exchange: LocalExchange, params: Params, now: int) -> Any:
    return wire.placed(*exchange.place(_request(exchange, params), now))


def check_order(exchange: LocalExchange, params: Params, now: int) -> Any:
    exchange.check(_request(exchange, params), now)
    return {}


def _request(exchange: LocalExchange, params: Params) -> OrderRequest:
    params.only(_OF_AN_ORDER)
    kind = params.choice("type", Kind, -1116, "Invalid orderType.")
    symbol = exchange.market(params.text("symbol")).rules.symbol
    side = params.choice("side", Side, -1117, "Invalid side.")
    client_order_id = params.optional_client_order_id("newClientOrderId")
    _refuse_what_does_not_fit(params, kind)
    by_budget = params.has("quoteOrderQty")
    return OrderRequest(
        symbol=symbol,
        client_order_id=client_order_id,
        side=side,
        kind=kind,
        time_in_force=_time_in_force(params, kind),
        quantity=None if by_budget else params.amount("quantity"),
        quote_quantity=params.amount("quoteOrderQty") if by_budget else None,
        limit_price=None if kind.is_market else params.amount("price"),
        stop_price=params.amount("stopPrice") if kind.is_stop else None,
    )


def _refuse_what_does_not_fit(params: Params, kind: Kind) -> None:
    """Parameters of other types of orders."""
    unfit = {
        "price": kind.is_market,
        "timeInForce": kind.is_market or kind is Kind.LIMIT_MAKER,
        "quoteOrderQty": kind is not Kind.MARKET or params.has("quantity"),
        "stopPrice": not kind.is_stop,
    }
    for name, is_unfit in unfit.items():
        if is_unfit and params.has(name):
            raise Refusal(-1106, f"Parameter '{name}' sent when not required.")
    if params.has("trailingDelta"):
        raise order_refused("Trailing stop orders are not supported for this symbol.")
    if params.has("icebergQty"):
        raise order_refused("Iceberg orders are not supported for this symbol.")


def _time_in_force(params: Params, kind: Kind) -> TimeInForce:
    if kind.is_market or kind is Kind.LIMIT_MAKER:
        return TimeInForce.GTC
    return params.choice("timeInForce", TimeInForce, -1115, "Invalid timeInForce.")


def find_order(exchange: LocalExchange, params: Params, _now: int) -> Any:
    order = _named(exchange, params)
    if order is None or not exchange.shows(order.order_id):
        raise Refusal(-2013, "Order does not exist.")
    return wire.order(order)


def cancel_order(exchange: LocalExchange, params: Params, now: int) -> Any:
    named = _named(exchange, params, open_only=True)
    if named is None:
        raise Refusal(-2011, "Unknown order sent.")
    [order] = exchange.cancel([named], now)
    return wire.canceled(
        order, params.optional_client_order_id("newClientOrderId") or f"cancel-{order.order_id}"
    )


def open_orders(exchange: LocalExchange, params: Params, _now: int) -> Any:
    symbol = exchange.market(params.text("symbol")).rules.symbol if params.has("symbol") else None
    return [wire.order(one) for one in exchange.engine.open_orders(symbol) if exchange.shows(one.order_id)]


def cancel_open_orders(exchange: LocalExchange, params: Params, now: int) -> Any:
    orders = exchange.engine.open_orders(exchange.market(params.text("symbol")).rules.symbol)
    if not orders:
        raise Refusal(-2011, "Unknown order sent.")
    return [wire.canceled(order, f"cancel-{order.order_id}") for order in exchange.cancel(orders, now)]


def all_orders(exchange: LocalExchange, params: Params, _now: int) -> Any:
    symbol = exchange.market(params.text("symbol")).rules.symbol
    orders = exchange.store.orders(symbol, _page(params, "orderId"))
    return [wire.order(one) for one in orders if exchange.shows(one.order_id)]


def my_trades(exchange: LocalExchange, params: Params, _now: int) -> Any:
    symbol = exchange.market(params.text("symbol")).rules.symbol
    page, order_id = _page(params, "fromId"), params.optional_integer("orderId")
    fills = exchange.store.fills(symbol, page, order_id=order_id)
    return [wire.own_trade(fill) for fill in fills if exchange.shows_trades(fill.order_id)]


def account(exchange: LocalExchange, _params: Params, now: int) -> Any:
    return wire.account(exchange.engine.accounts.all(), exchange.fees, now)


def trade_fees(exchange: LocalExchange, params: Params, _now: int) -> Any:
    """Of one symbol where it is named, else of all."""
    chosen = [exchange.market(params.text("symbol"))] if params.has("symbol") else exchange.markets.values()
    return [wire.trade_fee(market.rules, exchange.fees) for market in chosen]


def _page(params: Params, from_name: str) -> Page:
    return Page(
        from_id=params.optional_integer(from_name),
        start_ms=params.optional_integer("startTime"),
        end_ms=params.optional_integer("endTime"),
        limit=params.limit(default=500, most=1000),
    )


def _named(exchange: LocalExchange, params: Params, *, open_only: bool = False) -> VenueOrder | None:
    """The order of `orderId` or `origClientOrderId`; of several with one client id the newest."""
    symbol = exchange.market(params.text("symbol")).rules.symbol
    order_id = params.optional_integer("orderId")
    client_order_id = params.optional_client_order_id("origClientOrderId")
    if order_id is None and client_order_id is None:
        raise Refusal(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    order = exchange.store.order(symbol, order_id=order_id, client_order_id=client_order_id)
    return None if order is None or (open_only and not order.status.is_open) else order
