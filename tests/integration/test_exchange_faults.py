"""The adapter against a server that takes the request and then answers badly, or not at all."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs

import pytest
from binance_like import (
    ORDER,
    SYMBOL,
    BinanceLike,
    Handler,
    connect,
    drop,
    hang,
    limit_buy,
    listed,
    redirect,
    refuses,
    reply,
    reset,
    says,
    serving,
)

from alina.domain.orders import Order, OrderSide, OrderState, OrderType
from alina.errors import ExchangeRefused, ExchangeUnavailable, OrderFateUnknown, OrderRejected
from alina.exchange.ccxt_exchange import CcxtExchange
from alina.exchange.traits import Traits

SINCE = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[BinanceLike]:
    with serving(BinanceLike()) as server:
        yield server


@pytest.fixture
def exchange(server: BinanceLike) -> Iterator[CcxtExchange]:
    exchange = connect(server)
    yield exchange
    exchange.close()


AMBIGUOUS = {
    "dropped": drop,
    "reset": reset,
    "html": says(200, "<html>maintenance</html>"),
    "empty": says(200, ""),
    "truncated": says(200, ORDER, cut=20),
    "no id": says(200, {}),
    "redirected": redirect,
    "500": says(500, "oops"),
    "502": says(502, "<html>"),
    "503": says(503, "<html>", headers={"Retry-After": "3"}),
    "503 with a code": refuses(-1013, "Filter failure: LOT_SIZE", status=503),
    "504": says(504, "<html>"),
    "403 by a firewall": says(403, "<html>"),
    "429": says(429, {"code": -1003, "msg": "Too much request weight"}, headers={"Retry-After": "7"}),
    "418": says(418, {"code": -1003, "msg": "banned"}, headers={"Retry-After": "7"}),
    "-1003": refuses(-1003, "Too many requests"),
    "-1006": refuses(-1006, "Execution status unknown"),
    "-1007": refuses(-1007, "Timeout waiting for response. Send status unknown; execution status unknown."),
    "-1008": refuses(-1008, "Server is currently overloaded"),
    "-1015": refuses(-1015, "Too many new orders"),
    "-1021": refuses(-1021, "Timestamp for this request is outside of the recvWindow."),
    "duplicate": refuses(-2010, "Duplicate order sent."),
}


@pytest.mark.parametrize("answer", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_an_order_is_sent_once_and_its_fate_is_unknown_after(
    server: BinanceLike, exchange: CcxtExchange, answer: Callable[[Handler], None]
):
    server.answers["POST order"] = answer
    with pytest.raises(OrderFateUnknown, match="al-1"):
        exchange.submit(limit_buy())
    assert server.seen["POST order"] == 1


def test_an_order_whose_answer_never_comes_is_sent_once(server: BinanceLike):
    server.answers["POST order"] = hang
    exchange = connect(server, timeout=2)
    with pytest.raises(OrderFateUnknown):
        exchange.submit(limit_buy())
    assert server.seen["POST order"] == 1
    exchange.close()


REFUSED = {
    "funds": refuses(-2010, "Account has insufficient balance for requested action."),
    "maker": refuses(-2010, "Order would immediately match and take."),
    "closed": refuses(-2010, "Market is closed."),
    "lot": refuses(-1013, "Filter failure: LOT_SIZE"),
    "price": refuses(-1013, "Filter failure: PRICE_FILTER"),
    "percent": refuses(-1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    "notional": refuses(-1013, "Filter failure: NOTIONAL"),
    "orders": refuses(-1013, "Filter failure: MAX_NUM_ORDERS"),
    "characters": refuses(-1100, "Illegal characters found in parameter 'price'"),
    "precision": refuses(-1111, "Precision is over the maximum defined for this asset."),
    "signature": refuses(-1022, "Signature for this request is not valid."),
    "key": refuses(-2015, "Invalid API-key, IP, or permissions for action.", status=401),
    "key's form": refuses(-2014, "API-key format invalid.", status=401),
}


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED.keys())
def test_an_order_that_the_exchange_refuses_is_rejected(
    server: BinanceLike, exchange: CcxtExchange, answer: Callable[[Handler], None]
):
    server.answers["POST order"] = answer
    with pytest.raises(OrderRejected):
        exchange.submit(limit_buy())
    assert server.seen["POST order"] == 1


@pytest.mark.parametrize(
    ("order", "figures"),
    [
        (limit_buy(quantity="0.500001"), "0.500001 is off the lot size"),
        (limit_buy(price="100.129"), "100.129 is off the tick size"),
        (limit_buy(quantity="0.000001"), "was not sent|amount"),
    ],
)
def test_an_order_off_the_grid_is_rejected_before_it_is_sent(
    server: BinanceLike, exchange: CcxtExchange, order: Order, figures: str
):
    with pytest.raises(OrderRejected, match=figures):
        exchange.submit(order)
    assert server.seen["POST order"] == 0


def test_an_order_below_the_smallest_notional_is_rejected_before_it_is_sent(
    server: BinanceLike, exchange: CcxtExchange
):
    with pytest.raises(OrderRejected, match="less than the smallest notional of BTC/USDT"):
        exchange.submit(limit_buy(quantity="0.04990", price="100.00"))
    assert server.seen["POST order"] == 0


def test_after_a_time_stamp_was_refused_requests_bear_the_exchanges_own_time(
    server: BinanceLike, exchange: CcxtExchange
):
    server.answers["GET account"] = refuses(-1021, "Timestamp for this request was 1000ms ahead.")
    with pytest.raises(ExchangeUnavailable, match="NTP"):
        exchange.balances()
    assert server.seen["GET time"] == 0
    server.answers["GET time"] = says(200, {"serverTime": 1700000000000})
    server.answers["GET account"] = says(200, {"balances": []})
    for _ in range(2):
        exchange.balances()
    assert server.seen["GET time"] == 1
    server.answers["POST order"] = says(200, ORDER)
    exchange.submit(limit_buy())
    sent = int(parse_qs(server.bodies[-1])["timestamp"][0])
    assert abs(sent - 1700000000000) < 60_000


def test_the_figures_that_are_sent_are_the_orders(server: BinanceLike, exchange: CcxtExchange):
    server.answers["POST order"] = says(200, ORDER)
    placed = exchange.submit(limit_buy(quantity="0.50000", price="1E+2"))
    assert "quantity=0.5&price=100&timeInForce=GTC" in server.bodies[-1]
    assert "newClientOrderId=al-1" in server.bodies[-1]
    assert (placed.state, placed.filled_quantity) == (OrderState.EXPIRED, Decimal("0.2"))
    assert placed.filled_notional == Decimal("20.02")


STOP = replace(
    limit_buy(price="95.05"),
    side=OrderSide.SELL,
    order_type=OrderType.STOP_LIMIT,
    trigger_price=Decimal("96.10"),
)


def test_a_stop_is_sent_as_the_exchanges_stop_limit(server: BinanceLike, exchange: CcxtExchange):
    server.answers["POST order"] = says(200, {"symbol": "BTCUSDT", "orderId": 29, "clientOrderId": "al-1"})
    placed = exchange.submit(STOP)
    form = parse_qs(server.bodies[-1])
    told = {name: form[name] for name in ("side", "type", "price", "stopPrice", "newClientOrderId")}
    assert told == {
        "side": ["SELL"],
        "type": ["STOP_LOSS_LIMIT"],
        "price": ["95.05"],
        "stopPrice": ["96.1"],
        "newClientOrderId": ["al-1"],
    }
    assert (placed.state, placed.quantity) == (OrderState.OPEN, STOP.quantity)


@pytest.mark.parametrize(
    ("status", "filled", "state"),
    [
        ("NEW", "0", OrderState.OPEN),
        ("PARTIALLY_FILLED", "0.2", OrderState.PARTIALLY_FILLED),
        ("FILLED", "0.5", OrderState.FILLED),
        ("EXPIRED", "0.2", OrderState.EXPIRED),
        ("EXPIRED_IN_MATCH", "0", OrderState.EXPIRED),
        ("CANCELED", "0", OrderState.CANCELED),
    ],
)
def test_the_states_of_a_stop(
    server: BinanceLike, exchange: CcxtExchange, status: str, filled: str, state: OrderState
):
    answer = {**ORDER, "type": "STOP_LOSS_LIMIT", "side": "SELL", "stopPrice": "96.10"}
    server.answers["GET order"] = says(200, answer | {"status": status, "executedQty": filled})
    assert exchange.find(SYMBOL, "al-1").state is state


def test_a_stop_is_not_sent_where_it_could_not_be_followed(server: BinanceLike, exchange: CcxtExchange):
    market = listed("BTC") | {"orderTypes": ["LIMIT", "MARKET"]}
    server.answers["GET exchangeInfo"] = says(200, {"symbols": [market]})
    assert exchange.has_stop_orders(SYMBOL) is False
    with pytest.raises(OrderRejected, match="no stop order"):
        exchange.submit(STOP)
    assert server.seen["POST order"] == 0


def test_an_order_is_not_sent_when_the_markets_rules_cannot_be_had(
    server: BinanceLike, exchange: CcxtExchange
):
    server.answers["GET exchangeInfo"] = says(503, "<html>")
    with pytest.raises(OrderFateUnknown, match="was not sent"):
        exchange.submit(limit_buy())
    assert server.seen["POST order"] == 0


def test_without_keys_public_data_is_read_and_orders_are_rejected(server: BinanceLike):
    exchange = connect(server, api_key=None)
    assert exchange.market(SYMBOL).lot_size == Decimal("0.00001")
    with pytest.raises(OrderRejected, match="ALINA_EXCHANGE_API_KEY"):
        exchange.submit(limit_buy())
    for private_call in (
        exchange.balances,
        lambda: exchange.find(SYMBOL, "al-1"),
        lambda: exchange.cancel(SYMBOL, "al-1"),
        lambda: exchange.open_orders(SYMBOL),
        lambda: exchange.fills(SYMBOL),
    ):
        with pytest.raises(ExchangeRefused, match="ALINA_EXCHANGE_API_KEY"):
            private_call()
    assert server.seen.keys() == {"GET exchangeInfo"}
    exchange.close()


READS: dict[str, tuple[str, Callable[[CcxtExchange], object]]] = {
    "market": ("exchangeInfo", lambda exchange: exchange.market(SYMBOL)),
    "candles": ("klines", lambda exchange: exchange.candles(SYMBOL, "1h", since=SINCE, limit=5)),
    "ticker": ("ticker/24hr", lambda exchange: exchange.ticker(SYMBOL)),
    "balances": ("account", lambda exchange: exchange.balances()),
    "find": ("order", lambda exchange: exchange.find(SYMBOL, "al-1")),
    "open orders": ("openOrders", lambda exchange: exchange.open_orders(SYMBOL)),
    "fills": ("myTrades", lambda exchange: exchange.fills(SYMBOL)),
    "fills of one": ("myTrades", lambda exchange: exchange.fills(SYMBOL, exchange_order_id="28")),
    "clock": ("time", lambda exchange: exchange.clock_difference_ms()),
}
BROKEN = [
    "dropped",
    "reset",
    "html",
    "empty",
    "truncated",
    "500",
    "502",
    "503",
    "504",
    "403 by a firewall",
    "429",
    "418",
    "-1003",
    "-1007",
    "-1021",
    "redirected",
]


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("read", READS.keys())
def test_a_read_that_is_answered_badly_is_unavailable(
    server: BinanceLike, exchange: CcxtExchange, read: str, fault: str
):
    path, call = READS[read]
    server.answers[f"GET {path}"] = AMBIGUOUS[fault]
    with pytest.raises(ExchangeUnavailable):
        call(exchange)
    assert server.seen[f"GET {path}"] == 1


def test_a_read_whose_answer_never_comes_is_unavailable(server: BinanceLike):
    server.answers["GET ticker/24hr"] = hang
    exchange = connect(server, timeout=0.3)
    with pytest.raises(ExchangeUnavailable):
        exchange.ticker(SYMBOL)
    exchange.close()


@pytest.mark.parametrize(
    "answer", [refuses(-1022, "Signature"), refuses(-2014, "format"), refuses(-2015, "Invalid API-key")]
)
def test_a_key_that_is_refused_is_not_worth_asking_again(
    server: BinanceLike, exchange: CcxtExchange, answer: Callable[[Handler], None]
):
    server.answers["GET account"] = answer
    with pytest.raises(ExchangeRefused, match="ALINA_EXCHANGE_SECRET"):
        exchange.balances()


def test_a_rate_limit_says_how_long_to_wait(server: BinanceLike, exchange: CcxtExchange):
    server.answers["GET ticker/24hr"] = AMBIGUOUS["429"]
    with pytest.raises(ExchangeUnavailable) as caught:
        exchange.ticker(SYMBOL)
    assert caught.value.retry_after == timedelta(seconds=7)


def test_an_order_is_not_there_only_when_the_exchange_says_so(server: BinanceLike, exchange: CcxtExchange):
    server.answers["GET order"] = refuses(-2013, "Order does not exist.")
    assert exchange.find(SYMBOL, "al-1") is None
    server.answers["GET order"] = says(200, {**ORDER, "clientOrderId": "another"})
    with pytest.raises(ExchangeUnavailable, match="another"):
        exchange.find(SYMBOL, "al-1")
    server.answers["GET order"] = refuses(-2026, "Order was canceled or expired over 90 days ago.")
    with pytest.raises(ExchangeUnavailable):
        exchange.find(SYMBOL, "al-1")


def test_a_cancel_tells_whether_it_was_carried_out_and_asks_for_nothing_first(
    server: BinanceLike, exchange: CcxtExchange
):
    server.answers["DELETE order"] = refuses(-2011, "Unknown order sent.")
    assert exchange.cancel(SYMBOL, "al-1") is False
    canceled = {**ORDER, "status": "CANCELED", "origClientOrderId": "al-1", "clientOrderId": "cancels-own"}
    server.answers["DELETE order"] = says(200, canceled)
    assert exchange.cancel(SYMBOL, "al-1") is True
    server.answers["DELETE order"] = says(200, {**canceled, "origClientOrderId": "another"})
    with pytest.raises(ExchangeUnavailable, match="another"):
        exchange.cancel(SYMBOL, "al-1")
    assert server.seen == {"GET exchangeInfo": 1, "DELETE order": 3}


@pytest.mark.parametrize("fault", BROKEN)
def test_whether_a_cancel_was_carried_out_may_be_unknown(
    server: BinanceLike, exchange: CcxtExchange, fault: str
):
    server.answers["DELETE order"] = AMBIGUOUS[fault]
    with pytest.raises(ExchangeUnavailable):
        exchange.cancel(SYMBOL, "al-1")
    assert server.seen["DELETE order"] == 1


#: what an answer may name that shows it to be another request's
ANOTHERS = {
    "order": {"clientOrderId": "another"},
    "symbol": {"symbol": "ETHUSDT"},
    "side": {"side": "SELL"},
    "quantity": {"origQty": "0.70000000"},
}


@pytest.mark.parametrize("named", ANOTHERS.values(), ids=ANOTHERS.keys())
def test_an_answer_to_another_order_is_not_taken_for_this_ones(
    server: BinanceLike, exchange: CcxtExchange, named: dict[str, str]
):
    server.answers["POST order"] = says(200, {**ORDER, **named})
    server.answers["GET order"] = says(200, ORDER)
    with pytest.raises(OrderFateUnknown, match=r"another|ETH|sell|0\.7"):
        exchange.submit(limit_buy())
    assert exchange.find(SYMBOL, "al-1").filled_quantity == Decimal("0.2")


TICKER = {"symbol": "BTCUSDT", "bidPrice": "99", "askPrice": "100", "lastPrice": "100", "closeTime": 1}
TRADE = {
    "symbol": "BTCUSDT",
    "id": 5,
    "orderId": 28,
    "price": "100",
    "qty": "0.2",
    "commission": "0.01",
    "commissionAsset": "USDT",
    "time": 1700000000000,
    "isBuyer": True,
    "isMaker": False,
}


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        ("ticker", {**TICKER, "symbol": "ETHUSDT"}),
        ("find", {**ORDER, "symbol": "ETHUSDT"}),
        ("open orders", [{**ORDER, "symbol": "ETHUSDT"}]),
        ("fills", [{**TRADE, "symbol": "ETHUSDT"}]),
        ("fills of one", [{**TRADE, "orderId": 29}]),
    ],
)
def test_a_read_that_is_answered_with_anothers_answer_is_unavailable(
    server: BinanceLike, exchange: CcxtExchange, read: str, answer: object
):
    path, call = READS[read]
    server.answers[f"GET {path}"] = says(200, answer)
    with pytest.raises(ExchangeUnavailable):
        call(exchange)


@pytest.mark.parametrize("status", ["PENDING_NEW", "A_NEW_WORD"])
def test_an_order_in_a_status_that_nobody_knows_is_told_of_and_hides_no_other(
    server: BinanceLike, exchange: CcxtExchange, status: str
):
    strange = {**ORDER, "status": status, "clientOrderId": "by-hand"}
    server.answers["GET openOrders"] = says(200, [strange, {**ORDER, "status": "NEW", "orderId": 29}])
    server.answers["GET order"] = says(200, strange)
    assert [one.exchange_order_id for one in exchange.open_orders(SYMBOL)] == ["28", "29"]
    found = exchange.find(SYMBOL, "by-hand")
    assert found is not None
    assert (found.state, found.filled_quantity) == (OrderState.PARTIALLY_FILLED, Decimal("0.2"))


def tells_trades(number: int, *, by_id: bool = True) -> Callable[[Handler], None]:
    """So many trades of one order, a page at a time: the newest, or those from an id on."""

    def answer(handler: Handler) -> None:
        asked = {name: int(value[0]) for name, value in parse_qs(handler.path).items() if value[0].isdigit()}
        first, limit = asked.get("fromId"), asked.get("limit", 500)
        names = [name for name in range(1, number + 1) if not by_id or name >= (first or 0)]
        page = names[-limit:] if first is None or not by_id else names[:limit]
        reply(handler, 200, [{**TRADE, "id": name} for name in page])

    return answer


@pytest.mark.parametrize(
    ("trades", "requests"), [(0, 1), (501, 1), (999, 1), (1000, 3), (1001, 3), (2500, 4)]
)
def test_every_trade_of_an_order_is_told_however_many_there_are(
    server: BinanceLike, exchange: CcxtExchange, trades: int, requests: int
):
    server.answers["GET myTrades"] = tells_trades(trades)
    fills = exchange.fills(SYMBOL, exchange_order_id="28")
    assert sorted(int(fill.trade_id) for fill in fills) == list(range(1, trades + 1))
    assert server.seen["GET myTrades"] == requests


def test_trades_that_come_again_whichever_were_asked_for_are_not_counted_twice(
    server: BinanceLike, exchange: CcxtExchange
):
    server.answers["GET myTrades"] = tells_trades(2500, by_id=False)
    with pytest.raises(ExchangeUnavailable, match="from 2501 on"):
        exchange.fills(SYMBOL, exchange_order_id="28")


class LateByOne(BinanceLike):
    """Answers every request after the first with the answer to the one before it.

    `on_one_connection`: a copy that came late on a connection kept open; else a proxy that mixes answers up.
    """

    def __init__(self, *, on_one_connection: bool) -> None:
        super().__init__()
        self._on_one_connection = on_one_connection
        self._due: dict[object, Callable[[Handler], None]] = {}

    def late(self, own: Callable[[Handler], None]) -> Callable[[Handler], None]:
        def answer(handler: Handler) -> None:
            key = handler.connection if self._on_one_connection else None
            due, self._due[key] = self._due.get(key, own), own
            due(handler)

        return answer


@pytest.mark.parametrize("on_one_connection", [True, False])
def test_answers_that_come_one_request_late_are_never_another_orders(on_one_connection: bool):
    with serving(LateByOne(on_one_connection=on_one_connection)) as server:

        def confirmed(name: str) -> Callable[[Handler], None]:
            return says(200, {**ORDER, "clientOrderId": name})

        exchange = connect(server)
        for name in ("al-1", "al-2", "al-3"):
            server.answers["POST order"] = server.late(confirmed(name))
            server.answers["GET order"] = confirmed(name)
            try:
                placed = exchange.submit(replace(limit_buy(), client_order_id=name))
            except OrderFateUnknown:
                placed = exchange.find(SYMBOL, name)
                assert not on_one_connection
            assert placed.client_order_id == name
        assert server.seen["POST order"] == 3
        exchange.close()


def test_where_only_lists_can_be_searched_absence_proves_nothing(
    server: BinanceLike, exchange: CcxtExchange, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exchange, "_traits", Traits())
    server.answers |= {"GET openOrders": says(200, []), "GET allOrders": says(200, [ORDER])}
    server.answers["DELETE order"] = says(200, {**ORDER, "status": "CANCELED"})
    assert exchange.find(SYMBOL, "al-1").state is OrderState.EXPIRED
    assert exchange.cancel(SYMBOL, "al-1") is False
    for call in (exchange.find, exchange.cancel):
        with pytest.raises(ExchangeUnavailable, match="proves nothing"):
            call(SYMBOL, "al-2")
    assert server.seen["DELETE order"] == 0
    server.answers["GET openOrders"] = says(200, [{**ORDER, "status": "NEW", "executedQty": "0"}])
    assert exchange.cancel(SYMBOL, "al-1") is True
    assert server.seen["DELETE order"] == 1


def test_a_symbol_that_is_not_listed_is_refused_with_the_nearest_one(
    server: BinanceLike, exchange: CcxtExchange
):
    with pytest.raises(ExchangeRefused, match="did you mean BTC/USDT"):
        exchange.market("BTC/USD")


def test_the_rules_of_a_market_are_asked_once_an_hour(
    server: BinanceLike, exchange: CcxtExchange, monkeypatch: pytest.MonkeyPatch
):
    seconds = 1000.0
    monkeypatch.setattr("alina.exchange.client.time.monotonic", lambda: seconds)
    for _ in range(3):
        exchange.market(SYMBOL)
    with pytest.raises(ExchangeRefused):
        exchange.market("NEW/USDT")
    assert server.seen["GET exchangeInfo"] == 1
    seconds += 61
    with pytest.raises(ExchangeRefused):
        exchange.market("NEW/USDT")
    exchange.market(SYMBOL)
    assert server.seen["GET exchangeInfo"] == 2
    seconds += 3600
    exchange.market(SYMBOL)
    assert server.seen["GET exchangeInfo"] == 3


def test_an_exchange_that_lists_nothing_is_unavailable_not_wrong(server: BinanceLike, exchange: CcxtExchange):
    server.answers["GET exchangeInfo"] = says(200, {"symbols": []})
    with pytest.raises(ExchangeUnavailable, match="no market"):
        exchange.market(SYMBOL)
    del server.answers["GET exchangeInfo"]
    assert exchange.market(SYMBOL).quote == "USDT"


def test_a_timeframe_the_exchange_does_not_have_is_refused(exchange: CcxtExchange):
    with pytest.raises(ExchangeRefused, match=r"market\.timeframe"):
        exchange.candles(SYMBOL, "7m", since=SINCE, limit=5)


def test_the_key_appears_in_no_log(
    server: BinanceLike, exchange: CcxtExchange, caplog: pytest.LogCaptureFixture
):
    server.answers["POST order"] = says(200, ORDER)
    with caplog.at_level("DEBUG"):
        exchange.submit(limit_buy())
    assert "signature" not in caplog.text
    assert "X-MBX-APIKEY" not in caplog.text
