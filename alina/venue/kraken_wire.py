"""Records as Kraken's JSON. Amounts are text; times are seconds of market time with their fraction."""

from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any

from alina.domain.market import Balance, BookLevel
from alina.market_data.bars import Bar
from alina.venue.fees import Fees
from alina.venue.filters import Rules
from alina.venue.kraken_names import (
    asset_code,
    asset_name,
    order_txid,
    pair_id,
    pair_name,
    socket_name,
    trade_txid,
)
from alina.venue.orders import Kind, OrderRequest, Side, Status, VenueFill, VenueOrder, made_name
from alina.venue.wire import number

#: of fees, which Kraken tells in percent
_PERCENT = 100
_ORDER_TYPES = {
    Kind.MARKET: "market",
    Kind.LIMIT: "limit",
    Kind.LIMIT_MAKER: "limit",
    Kind.STOP_LOSS: "stop-loss",
    Kind.STOP_LOSS_LIMIT: "stop-loss-limit",
    Kind.TAKE_PROFIT: "take-profit",
    Kind.TAKE_PROFIT_LIMIT: "take-profit-limit",
}
#: what Kraken says of an order's state, and why it ended
_STATES = {
    Status.NEW: ("open", None),
    Status.PARTIALLY_FILLED: ("open", None),
    Status.FILLED: ("closed", None),
    Status.CANCELED: ("canceled", "User requested"),
    Status.EXPIRED: ("expired", "Order expired"),
}


def seconds(ms: int) -> float:
    """A tenth of a millisecond later: who multiplies it by 1000 and cuts comes to the same millisecond."""
    return ms / 1000 + 0.0001


def decimals(step: Decimal) -> int:
    """How many decimals a number on this grid has."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def asset(name: str) -> dict[str, Any]:
    return {
        "aclass": "currency",
        "altname": asset_name(name),
        "decimals": 10,
        "display_decimals": 5,
        "status": "enabled",
    }


def asset_pair(rules: Rules, fees: Fees, *, trading: bool) -> dict[str, Any]:
    return {
        "altname": pair_name(rules),
        "wsname": socket_name(rules),
        "aclass_base": "currency",
        "base": asset_code(rules.base),
        "aclass_quote": "currency",
        "quote": asset_code(rules.quote),
        "lot": "unit",
        "cost_decimals": 8,
        "pair_decimals": decimals(rules.tick_size),
        "lot_decimals": decimals(rules.lot_size),
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, float(fees.taker * _PERCENT)]],
        "fees_maker": [[0, float(fees.maker * _PERCENT)]],
        "fee_volume_currency": asset_code(rules.quote),
        "ordermin": number(rules.lot_size),
        "costmin": number(rules.min_notional),
        "tick_size": f"{rules.tick_size:f}",
        "status": "online" if trading else "cancel_only",
    }


def trade_volume(rules: Rules, fees: Fees) -> dict[str, Any]:
    """As TradeVolume answers for one market."""
    told = {
        name: {
            pair_id(rules): {
                "fee": f"{rate * _PERCENT:f}",
                "minfee": f"{rate * _PERCENT:f}",
                "maxfee": f"{rate * _PERCENT:f}",
                "nextfee": None,
                "nextvolume": None,
                "tiervolume": "0.0000",
            }
        }
        for name, rate in (("fees", fees.taker), ("fees_maker", fees.maker))
    }
    return {"currency": asset_code(rules.quote), "volume": "0.0000", **told}


def day_ticker(bars: list[Bar], best: tuple[BookLevel, BookLevel], last: Decimal) -> dict[str, Any]:
    """As Ticker answers; `bars` are the last day's, `best` the best bid and ask."""
    volume = sum((bar.volume for bar in bars), Decimal(0))
    traded = sum((bar.volume * bar.close for bar in bars), Decimal(0))
    bid, ask = best
    return {
        "a": [number(ask.price), "1", number(ask.quantity)],
        "b": [number(bid.price), "1", number(bid.quantity)],
        "c": [number(last), "0.00000000"],
        "v": [number(volume)] * 2,
        "p": [f"{traded / volume if volume else last:.8f}"] * 2,
        "t": [0, 0],
        "l": [number(min((bar.low for bar in bars), default=last))] * 2,
        "h": [number(max((bar.high for bar in bars), default=last))] * 2,
        "o": number(bars[0].open if bars else last),
    }


def candle(bar: Bar) -> list[Any]:
    """Volume-weighted prices and trade counts are not recorded: the close, and none."""
    prices = (number(price) for price in bar[1:5])
    return [bar.open_ms // 1000, *prices, number(bar.close), number(bar.volume), 0]


def levels(side: Iterable[BookLevel], count: int, now: int) -> list[list[Any]]:
    return [[number(one.price), number(one.quantity), now // 1000] for one in list(side)[:count]]


def public_trade(fill: VenueFill) -> list[Any]:
    """Price, volume, time, the taker's side, `l` for limit or `m` for market, nothing, id."""
    taker_buys = (fill.side is Side.BUY) != fill.is_maker
    return [
        number(fill.price),
        number(fill.quantity),
        seconds(fill.executed_ms),
        "b" if taker_buys else "s",
        "l" if fill.is_maker else "m",
        "",
        fill.trade_id,
    ]


def balance(held: Balance) -> dict[str, str]:
    return {"balance": number(held.total), "hold_trade": number(held.locked)}


def description(request: OrderRequest | VenueOrder, rules: Rules) -> str:
    """The sentence that Kraken says an order in."""
    side, volume = request.side.lower(), number(request.quantity or request.quote_quantity or Decimal(0))
    kind = _ORDER_TYPES[request.kind].removesuffix("-limit").replace("-", " ")
    text = f"{side} {volume} {pair_name(rules)} @ {kind}"
    if request.stop_price is None:
        return text if request.limit_price is None else f"{text} {number(request.limit_price)}"
    limit = "" if request.limit_price is None else f" -> limit {number(request.limit_price)}"
    return f"{text} {number(request.stop_price)}{limit}"


def order(
    one: VenueOrder, rules: Rules, fills: Collection[VenueFill], *, with_trades: bool
) -> dict[str, Any]:
    """As OpenOrders, ClosedOrders and QueryOrders tell it. `fills` are all of its trades."""
    state, reason = _STATES[one.status]
    average = one.filled_notional / one.filled_quantity if one.filled_quantity else Decimal(0)
    told: dict[str, Any] = {
        "refid": None,
        "userref": None,
        "cl_ord_id": None if one.client_order_id == made_name(one.order_id) else one.client_order_id,
        "status": state,
        "reason": reason,
        "opentm": seconds(one.placed_ms),
        "starttm": 0,
        "expiretm": 0,
        "descr": _description_fields(one, rules),
        "vol": number(one.quantity),
        "vol_exec": number(one.filled_quantity),
        "cost": number(one.filled_notional),
        "fee": number(sum((fill.fee for fill in fills), Decimal(0))),
        "price": f"{average:.12f}",
        "stopprice": number(one.stop_price or Decimal(0)),
        "limitprice": number(one.limit_price or Decimal(0)) if one.kind.is_stop else number(Decimal(0)),
        "misc": "",
        "oflags": "fciq,post" if one.kind is Kind.LIMIT_MAKER else "fciq",
    }
    if not one.status.is_open:
        told["closetm"] = seconds(one.updated_ms)
    if with_trades:
        told["trades"] = [trade_txid(fill.trade_id) for fill in fills]
    return told


def _description_fields(one: VenueOrder, rules: Rules) -> dict[str, str]:
    first, second = (
        (one.stop_price, one.limit_price) if one.stop_price is not None else (one.limit_price, None)
    )
    return {
        "pair": pair_name(rules),
        "type": one.side.lower(),
        "ordertype": _ORDER_TYPES[one.kind],
        "price": "0" if first is None else number(first),
        "price2": "0" if second is None else number(second),
        "leverage": "none",
        "order": description(one, rules),
        "close": "",
    }


def own_trade(fill: VenueFill, rules: Rules) -> dict[str, Any]:
    """As TradesHistory and QueryTrades tell it; fees are in quote."""
    return {
        "ordertxid": order_txid(fill.order_id),
        "postxid": "TKH2SE-M7IF5-CFI7LT",
        "pair": pair_id(rules),
        "time": seconds(fill.executed_ms),
        "type": fill.side.lower(),
        "ordertype": "limit" if fill.is_maker else "market",
        "price": number(fill.price),
        "cost": number(fill.price * fill.quantity),
        "fee": number(fill.fee),
        "vol": number(fill.quantity),
        "margin": "0.00000000",
        "misc": "",
        "trade_id": fill.trade_id,
        "maker": fill.is_maker,
    }
