"""The doors of order lists: OCO, two orders of which the first that acts ends the other.

Source: Binance Spot API, "New Order list - OCO" and the older "New OCO".
"""

from collections.abc import Iterable
from typing import Any

from alina.venue import wire
from alina.venue.local_exchange import LocalExchange
from alina.venue.orders import Kind, OrderRequest, Side, Status, TimeInForce, VenueOrder
from alina.venue.params import OF_SIGNATURES, Params
from alina.venue.refusal import Refusal, order_refused

_OF_A_PAIR = (*OF_SIGNATURES, "symbol", "side", "quantity", "newOrderRespType", "listClientOrderId")
_OF_A_LEG = ("Type", "Price", "StopPrice", "TimeInForce", "ClientOrderId", "TrailingDelta")
_OF_LEGS = frozenset((*_OF_A_PAIR, *(where + name for where in ("above", "below") for name in _OF_A_LEG)))
_OF_AN_OLD_PAIR = frozenset(
    (
        *_OF_A_PAIR,
        *("price", "limitClientOrderId", "stopPrice", "stopClientOrderId"),
        *("stopLimitPrice", "stopLimitTimeInForce"),
    )
)


def place_oco(exchange: LocalExchange, params: Params, now: int) -> Any:
    """POST orderList/oco: the leg above the market and the leg below it, each with its own type."""
    params.only(_OF_LEGS)
    side = params.choice("side", Side, -1117, "Invalid side.")
    pair = _leg(exchange, params, side, "above"), _leg(exchange, params, side, "below")
    stop_is_above = pair[0].kind in (Kind.STOP_LOSS, Kind.STOP_LOSS_LIMIT)
    if stop_is_above is (side is Side.SELL):
        raise order_refused("The relationship of the prices for the orders is not correct.")
    return _answer(exchange.place_pair(pair, now), params)


def place_old_oco(exchange: LocalExchange, params: Params, now: int) -> Any:
    """POST order/oco: a limit order, and a stop order on the other side of the market."""
    params.only(_OF_AN_OLD_PAIR)
    side = params.choice("side", Side, -1117, "Invalid side.")
    symbol, quantity = exchange.market(params.text("symbol")).rules.symbol, params.amount("quantity")
    gain = OrderRequest(
        symbol=symbol,
        client_order_id=params.optional_client_order_id("limitClientOrderId"),
        side=side,
        kind=Kind.LIMIT_MAKER,
        quantity=quantity,
        limit_price=params.amount("price"),
    )
    has_limit = params.has("stopLimitPrice")
    loss = OrderRequest(
        symbol=symbol,
        client_order_id=params.optional_client_order_id("stopClientOrderId"),
        side=side,
        kind=Kind.STOP_LOSS_LIMIT if has_limit else Kind.STOP_LOSS,
        time_in_force=_time_in_force(params, "stopLimitTimeInForce") if has_limit else TimeInForce.GTC,
        quantity=quantity,
        limit_price=params.amount("stopLimitPrice") if has_limit else None,
        stop_price=params.amount("stopPrice"),
    )
    return _answer(exchange.place_pair((loss, gain), now), params)


def _leg(exchange: LocalExchange, params: Params, side: Side, where: str) -> OrderRequest:
    if params.has(f"{where}TrailingDelta"):
        raise order_refused("Trailing stop orders are not supported for this symbol.")
    kind = params.choice(f"{where}Type", Kind, -1116, "Invalid orderType.")
    is_limit = not kind.is_market and kind is not Kind.LIMIT_MAKER
    return OrderRequest(
        symbol=exchange.market(params.text("symbol")).rules.symbol,
        client_order_id=params.optional_client_order_id(f"{where}ClientOrderId"),
        side=side,
        kind=kind,
        time_in_force=_time_in_force(params, f"{where}TimeInForce") if is_limit else TimeInForce.GTC,
        quantity=params.amount("quantity"),
        limit_price=None if kind.is_market else params.amount(f"{where}Price"),
        stop_price=params.amount(f"{where}StopPrice") if kind.is_stop else None,
    )


def _time_in_force(params: Params, name: str) -> TimeInForce:
    return params.choice(name, TimeInForce, -1115, "Invalid timeInForce.")


def find_list(exchange: LocalExchange, params: Params, _now: int) -> Any:
    """GET orderList."""
    return _told(_named(exchange, params, -2018))


def open_lists(exchange: LocalExchange, _params: Params, _now: int) -> Any:
    """GET openOrderList."""
    pairs = {one.list_id: exchange.engine.pair_of(one) for one in exchange.engine.open_orders()}
    return [_told(pair) for pair in pairs.values() if len(pair) > 1]


def cancel_list(exchange: LocalExchange, params: Params, now: int) -> Any:
    """DELETE orderList: both orders, or what is left of them."""
    still_open = [one for one in _named(exchange, params, -2011) if one.status.is_open]
    if not still_open:
        raise Refusal(-2011, "Unknown order list sent.")
    return _answer(exchange.cancel(still_open, now), params)


def _named(exchange: LocalExchange, params: Params, code: int) -> list[VenueOrder]:
    orders = exchange.store.order_list(params.integer("orderListId"))
    if not orders:
        raise Refusal(code, "Order list does not exist.")
    return orders


def _answer(orders: Iterable[VenueOrder], params: Params) -> dict[str, Any]:
    """The list as a request that changed it is answered."""
    legs = list(orders)
    name = params.optional_client_order_id("listClientOrderId")
    return {**_told(legs, name), "orderReports": [wire.placed(one, ()) for one in legs]}


def _told(orders: list[VenueOrder], name: str | None = None) -> dict[str, Any]:
    first = orders[0]
    executing = all(one.status is Status.NEW for one in orders)
    return {
        "orderListId": first.list_id,
        "contingencyType": "OCO",
        "listStatusType": "EXEC_STARTED" if executing else "ALL_DONE",
        "listOrderStatus": "EXECUTING" if executing else "ALL_DONE",
        "listClientOrderId": name or f"list-{first.list_id}",
        "transactionTime": max(one.updated_ms for one in orders),
        "symbol": first.symbol,
        "orders": [
            {"symbol": one.symbol, "orderId": one.order_id, "clientOrderId": one.client_order_id}
            for one in orders
        ],
    }
