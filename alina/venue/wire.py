"""Records as Binance's JSON. Numbers are text with eight decimals; order times are market time in ms."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from alina.domain.market import Balance, BookLevel
from alina.market_data.bars import Bar
from alina.venue import filters
from alina.venue.fees import Fees
from alina.venue.filters import Rules
from alina.venue.orders import Kind, Side, VenueFill, VenueOrder

_DECIMALS = 8


def number(value: Decimal) -> str:
    """Eight decimals, or more where the value has more: never rounded."""
    exponent = value.as_tuple().exponent
    has_more = isinstance(exponent, int) and exponent < -_DECIMALS
    return f"{value:f}" if has_more else f"{value:.{_DECIMALS}f}"


def exchange_symbol(rules: Rules, *, trading: bool) -> dict[str, Any]:
    return {
        "symbol": rules.symbol,
        "status": "TRADING" if trading else "BREAK",
        "baseAsset": rules.base,
        "baseAssetPrecision": 8,
        "quoteAsset": rules.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [str(kind) for kind in Kind],
        "icebergAllowed": False,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "cancelReplaceAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(rules),
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
    }


def _filters(rules: Rules) -> list[dict[str, Any]]:
    lots = {
        "minQty": number(rules.lot_size),
        "maxQty": number(filters.MAX_QUANTITY),
        "stepSize": number(rules.lot_size),
    }
    up, down = str(filters.MULTIPLIER_UP), str(filters.MULTIPLIER_DOWN)
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": number(rules.tick_size),
            "maxPrice": number(filters.MAX_PRICE),
            "tickSize": number(rules.tick_size),
        },
        {"filterType": "LOT_SIZE", **lots},
        {"filterType": "MARKET_LOT_SIZE", **lots},
        {
            "filterType": "NOTIONAL",
            "minNotional": number(rules.min_notional),
            "applyMinToMarket": True,
            "maxNotional": number(filters.MAX_QUANTITY * filters.MAX_PRICE),
            "applyMaxToMarket": False,
            "avgPriceMins": 0,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": up,
            "bidMultiplierDown": down,
            "askMultiplierUp": up,
            "askMultiplierDown": down,
            "avgPriceMins": 0,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": filters.MAX_NUM_ORDERS},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": filters.MAX_NUM_ALGO_ORDERS},
    ]


def kline(bar: Bar, interval_ms: int) -> list[Any]:
    """Trade counts and taker volumes are not recorded, so they are zero."""
    return [
        bar.open_ms,
        *(number(price) for price in bar[1:5]),
        number(bar.volume),
        bar.open_ms + interval_ms - 1,
        number(bar.volume * bar.close),
        0,
        "0",
        "0",
        "0",
    ]


def levels(side: Iterable[BookLevel], limit: int) -> list[list[str]]:
    return [[number(level.price), number(level.quantity)] for level in list(side)[:limit]]


def order(one: VenueOrder) -> dict[str, Any]:
    """As GET order answers."""
    return {
        "symbol": one.symbol,
        "orderId": one.order_id,
        "orderListId": -1 if one.list_id is None else one.list_id,
        "clientOrderId": one.client_order_id,
        "price": number(one.limit_price or Decimal(0)),
        "origQty": number(one.quantity),
        "executedQty": number(one.filled_quantity),
        "origQuoteOrderQty": number(one.quote_quantity or Decimal(0)),
        "cummulativeQuoteQty": number(one.filled_notional),
        "status": str(one.status),
        "timeInForce": str(one.time_in_force),
        "type": str(one.kind),
        "side": str(one.side),
        "stopPrice": number(one.stop_price or Decimal(0)),
        "icebergQty": number(Decimal(0)),
        "time": one.placed_ms,
        "updateTime": one.updated_ms,
        "isWorking": one.working_ms is not None,
        "workingTime": -1 if one.working_ms is None else one.working_ms,
        "selfTradePreventionMode": "NONE",
    }


def placed(one: VenueOrder, fills: Iterable[VenueFill]) -> dict[str, Any]:
    """As POST order answers with newOrderRespType=FULL."""
    answer = order(one)
    answer["transactTime"] = answer.pop("time")
    del answer["updateTime"], answer["isWorking"], answer["icebergQty"]
    if one.stop_price is None:
        del answer["stopPrice"]
    answer["fills"] = [
        {
            "price": number(fill.price),
            "qty": number(fill.quantity),
            "commission": number(fill.fee),
            "commissionAsset": fill.fee_asset,
            "tradeId": fill.trade_id,
        }
        for fill in fills
    ]
    return answer


def canceled(one: VenueOrder, cancel_id: str) -> dict[str, Any]:
    """As DELETE order answers: `clientOrderId` is the cancel's own, the order's moves aside."""
    answer = order(one)
    answer["transactTime"] = answer["updateTime"]
    return {**answer, "origClientOrderId": one.client_order_id, "clientOrderId": cancel_id}


def own_trade(fill: VenueFill) -> dict[str, Any]:
    """As GET myTrades answers."""
    return {
        "symbol": fill.symbol,
        "id": fill.trade_id,
        "orderId": fill.order_id,
        "orderListId": -1,
        "price": number(fill.price),
        "qty": number(fill.quantity),
        "quoteQty": number(fill.price * fill.quantity),
        "commission": number(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.executed_ms,
        "isBuyer": fill.side is Side.BUY,
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def _buyer_is_maker(fill: VenueFill) -> bool:
    return fill.is_maker == (fill.side is Side.BUY)


def public_trade(fill: VenueFill) -> dict[str, Any]:
    """As GET trades answers."""
    return {
        "id": fill.trade_id,
        "price": number(fill.price),
        "qty": number(fill.quantity),
        "quoteQty": number(fill.price * fill.quantity),
        "time": fill.executed_ms,
        "isBuyerMaker": _buyer_is_maker(fill),
        "isBestMatch": True,
    }


def aggregate_trade(fill: VenueFill) -> dict[str, Any]:
    """As GET aggTrades answers; every trade is its own aggregate."""
    return {
        "a": fill.trade_id,
        "p": number(fill.price),
        "q": number(fill.quantity),
        "f": fill.trade_id,
        "l": fill.trade_id,
        "T": fill.executed_ms,
        "m": _buyer_is_maker(fill),
        "M": True,
    }


def trade_fee(rules: Rules, fees: Fees) -> dict[str, str]:
    """As GET asset/tradeFee answers for one market: fractions of the notional."""
    return {
        "symbol": rules.symbol,
        "makerCommission": f"{fees.maker:f}",
        "takerCommission": f"{fees.taker:f}",
    }


def account(balances: Iterable[Balance], fees: Fees, now: int) -> dict[str, Any]:
    rates = {
        "maker": number(fees.maker),
        "taker": number(fees.taker),
        "buyer": "0.00000000",
        "seller": "0.00000000",
    }
    return {
        "makerCommission": int(fees.maker * 10_000),
        "takerCommission": int(fees.taker * 10_000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": rates,
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": now,
        "accountType": "SPOT",
        "balances": [
            {"asset": one.asset, "free": number(one.free), "locked": number(one.locked)} for one in balances
        ],
        "permissions": ["SPOT"],
        "uid": 1,
    }
