"""The adapter over ccxt's other exchanges: answers in the shapes that they document, from a local server."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID, uuid4

import ccxt
import pytest
from binance_like import SYMBOL, BinanceLike, Handler, limit_buy, reply, says, serving

from alina.domain.orders import Order, OrderSide, OrderState, OrderType, client_order_id_for
from alina.errors import ExchangeUnavailable, OrderRejected
from alina.exchange.ccxt_exchange import CcxtExchange

Answer = Callable[[Handler], None]


@pytest.fixture
def server() -> Iterator[BinanceLike]:
    with serving(BinanceLike()) as server:
        yield server


def asked(handler: Handler) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(handler.path).query))


def connect(exchange_id: str, server: BinanceLike, **options: Any) -> CcxtExchange:
    """Whatever ccxt asks of this exchange is asked of the server."""

    def moved(urls: Any) -> Any:
        if isinstance(urls, dict):
            return {name: moved(url) for name, url in urls.items()}
        return f"http://127.0.0.1:{server.server_port}"

    urls = {"api": moved(getattr(ccxt, exchange_id)().urls["api"])}
    return CcxtExchange(
        exchange_id,
        api_key="key",
        secret="secret",
        options={"urls": urls, "password": "word", "enableRateLimit": False, "options": options},
        timeout=timedelta(seconds=5),
    )


@dataclass(frozen=True)
class Trades:
    """How an exchange lists its own trades."""

    markets: dict[str, Answer]
    path: str
    older_than: str
    trade: Callable[[int], dict[str, object]]
    answer: Callable[[list[dict[str, object]]], object]
    options: dict[str, object]


def okx_instruments(handler: Handler) -> None:
    btc = {
        "instId": "BTC-USDT",
        "instType": "SPOT",
        "baseCcy": "BTC",
        "quoteCcy": "USDT",
        "tickSz": "0.1",
        "lotSz": "0.00001",
        "minSz": "0.00001",
        "state": "live",
    }
    reply(handler, 200, {"code": "0", "data": [btc]})


def kucoin(data: object) -> Answer:
    return says(200, {"code": "200000", "data": data})


def bitget(data: object) -> Answer:
    return says(200, {"code": "00000", "msg": "success", "data": data})


def bybit(result: object) -> Answer:
    return says(200, {"retCode": 0, "retMsg": "OK", "result": result})


def bybit_page(page: list[dict[str, object]]) -> object:
    cursor = f"{page[-1]['execId']}:2" if page else ""
    return {
        "retCode": 0,
        "retMsg": "OK",
        "result": {"category": "spot", "list": page, "nextPageCursor": cursor},
    }


SPOT_ONLY = {"fetchMarkets": {"types": ["spot"]}}
TRADES = {
    "okx": Trades(
        markets={
            "GET /api/v5/asset/currencies": says(200, {"code": "0", "data": []}),
            "GET /api/v5/public/instruments": okx_instruments,
        },
        path="/api/v5/trade/fills-history",
        older_than="after",
        trade=lambda number: {
            "side": "buy",
            "fillSz": "0.001",
            "fillPx": "100.1",
            "fee": "-0.000001",
            "feeCcy": "BTC",
            "ordId": "28",
            "instType": "SPOT",
            "instId": "BTC-USDT",
            "billId": f"{number}",
            "tradeId": f"{number}",
            "execType": "T",
            "ts": "1700000000000",
        },
        answer=lambda page: {"code": "0", "data": page},
        options=SPOT_ONLY,
    ),
    "kucoin": Trades(
        markets={
            "GET /api/ua/v1/account/mode": kucoin({"selfAccountMode": "CLASSIC"}),
            "GET currencies": kucoin([]),
            "GET margin/symbols": kucoin({"items": []}),
            "GET /api/v1/isolated/symbols": kucoin([]),
            "GET /api/v1/market/allTickers": kucoin({"ticker": []}),
            "GET /api/v1/hf/accounts/opened": kucoin(True),
            "GET /api/v2/symbols": kucoin(
                [
                    {
                        "symbol": "BTC-USDT",
                        "baseCurrency": "BTC",
                        "quoteCurrency": "USDT",
                        "baseMinSize": "0.00001",
                        "baseMaxSize": "10000",
                        "quoteMinSize": "0.1",
                        "quoteMaxSize": "99999999",
                        "baseIncrement": "0.00000001",
                        "quoteIncrement": "0.000001",
                        "priceIncrement": "0.1",
                        "enableTrading": True,
                    }
                ]
            ),
        },
        path="/api/v1/hf/fills",
        older_than="lastId",
        trade=lambda number: {
            "id": number,
            "symbol": "BTC-USDT",
            "tradeId": number,
            "orderId": "28",
            "side": "buy",
            "liquidity": "taker",
            "price": "100.1",
            "size": "0.001",
            "funds": "0.1001",
            "fee": "0.0001",
            "feeCurrency": "USDT",
            "createdAt": 1700000000000,
        },
        answer=lambda page: {"code": "200000", "data": {"items": page, "lastId": 1}},
        options=SPOT_ONLY,
    ),
    "bitget": Trades(
        markets={
            "GET /api/v2/spot/public/coins": bitget([]),
            "GET /api/v2/margin/currencies": bitget([]),
            "GET /api/v2/spot/public/symbols": bitget(
                [
                    {
                        "symbol": "BTCUSDT",
                        "baseCoin": "BTC",
                        "quoteCoin": "USDT",
                        "minTradeAmount": "0",
                        "maxTradeAmount": "900",
                        "takerFeeRate": "0.002",
                        "makerFeeRate": "0.002",
                        "pricePrecision": "2",
                        "quantityPrecision": "6",
                        "quotePrecision": "8",
                        "status": "online",
                        "minTradeUSDT": "1",
                    }
                ]
            ),
        },
        path="/api/v2/spot/trade/fills",
        older_than="idLessThan",
        trade=lambda number: {
            "symbol": "BTCUSDT",
            "orderId": "28",
            "tradeId": f"{number}",
            "orderType": "market",
            "side": "buy",
            "priceAvg": "100.1",
            "size": "0.001",
            "amount": "0.1001",
            "feeDetail": {"deduction": "no", "feeCoin": "BTC", "totalFee": "-0.000001"},
            "tradeScope": "taker",
            "cTime": "1700000000000",
        },
        answer=lambda page: {"code": "00000", "msg": "success", "data": page},
        options={**SPOT_ONLY, "uta": False},
    ),
    "bybit": Trades(
        markets={
            "GET /v5/asset/coin/query-info": bybit({"rows": []}),
            "GET /v5/user/query-api": bybit({"unified": 0, "uta": 1}),
            "GET /v5/market/instruments-info": bybit(
                {
                    "category": "spot",
                    "list": [
                        {
                            "symbol": "BTCUSDT",
                            "baseCoin": "BTC",
                            "quoteCoin": "USDT",
                            "status": "Trading",
                            "marginTrading": "none",
                            "lotSizeFilter": {
                                "basePrecision": "0.000001",
                                "quotePrecision": "0.00000001",
                                "minOrderQty": "0.000001",
                                "maxOrderQty": "90",
                                "minOrderAmt": "1",
                                "maxOrderAmt": "2000000",
                            },
                            "priceFilter": {"tickSize": "0.01"},
                        }
                    ],
                }
            ),
        },
        path="/v5/execution/list",
        older_than="cursor",
        trade=lambda number: {
            "symbol": "BTCUSDT",
            "orderId": "28",
            "execId": f"{number}",
            "side": "Buy",
            "execQty": "0.001",
            "execPrice": "100.1",
            "execFee": "0.000001",
            "feeCurrency": "BTC",
            "execTime": "1700000000000",
            "isMaker": False,
        },
        answer=bybit_page,
        options=SPOT_ONLY,
    ),
}


def tells(told: Trades, number: int, *, by_id: bool = True) -> Answer:
    """So many trades of order 28, the newest first, a hundred at most; or those older than one."""

    def answer(handler: Handler) -> None:
        query = asked(handler)
        before = int(query.get(told.older_than, f"{number + 1}").partition(":")[0]) if by_id else number + 1
        names = range(before - 1, max(0, before - 1 - min(100, int(query.get("limit", 100)))), -1)
        named = "28" in (query.get("ordId"), query.get("orderId"))
        reply(handler, 200, told.answer([told.trade(name) for name in names] if named else []))

    return answer


@pytest.mark.parametrize("exchange_id", TRADES)
@pytest.mark.parametrize(("trades", "requests"), [(0, 1), (99, 1), (100, 2), (230, 3)])
def test_every_trade_of_an_order_is_told_on_exchanges_that_tell_a_hundred_at_a_time(
    server: BinanceLike, exchange_id: str, trades: int, requests: int
):
    told = TRADES[exchange_id]
    server.answers = {**told.markets, f"GET {told.path}": tells(told, trades)}
    exchange = connect(exchange_id, server, **told.options)
    fills = exchange.fills(SYMBOL, exchange_order_id="28")
    assert sorted(int(fill.trade_id) for fill in fills) == list(range(1, trades + 1))
    assert server.seen[f"GET {told.path}"] == requests
    exchange.close()


@pytest.mark.parametrize("exchange_id", TRADES)
def test_an_older_page_that_is_the_same_again_is_no_end_of_an_order_s_trades(
    server: BinanceLike, exchange_id: str
):
    told = TRADES[exchange_id]
    server.answers = {**told.markets, f"GET {told.path}": tells(told, 230, by_id=False)}
    exchange = connect(exchange_id, server, **told.options)
    with pytest.raises(ExchangeUnavailable, match="told of them again"):
        exchange.fills(SYMBOL, exchange_order_id="28")
    exchange.close()


HTX_MARKETS = {
    "GET /v2/reference/currencies": says(200, {"code": 200, "data": []}),
    "GET /v1/account/accounts": says(200, {"status": "ok", "data": [{"id": 7, "type": "spot"}]}),
    "GET /v1/common/symbols": says(
        200,
        {
            "status": "ok",
            "data": [
                {
                    "symbol": "btcusdt",
                    "base-currency": "btc",
                    "quote-currency": "usdt",
                    "price-precision": 2,
                    "amount-precision": 6,
                    "state": "online",
                    "min-order-amt": 0.0001,
                    "max-order-amt": 1000,
                    "min-order-value": 5,
                }
            ],
        },
    ),
}
HTX_ORDER = {
    "id": 28,
    "symbol": "btcusdt",
    "client-order-id": "al-1",
    "amount": "0.5",
    "price": "100.1",
    "created-at": 1700000000000,
    "type": "buy-limit",
    "field-amount": "0.5",
    "field-cash-amount": "50.05",
    "state": "filled",
}


def test_htx_that_forgets_client_order_ids_within_hours_proves_no_absence_and_no_cancel(server: BinanceLike):
    none = says(200, {"status": "ok", "data": []})
    server.answers = {
        **HTX_MARKETS,
        "GET /v1/order/orders/getClientOrder": says(
            200, {"status": "error", "err-code": "base-record-invalid", "err-msg": "record invalid"}
        ),
        "POST /v1/order/orders/submitCancelClientOrder": says(200, {"status": "ok", "data": "0"}),
        "GET /v1/order/openOrders": none,
        "GET /v1/order/orders": none,
    }
    exchange = connect(
        "htx", server, fetchMarkets={"types": {"spot": True, "linear": False, "inverse": False}}
    )
    for call in (exchange.find, exchange.cancel):
        with pytest.raises(ExchangeUnavailable, match="proves nothing"):
            call(SYMBOL, "al-1")
    server.answers["GET /v1/order/orders"] = says(200, {"status": "ok", "data": [HTX_ORDER]})
    found = exchange.find(SYMBOL, "al-1")
    assert found is not None
    assert found.state is OrderState.FILLED
    assert exchange.cancel(SYMBOL, "al-1") is False
    exchange.close()


def test_a_book_of_htx_is_asked_for_in_a_size_that_it_has(server: BinanceLike):
    def depth(handler: Handler) -> None:
        assert asked(handler)["type"] == "step0"
        assert "depth" not in asked(handler)
        tick = {"ts": 1700000000000, "bids": [[99, 1], [98, 1]], "asks": [[101, 1], [102, 1]]}
        reply(handler, 200, {"status": "ok", "tick": tick})

    ticker = {"bid": [99, 1], "ask": [101, 1], "close": 100, "open": 100, "amount": 1, "vol": 100}
    server.answers = {
        **HTX_MARKETS,
        "GET /market/detail/merged": says(200, {"status": "ok", "ts": 1700000000000, "tick": ticker}),
        "GET /market/depth": depth,
    }
    exchange = connect(
        "htx", server, fetchMarkets={"types": {"spot": True, "linear": False, "inverse": False}}
    )
    book = exchange.order_book(SYMBOL, depth=1)
    assert [(level.price, level.quantity) for level in book.bids] == [(99, 1)]
    assert len(exchange.order_book(SYMBOL, depth=100).asks) == 2
    exchange.close()


BITVAVO_MARKETS = {
    "GET /v2/assets": says(200, []),
    "GET /v2/markets": says(
        200,
        [
            {
                "market": "BTC-EUR",
                "status": "trading",
                "base": "BTC",
                "quote": "EUR",
                "tickSize": "0.10",
                "quantityDecimals": 8,
                "notionalDecimals": 2,
                "minOrderInBaseAsset": "0.0001",
                "minOrderInQuoteAsset": "5",
                "orderTypes": ["market", "limit"],
            }
        ],
    ),
}


def test_an_order_on_bitvavo_bears_a_uuid_and_is_found_and_cancelled_by_it(server: BinanceLike):
    known: dict[str, object] = {}

    def place(handler: Handler) -> None:
        body = json.loads(handler.body)
        assert str(UUID(body["clientOrderId"])) == body["clientOrderId"]
        known.update(body, orderId="28", status="new", created=1700000000000)
        known.update(filledAmount="0", filledAmountQuote="0", amountRemaining=body["amount"], fills=[])
        reply(handler, 200, known)

    def answer(handler: Handler) -> None:
        if asked(handler).get("clientOrderId") == known.get("clientOrderId"):
            reply(handler, 200, known)
        else:
            reply(handler, 404, {"errorCode": 240, "error": "No order found."})

    server.answers = BITVAVO_MARKETS | {
        "POST /v2/order": place,
        "GET /v2/order": answer,
        "DELETE /v2/order": answer,
    }
    exchange = connect("bitvavo", server, operatorId=7)
    order = replace(limit_buy(), symbol="BTC/EUR", client_order_id=client_order_id_for(uuid4()))
    placed = exchange.submit(order)
    assert placed.client_order_id == order.client_order_id
    assert exchange.find("BTC/EUR", order.client_order_id) == placed
    assert exchange.find("BTC/EUR", client_order_id_for(uuid4())) is None
    assert exchange.cancel("BTC/EUR", order.client_order_id) is True
    assert exchange.cancel("BTC/EUR", client_order_id_for(uuid4())) is False
    exchange.close()


LUNO_MARKETS = {
    "GET /1/send/networks": says(200, {"networks": []}),
    "GET /1/markets": says(
        200,
        {
            "markets": [
                {
                    "market_id": "DOGEUSDT",
                    "trading_status": "ACTIVE",
                    "base_currency": "DOGE",
                    "counter_currency": "USDT",
                    "min_volume": "1",
                    "max_volume": "100000",
                    "volume_scale": 0,
                    "min_price": "0.01",
                    "max_price": "10",
                    "price_scale": 4,
                }
            ]
        },
    ),
}


def doge(side: OrderSide) -> Order:
    return Order(
        client_order_id="al-1",
        account="main",
        symbol="DOGE/USDT",
        side=side,
        order_type=OrderType.MARKET,
        quantity=Decimal(1000),
    )


def test_a_market_buy_is_not_sent_where_its_quantity_would_be_spent_as_quote(server: BinanceLike):
    server.answers = {**LUNO_MARKETS, "POST /1/marketorder": says(200, {"order_id": "BXMC2CJ7HNB88U4"})}
    exchange = connect("luno", server)
    with pytest.raises(OrderRejected, match="1000 DOGE as USDT to spend; buy at a limit price"):
        exchange.submit(doge(OrderSide.BUY))
    assert server.seen["POST /1/marketorder"] == 0
    exchange.submit(doge(OrderSide.SELL))
    assert server.seen["POST /1/marketorder"] == 1
    exchange.close()


def test_no_option_of_a_person_s_turns_a_quantity_into_a_cost(server: BinanceLike):
    told, path = TRADES["bitget"], "POST /api/v2/spot/trade/place-order"
    server.answers = {**told.markets, path: bitget({"orderId": "28", "clientOid": "al-1"})}
    by_cost = {"createMarketBuyOrderRequiresPrice": False}
    exchange = connect("bitget", server, **told.options, **by_cost, createOrder=by_cost)
    buy = replace(doge(OrderSide.BUY), symbol=SYMBOL)
    with pytest.raises(OrderRejected, match="total cost to spend"):
        exchange.submit(buy)
    assert server.seen[path] == 0
    assert (
        exchange.submit(replace(buy, side=OrderSide.SELL, quantity=Decimal("0.5"))).state is OrderState.OPEN
    )
    exchange.close()
