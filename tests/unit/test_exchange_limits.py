"""What of an exchange's words on its limits is understood."""

import json

import ccxt
import pytest

from alina.exchange.limits import Limits, limits_of, word_of
from alina.exchange.traits import Finding, traits_of

SECONDS = 1000


def limit(kind: str, interval: str, number: int, most: int) -> dict[str, object]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": most}


def test_the_published_limits_of_weight_and_of_orders_are_read():
    told = [
        limit("REQUEST_WEIGHT", "MINUTE", 1, 6000),
        limit("RAW_REQUESTS", "MINUTE", 5, 61_000),
        limit("ORDERS", "SECOND", 10, 100),
        limit("ORDERS", "DAY", 1, 200_000),
    ]
    assert limits_of({"rateLimits": told}) == Limits(6000, {10 * SECONDS: 100, 86_400 * SECONDS: 200_000})


@pytest.mark.parametrize("answer", [{}, {"rateLimits": []}, [], None, "text"])
def test_an_exchange_that_publishes_none_has_none(answer: object):
    assert limits_of(answer) == Limits(None, {})


@pytest.mark.parametrize(
    ("status", "body", "requests", "orders"),
    [
        (200, '{"code": -1003}', False, False),
        (429, "", True, False),
        (418, "<html>", True, False),
        (429, '{"code":-1003,"msg":"Too much request weight"}', True, False),
        (400, '{"code": -1003, "msg": "Too many requests"}', True, False),
        (429, '{"code": -1015, "msg": "Too many new orders"}', False, True),
        (400, '{"code":-1015}', False, True),
        (400, '{"code":-10150}', False, False),
        (503, "", False, False),
    ],
)
def test_too_many_orders_and_too_many_requests_are_told_apart(
    status: int, body: str, requests: bool, orders: bool
):
    word = word_of(status, {}, body)
    assert (word.too_many_requests, word.too_many_orders) == (requests, orders)
    assert word.retry_after_ms is None


def test_the_counts_in_the_headers_are_read_by_their_window():
    headers = {"X-MBX-USED-WEIGHT-1M": "40", "x-mbx-order-count-10s": "3", "X-MBX-ORDER-COUNT-1D": "77"}
    word = word_of(200, headers, "")
    assert (word.used_weight, word.orders) == (40, {10 * SECONDS: 3, 86_400 * SECONDS: 77})


@pytest.mark.parametrize(
    ("error", "requests", "orders"),
    [
        ("EAPI:Rate limit exceeded", True, False),
        ("EGeneral:Too many requests", True, False),
        ("EOrder:Rate limit exceeded", False, True),
        ("EOrder:Insufficient funds", False, False),
    ],
)
def test_kraken_refuses_too_much_with_status_200(error: str, requests: bool, orders: bool):
    word = word_of(200, {}, json.dumps({"error": [error]}))
    assert (word.too_many_requests, word.too_many_orders) == (requests, orders)
    assert not word_of(200, {}, json.dumps({"error": [], "result": {"note": error}})).too_many_requests


@pytest.mark.parametrize(("told", "wait_ms"), [("7", 7000), ("0", 1000), ("soon", None)])
def test_the_time_to_wait_is_read(told: str, wait_ms: int | None):
    assert word_of(429, {"retry-after": told}, "").retry_after_ms == wait_ms


def test_stop_orders_are_sent_only_where_ccxt_finds_them_among_the_others():
    known = {exchange_id: traits_of(exchange_id) for exchange_id in ccxt.exchanges}
    stops = [exchange_id for exchange_id, traits in known.items() if traits.lists_stops_with_orders]
    assert {"binance", "kraken"} <= set(stops)
    for exchange_id in stops:
        assert known[exchange_id].finding is not Finding.BY_SEARCH
        spot = getattr(ccxt, exchange_id)().features["spot"]
        assert spot["createOrder"]["stopLossPrice"] is True
        assert spot["fetchOrder"]["trigger"] is False  # no list of their own
        assert spot["fetchOpenOrders"]["trigger"] is False
