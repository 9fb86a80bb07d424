from datetime import timedelta

import ccxt
import pytest
import requests

from alina.errors import ExchangeRefused, ExchangeUnavailable, OrderFateUnknown, OrderRejected
from alina.exchange.errors import read_error, submit_error


def after_http(error: Exception, status: int, headers: dict[str, str] | None = None) -> Exception:
    """`error` as ccxt raises it: while it handles the HTTP error of an answer."""
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    error.__context__ = requests.HTTPError(response=response)
    return error


@pytest.mark.parametrize(
    "error",
    [
        ccxt.NetworkError("binance GET"),
        ccxt.RequestTimeout("hang"),
        ccxt.ExchangeNotAvailable("503"),
        ccxt.DDoSProtection("429"),
        ccxt.RateLimitExceeded("-1003"),
        ccxt.BadResponse("-1006"),
        ccxt.OperationFailed("-1008"),
        ccxt.ExchangeError("-1008"),
        ccxt.InvalidNonce("-1021"),
        ValueError("bid is None: no number"),
    ],
)
def test_a_read_that_may_succeed_later_is_unavailable(error: Exception):
    assert isinstance(read_error(error, "binance"), ExchangeUnavailable)


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ccxt.AuthenticationError("-2015"), "ALINA_EXCHANGE_API_KEY"),
        (ccxt.PermissionDenied("-2015"), "ALINA_EXCHANGE_API_KEY"),
        (ccxt.BadSymbol("binance does not have market symbol X/Y"), "market.symbols"),
        (ccxt.BadRequest("-1100"), "do not repeat"),
        (ccxt.NotSupported("fetchTime"), "do not repeat"),
    ],
)
def test_a_read_that_can_never_succeed_is_refused_with_the_remedy(error: Exception, remedy: str):
    refused = read_error(error, "binance")
    assert type(refused) is ExchangeRefused
    assert remedy in str(refused)


def test_clock_drift_is_named():
    assert "clock" in str(read_error(ccxt.InvalidNonce("-1021"), "binance"))


def test_the_wait_that_a_rate_limit_asks_for_is_carried():
    error = after_http(ccxt.DDoSProtection("binance 429"), 429, {"retry-after": "17"})
    assert read_error(error, "binance").retry_after == timedelta(seconds=17)
    assert read_error(after_http(ccxt.DDoSProtection("429"), 429), "binance").retry_after is None


@pytest.mark.parametrize(
    "error",
    [
        ccxt.InvalidOrder("binance order amount should be evenly divisible by lot size LOT_SIZE"),
        ccxt.InsufficientFunds("-2010 insufficient balance"),
        ccxt.BadRequest("-1013 NOTIONAL"),
        ccxt.AuthenticationError("-2014"),
        ccxt.PermissionDenied("-2015"),
        ccxt.OrderImmediatelyFillable("-2010 would immediately match"),
        ccxt.MarketClosed("-2010 Market is closed."),
        ccxt.ArgumentsRequired("createOrder() requires a price"),
    ],
)
def test_an_order_that_the_exchange_refuses_in_its_own_words_is_rejected(error: Exception):
    rejected = submit_error(after_http(error, 400), "binance", "al-1")
    assert isinstance(rejected, OrderRejected)
    assert "al-1" in str(rejected)


@pytest.mark.parametrize(
    "error",
    [
        ccxt.NetworkError("dropped"),
        ccxt.RequestTimeout("-1007"),
        ccxt.ExchangeNotAvailable("502"),
        ccxt.DDoSProtection("429"),
        ccxt.RateLimitExceeded("-1015"),
        ccxt.InvalidNonce("-1021"),
        ccxt.ExchangeError("-1008 on a host ccxt has no table for"),
        ccxt.InvalidOrder("binance Duplicate order sent."),
        ccxt.BadRequest("client order id already exists"),
        ccxt.InvalidOrder('bybit {"retCode":170146,"retMsg":"Order creation timeout"}'),
        ccxt.BadRequest('bybit {"retCode":170035,"retMsg":"Submitted to the system for processing!"}'),
        ccxt.BadRequest('kucoin {"code":"408000","msg":"Network timeout, please try again later"}'),
        ccxt.BadRequest('coinsph {"code":-1001,"msg":"Internal error; unable to process your request."}'),
        ccxt.BadRequest('coinsph {"code":-1000,"msg":"An unknown error occured while processing"}'),
        ccxt.DuplicateOrderId("-2026"),
        ccxt.OrderNotFound("-2013"),
        ValueError("the order's id is missing"),
        RuntimeError("anything else"),
    ],
)
def test_the_fate_of_an_order_is_unknown_after_anything_else(error: Exception):
    unknown = submit_error(error, "binance", "al-1")
    assert isinstance(unknown, OrderFateUnknown)
    assert "ask the exchange by client order id" in str(unknown)


def test_a_server_error_leaves_the_fate_unknown_whatever_code_it_carries():
    error = after_http(ccxt.InvalidOrder('{"code":-1013}'), 503)
    assert isinstance(submit_error(error, "binance", "al-1"), OrderFateUnknown)


def test_no_message_carries_a_signature_or_a_whole_page():
    error = ccxt.NetworkError("binance GET http://h/api/v3/order?symbol=X&signature=5ec2e7 " + "<p>" * 500)
    message = str(read_error(error, "binance"))
    assert "5ec2e7" not in message
    assert len(message) < 400
