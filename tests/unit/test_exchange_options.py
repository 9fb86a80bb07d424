from datetime import timedelta

import ccxt
import pytest

from alina.errors import ConfigError
from alina.exchange.catalogue import supported
from alina.exchange.ccxt_exchange import CcxtExchange
from alina.exchange.options import client_options


def options_for(exchange_id: str, options: dict, **keys: str | None) -> dict:
    keys = {"api_key": None, "secret": None, **keys}
    return client_options(exchange_id, options=options, timeout=timedelta(seconds=10), **keys)


def test_the_persons_options_are_merged_into_the_defaults_and_do_not_replace_them():
    merged = options_for(
        "binance", {"options": {"recvWindow": 5000}, "urls": {"api": {"public": "http://x"}}}
    )
    assert merged["options"]["recvWindow"] == 5000
    assert merged["options"]["fetchMarkets"] == {"types": ["spot"]}
    assert merged["urls"] == {"api": {"public": "http://x"}}
    assert merged["enableRateLimit"] is True


def test_a_persons_option_wins_over_a_default():
    assert options_for("binance", {"enableRateLimit": False, "timeout": 3})["timeout"] == 3


def test_the_timeout_is_given_in_milliseconds():
    assert options_for("kraken", {})["timeout"] == 10_000


@pytest.mark.parametrize(
    "options",
    [
        {"options": {"maxRetriesOnFailure": 3}},
        {"options": {"order": {"maxRetriesOnFailure": 3}}},
        {"number": float},
        {"enableLastJsonResponse": False},
    ],
)
def test_no_option_brings_back_resending_or_floats(options: dict):
    merged = options_for("binance", options)
    assert merged["options"]["maxRetriesOnFailure"] == 0
    assert merged["number"] is str
    assert merged["enableLastJsonResponse"] is True
    api = ccxt.binance(merged)
    for path in ("order", "account", "openOrders"):  # as ccxt asks for it before each request
        assert api.handle_option_integer_and_params({}, path, "maxRetriesOnFailure", 0)[0] == 0


@pytest.mark.parametrize("exchange_id", ["bitget", "bybit", "bybiteu", "htx", "okx"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"options": {"createMarketBuyOrderRequiresPrice": False}},
        {"options": {"createOrder": {"createMarketBuyOrderRequiresPrice": False}}},
    ],
)
def test_no_option_lets_a_quantity_to_buy_be_sent_as_a_cost(exchange_id: str, options: dict):
    api = getattr(ccxt, exchange_id)(options_for(exchange_id, options))
    name = "createMarketBuyOrderRequiresPrice"
    assert api.handle_option_bool_and_params({}, "createOrder", name, False)[0] is True


def test_only_binance_is_told_to_leave_its_other_services_alone():
    assert "fetchMarkets" not in options_for("kraken", {})["options"]


def test_keys_that_are_not_there_are_not_passed():
    assert not {"apiKey", "secret"} & options_for("binance", {}).keys()
    assert options_for("binance", {}, api_key="k", secret="s")["apiKey"] == "k"


def test_an_exchange_that_ccxt_does_not_know_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="binance"):
        CcxtExchange("binanc", api_key=None, secret=None, options={}, timeout=timedelta(seconds=1))


def test_a_testnet_is_told_of_an_exchange_that_has_one():
    told = {one.id: one.has_testnet for one in supported()}
    assert [told[exchange_id] for exchange_id in ("binance", "okx", "kraken", "kucoin")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("name", ["testnet", "sandbox"])
def test_a_testnet_that_an_exchange_does_not_have_is_refused(name: str):
    with pytest.raises(ConfigError, match="kraken has no testnet"):
        CcxtExchange("kraken", api_key=None, secret=None, options={name: True}, timeout=timedelta(seconds=1))


def test_merging_changes_neither_the_persons_options_nor_ccxts_defaults():
    given = {"options": {"recvWindow": 1}}
    options_for("binance", given)
    assert given == {"options": {"recvWindow": 1}}
    assert ccxt.Exchange.number is float
