"""ccxt's own `binance` class trades on the venue as it does on Binance Spot."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from alina.domain.records import utc_from_ms
from alina.venue.candles_csv import load_series
from alina.venue.ccxt_options import venue_options
from alina.venue.clock import ReplayClock
from alina.venue.replay import Replay
from alina.venue.spec import Listing, VenueSpec

SYMBOL = "BTC/USDT"
KEYS = {"apiKey": "test-key", "secret": "test-secret"}
MINUTE, HOUR = 60_000, 3_600_000


class Venue:
    """A venue process and the way to it."""

    def __init__(self, folder: Path, speed: Decimal, **changes: Any) -> None:
        spec = VenueSpec(
            folder=folder,
            listings=(Listing(SYMBOL), Listing("ETH/BTC", lot_size=Decimal("0.001"))),
            speed=speed,
            balances=changes.pop("balances", {"USDT": Decimal(1_000_000), "BTC": Decimal(1000)}),
            api_key=KEYS["apiKey"],
            secret=KEYS["secret"],
            faults=True,
            **changes,
        )
        spec.write(folder / "spec.json")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alina.venue", str(folder / "spec.json")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def client(self, **changes: Any) -> Any:
        return ccxt.binance({**venue_options(self.url), **KEYS, "enableRateLimit": False, **changes})

    def market_ms(self) -> int:
        with urllib.request.urlopen(f"{self.url}/venue/v1/clock") as answer:  # noqa: S310  # loopback
            return int(json.load(answer)["market"])

    def move_on(self, milliseconds: int) -> None:
        """Let so much of the market pass."""
        body = json.dumps({"market": self.market_ms() + milliseconds}).encode()
        urllib.request.urlopen(f"{self.url}/venue/v1/clock", data=body).close()  # noqa: S310  # loopback

    def fail(self, **fault: Any) -> None:
        body = json.dumps({"path": "/api/v3/order", "method": "POST", **fault}).encode()
        urllib.request.urlopen(  # noqa: S310
            urllib.request.Request(f"{self.url}/venue/v1/faults", data=body)  # noqa: S310
        ).close()

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=200)


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """Its market stands still."""
    venue = Venue(tmp_path_factory.mktemp("standing"), Decimal(0))
    yield venue
    venue.stop()


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """Its market stands still until a test moves it on."""
    venue = Venue(tmp_path_factory.mktemp("moving"), Decimal(0))
    yield venue
    venue.stop()


@pytest.fixture(scope="module")
def client(venue: Venue) -> Iterator[Any]:
    client = venue.client()
    client.load_markets()
    yield client
    client.session.close()


@pytest.fixture
def price(client: Any) -> float:
    return float(client.fetch_ticker(SYMBOL)["last"])


def test_markets_carry_their_filters(client: Any) -> None:
    market = client.market(SYMBOL)
    assert market["active"]
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.00001)
    assert market["limits"]["cost"]["min"] == 10
    assert client.market("ETH/BTC")["limits"]["cost"]["min"] == 0.0001


def test_time_is_the_wall_s_and_a_ticker_s_time_the_market_s(client: Any, venue: Venue) -> None:
    assert abs(client.fetch_time() - time.time() * 1000) < 5000
    assert client.fetch_ticker(SYMBOL)["timestamp"] == venue.market_ms()


def test_candles_come_by_start_and_by_count(client: Any, venue: Venue) -> None:
    now = venue.market_ms()
    newest = client.fetch_ohlcv(SYMBOL, "1h", limit=3)
    assert [row[0] for row in newest] == [now // HOUR * HOUR - back * HOUR for back in (2, 1, 0)]
    assert client.fetch_ohlcv(SYMBOL, "1h", since=newest[0][0], limit=2) == newest[:2]
    assert client.fetch_ohlcv(SYMBOL, "1h", since=now + 1) == []
    assert len(client.fetch_ohlcv(SYMBOL, "1h", since=1)) == 251


def test_candles_of_a_coarser_timeframe_are_merged(client: Any) -> None:
    fine = client.fetch_ohlcv(SYMBOL, "1h", limit=12)
    for coarse in client.fetch_ohlcv(SYMBOL, "4h", limit=2):
        parts = [row for row in fine if coarse[0] <= row[0] < coarse[0] + 4 * HOUR]
        assert coarse[1] == parts[0][1]
        assert coarse[2] == max(row[2] for row in parts)
        assert coarse[3] == min(row[3] for row in parts)
        assert coarse[4] == parts[-1][4]
    with pytest.raises(ccxt.BadRequest, match="Invalid interval"):
        client.fetch_ohlcv(SYMBOL, "5m")


def test_ticker_and_book_agree(client: Any) -> None:
    ticker, book = client.fetch_ticker(SYMBOL), client.fetch_order_book(SYMBOL, 5)
    assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
    assert ticker["bid"] < ticker["last"] < ticker["ask"]
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    assert set(client.fetch_tickers()) == {SYMBOL, "ETH/BTC"}
    assert client.fetch_bids_asks([SYMBOL])[SYMBOL]["ask"] == ticker["ask"]


def test_a_market_order_is_filled_with_its_fee_and_found_by_either_id(client: Any) -> None:
    before = client.fetch_balance()["total"]
    placed = client.create_order(SYMBOL, "market", "buy", 0.5, None, {"newClientOrderId": "by-either-id"})
    assert (placed["status"], placed["filled"], placed["fee"]["currency"]) == ("closed", 0.5, "BTC")
    after = client.fetch_balance()["total"]
    assert after["BTC"] == pytest.approx(before["BTC"] + 0.5 * 0.999)
    assert after["USDT"] == pytest.approx(before["USDT"] - placed["cost"])
    assert client.fetch_order(placed["id"], SYMBOL)["clientOrderId"] == "by-either-id"
    assert client.fetch_order(None, SYMBOL, {"clientOrderId": "by-either-id"})["id"] == placed["id"]


def test_an_order_s_trades_are_listed(client: Any, venue: Venue) -> None:
    placed = client.create_order(SYMBOL, "market", "sell", 0.25)
    trades = client.fetch_my_trades(SYMBOL, params={"orderId": placed["id"]})
    assert sum(trade["amount"] for trade in trades) == 0.25
    assert {trade["order"] for trade in trades} == {placed["id"]}
    assert {(trade["side"], trade["takerOrMaker"]) for trade in trades} == {("sell", "taker")}
    assert {trade["fee"]["currency"] for trade in trades} == {"USDT"}
    assert client.fetch_my_trades(SYMBOL, since=venue.market_ms() + 1) == []
    assert client.fetch_trades(SYMBOL)[-1]["id"] == trades[-1]["id"]


def test_fees_in_a_third_asset_are_told_and_debited(tmp_path: Path) -> None:
    prices = {"USDT": Decimal(600), "BTC": Decimal("0.01")}
    balances = {"USDT": Decimal(100_000), "BNB": Decimal(1)}
    venue = Venue(tmp_path, Decimal(0), balances=balances, fee_asset="BNB", fee_asset_prices=prices)
    client = venue.client()
    placed = client.create_order(SYMBOL, "market", "buy", 0.5)
    [trade] = client.fetch_my_trades(SYMBOL)
    held = client.fetch_balance()["total"]
    assert placed["fee"] == trade["fee"]
    assert trade["fee"]["currency"] == "BNB"
    assert trade["fee"]["cost"] == pytest.approx(placed["cost"] * 0.001 / 600, abs=1e-8)
    assert (held["BTC"], held["BNB"]) == (0.5, 1 - trade["fee"]["cost"])
    client.session.close()
    venue.stop()


def test_a_market_buy_by_cost_spends_no_more_than_that(client: Any) -> None:
    placed = client.create_market_buy_order_with_cost(SYMBOL, 500)
    assert placed["status"] == "closed"
    assert 499.9 < placed["cost"] <= 500


def test_a_market_order_beyond_the_book_expires_with_what_it_got(client: Any) -> None:
    depth = sum(quantity for _, quantity in client.fetch_order_book(SYMBOL)["bids"])
    placed = client.create_order(SYMBOL, "market", "sell", depth + 1)
    assert placed["status"] == "expired"
    assert placed["filled"] == pytest.approx(depth)


def test_a_limit_order_rests_and_is_canceled(client: Any, price: float) -> None:
    placed = client.create_order(SYMBOL, "limit", "buy", 1, price * 0.9, {"newClientOrderId": "resting"})
    assert placed["status"] == "open"
    assert client.fetch_balance()["used"]["USDT"] == pytest.approx(placed["price"])
    assert [one["id"] for one in client.fetch_open_orders(SYMBOL)] == [placed["id"]]
    assert client.cancel_order(None, SYMBOL, {"clientOrderId": "resting"})["status"] == "canceled"
    assert client.fetch_open_orders(SYMBOL) == []
    assert client.fetch_order(placed["id"], SYMBOL)["status"] == "canceled"
    assert client.fetch_orders(SYMBOL)[-1]["id"] == placed["id"]


def test_all_open_orders_are_canceled_together(client: Any, price: float) -> None:
    for _ in range(2):
        client.create_order(SYMBOL, "limit", "sell", 1, price * 1.1, {"postOnly": True})
    client.cancel_all_orders(SYMBOL)
    assert client.fetch_open_orders(SYMBOL) == []
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_all_orders(SYMBOL)


@pytest.mark.parametrize(
    ("side", "stop", "kind"),
    [
        ("sell", {"stopLossPrice": 0.9}, "STOP_LOSS"),
        ("buy", {"stopLossPrice": 1.1}, "STOP_LOSS"),
        ("sell", {"takeProfitPrice": 1.1}, "TAKE_PROFIT"),
        ("buy", {"takeProfitPrice": 0.9}, "TAKE_PROFIT"),
    ],
)
@pytest.mark.parametrize("is_limit", [True, False])
def test_a_stop_order_is_open_waits_and_is_canceled(
    client: Any, price: float, side: str, stop: dict[str, float], kind: str, is_limit: bool
) -> None:
    [(name, factor)] = stop.items()
    limit = round(price * factor * 0.99, 2) if is_limit else None
    stop_price = round(price * factor, 2)
    placed = client.create_order(
        SYMBOL, "limit" if is_limit else "market", side, 1, limit, {name: stop_price}
    )
    found = client.fetch_order(placed["id"], SYMBOL)
    for order in (placed, found, *client.fetch_open_orders(SYMBOL)):
        assert (order["status"], order["triggerPrice"], order["filled"]) == ("open", stop_price, 0)
        assert order["info"]["type"] == kind + ("_LIMIT" if is_limit else "")
    assert (found["info"]["isWorking"], found["info"]["workingTime"]) == (False, -1)
    asset, amount = ("BTC", 1) if side == "sell" else ("USDT", limit or stop_price)
    assert client.fetch_balance()["used"][asset] == pytest.approx(amount)
    assert client.cancel_order(placed["id"], SYMBOL)["status"] == "canceled"
    assert client.fetch_balance()["used"][asset] == 0


def test_time_in_force_is_kept(client: Any, price: float) -> None:
    for time_in_force in ("IOC", "FOK"):
        placed = client.create_order(SYMBOL, "limit", "buy", 1, price * 0.9, {"timeInForce": time_in_force})
        assert (placed["status"], placed["timeInForce"]) == ("expired", time_in_force)


def test_a_test_order_is_checked_and_not_placed(client: Any, price: float) -> None:
    orders = len(client.fetch_orders(SYMBOL))
    client.create_order(SYMBOL, "limit", "buy", 1, price, {"test": True})
    with pytest.raises(ccxt.InsufficientFunds):
        client.create_order(SYMBOL, "limit", "sell", 5000, price * 1.1, {"test": True})
    assert len(client.fetch_orders(SYMBOL)) == orders


def test_fees_are_told(client: Any) -> None:
    rates = client.fetch_balance()["info"]["commissionRates"]
    assert (rates["maker"], rates["taker"]) == ("0.00100000", "0.00100000")
    told = client.fetch_trading_fee(SYMBOL)
    assert (told["maker"], told["taker"]) == (0.001, 0.001)
    assert set(client.fetch_trading_fees()) == set(client.markets)


def test_the_system_s_status_is_told(client: Any) -> None:
    assert client.fetch_status()["status"] == "ok"


def test_the_used_weight_is_told(client: Any) -> None:
    client.fetch_time()
    used = int(client.last_response_headers["X-MBX-USED-WEIGHT-1M"])
    client.fetch_order_book(SYMBOL)
    assert int(client.last_response_headers["X-MBX-USED-WEIGHT-1M"]) in (used + 5, 5)


def test_placed_orders_are_counted(client: Any) -> None:
    client.private_post_order(order())
    day = int(client.last_response_headers["X-MBX-ORDER-COUNT-1D"])
    assert int(client.last_response_headers["X-MBX-ORDER-COUNT-10S"]) <= day
    client.private_post_order(order())
    assert int(client.last_response_headers["X-MBX-ORDER-COUNT-1D"]) == day + 1
    with pytest.raises(ccxt.BadRequest):
        client.private_post_order(order(quantity="0.0001"))
    assert "X-MBX-ORDER-COUNT-1D" not in client.last_response_headers


def test_limits_that_the_venue_is_told_to_enforce_are_told_and_enforced(tmp_path: Path) -> None:
    venue = Venue(tmp_path, Decimal(0), weight_limit=100, order_limit_10s=1)
    client = venue.client()
    client.load_markets()
    limits = client.public_get_exchangeinfo()["rateLimits"]
    assert [(one["rateLimitType"], one["limit"]) for one in limits] == [
        ("REQUEST_WEIGHT", 100),
        ("ORDERS", 1),
    ]
    ask_until("-1015", lambda: client.private_post_order(order()))
    assert "Retry-After" not in client.last_response_headers
    ask_until(" 429 ", client.fetch_balance)
    assert 0 < int(client.last_response_headers["Retry-After"]) <= 60
    ask_until(" 418 ", client.fetch_balance)
    assert int(client.last_response_headers["Retry-After"]) > 60
    client.session.close()
    venue.stop()


def ask_until(words: str, ask: Callable[[], Any]) -> None:
    """Ask again and again, until a refusal has these words."""
    for _ in range(500):
        try:
            ask()
        except ccxt.DDoSProtection as error:
            if words in str(error):
                return
    raise AssertionError(f"nothing was refused with {words}")


def order(**changes: Any) -> dict[str, Any]:
    return {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1", **changes}


def resting(**changes: Any) -> dict[str, Any]:
    return order(type="LIMIT", timeInForce="GTC", price="5000.00", **changes)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        (order(quantity="1.000001"), ccxt.InvalidOrder, "LOT_SIZE"),
        (resting() | {"price": "5000.001"}, ccxt.InvalidOrder, "PRICE_FILTER"),
        (resting() | {"price": "50.00"}, ccxt.InvalidOrder, "PERCENT_PRICE"),
        (order(quantity="0.0001"), ccxt.BadRequest, "NOTIONAL"),
        (order(quantity="1e3"), ccxt.BadRequest, "-1100"),
        (order(quantity="0.1234567891"), ccxt.BadRequest, "-1111"),
        (order(newClientOrderId="with space"), ccxt.BadRequest, "-1100"),
        (order(quantity=""), ccxt.BadRequest, "-1102"),
        (order(side="HOLD"), ccxt.BadRequest, "-1117"),
        (order(type="TRAILING"), ccxt.BadRequest, "-1116"),
        (order(type="STOP_LOSS"), ccxt.BadRequest, "stopPrice"),
        (resting() | {"type": "STOP_LOSS_LIMIT", "side": "SELL"}, ccxt.BadRequest, "stopPrice"),
        (resting(stopPrice="5100.00"), ccxt.BadRequest, "-1106"),
        (order(type="STOP_LOSS", stopPrice="5000.00"), ccxt.OrderImmediatelyFillable, "trigger"),
        (order(type="TAKE_PROFIT", stopPrice="1.001"), ccxt.InvalidOrder, "PRICE_FILTER"),
        (order(type="STOP_LOSS", trailingDelta="50"), ccxt.InvalidOrder, "Trailing"),
        (resting() | {"timeInForce": "GTX"}, ccxt.BadRequest, "-1115"),
        (order(symbol="DOGEUSDT"), ccxt.BadSymbol, "-1121"),
        (resting() | {"quantity": "5000"}, ccxt.InsufficientFunds, "insufficient"),
        (
            order(type="LIMIT_MAKER", price="9000.00"),
            ccxt.OrderImmediatelyFillable,
            "immediately",
        ),
        (resting() | {"type": "LIMIT_MAKER"}, ccxt.BadRequest, "-1106.*timeInForce"),
        (order(price="5000.00"), ccxt.BadRequest, "-1106.*price"),
        (order(quoteOrderQty="100"), ccxt.BadRequest, "-1106.*quoteOrderQty"),
        (resting(icebergQty="0.1"), ccxt.InvalidOrder, "Iceberg"),
        (resting(goodTillDate="1"), ccxt.BadRequest, "-1104"),
    ],
)
def test_a_refused_order_raises_what_ccxt_raises_on_binance(
    client: Any, params: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        client.private_post_order(params)


def test_a_stop_that_ccxt_attaches_to_an_entry_is_refused_and_never_forgotten(client: Any) -> None:
    attached = {"stopLoss": {"triggerPrice": 4000}, "takeProfit": {"triggerPrice": 9000}}
    with pytest.raises(ccxt.BadRequest, match="-1104"):
        client.create_order(SYMBOL, "limit", "buy", 1, 5000, attached)
    with pytest.raises(ccxt.BadRequest, match="-1104"):
        client.private_post_orderlist_oco(oco(6700, pendingSide="SELL"))
    assert client.fetch_open_orders(SYMBOL) == []


def test_a_client_order_id_is_refused_while_an_order_with_it_is_open(client: Any) -> None:
    client.private_post_order(resting(newClientOrderId="twice"))
    with pytest.raises(ccxt.InvalidOrder, match="Duplicate order sent"):
        client.private_post_order(resting(newClientOrderId="twice"))
    client.cancel_all_orders(SYMBOL)


def test_unknown_orders_are_not_found(client: Any) -> None:
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order(None, SYMBOL, {"clientOrderId": "never-sent"})
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order("999999", SYMBOL)


@pytest.mark.parametrize("changes", [{"secret": "wrong"}, {"apiKey": "wrong"}])
def test_a_wrong_key_or_secret_is_an_authentication_error(venue: Venue, changes: dict[str, str]) -> None:
    stranger = venue.client(**changes)
    with pytest.raises(ccxt.AuthenticationError):
        stranger.fetch_balance()
    stranger.session.close()


@pytest.mark.parametrize("difference", [60_000, -60_000])
def test_a_drifted_clock_is_an_invalid_nonce(venue: Venue, difference: int) -> None:
    drifted = venue.client()
    drifted.options["timeDifference"] = difference
    with pytest.raises(ccxt.InvalidNonce):
        drifted.fetch_balance()
    drifted.session.close()


def test_an_unsigned_request_is_refused(venue: Venue) -> None:
    with pytest.raises(ccxt.AuthenticationError, match="-2014"):
        venue.client().fetch(f"{venue.url}/api/v3/account")


def test_scripted_faults_raise_what_they_raise_on_binance(venue: Venue, client: Any) -> None:
    venue.fail(kind="error_before")
    with pytest.raises(ccxt.ExchangeNotAvailable):
        client.create_order(SYMBOL, "market", "buy", 0.1, None, {"newClientOrderId": "refused"})
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order(None, SYMBOL, {"clientOrderId": "refused"})
    venue.fail(kind="accept_then_drop")
    with pytest.raises(ccxt.NetworkError):
        client.create_order(SYMBOL, "market", "buy", 0.1, None, {"newClientOrderId": "dropped"})
    assert client.fetch_order(None, SYMBOL, {"clientOrderId": "dropped"})["status"] == "closed"
    venue.fail(kind="delay", delay_seconds="2")
    hasty = venue.client(timeout=200)
    with pytest.raises(ccxt.RequestTimeout):
        hasty.private_post_order(order(newClientOrderId="delayed"))
    hasty.session.close()
    deadline = time.monotonic() + 200
    while "delayed" not in [one["clientOrderId"] for one in client.fetch_orders(SYMBOL)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_forming_candle_is_never_ahead_of_the_path(moving: Venue) -> None:
    client = moving.client()
    client.load_markets()
    replay = Replay(load_series(Listing(SYMBOL).path, warmup=250), Decimal("0.01"))
    for _ in range(60):
        moving.move_on(7 * MINUTE)
        [[opened, *shown]] = client.fetch_ohlcv(SYMBOL, "1h", limit=1)
        _, high, low, _, volume = (Decimal(str(one)) for one in shown)
        [known] = replay.bars(opened, opened, moving.market_ms())
        assert high <= known.high
        assert low >= known.low
        assert volume <= known.volume
    client.session.close()


def test_a_resting_order_is_filled_as_maker_when_the_market_comes_to_it(moving: Venue) -> None:
    client = moving.client()
    last = client.fetch_ticker(SYMBOL)["last"]
    around = [
        client.create_order(SYMBOL, "limit", side, 1, last * factor, {"postOnly": True})
        for side, factor in (("buy", 0.9985), ("sell", 1.0015))
    ]
    deadline = time.monotonic() + 200
    while not (trades := client.fetch_my_trades(SYMBOL)):
        assert time.monotonic() < deadline
        moving.move_on(MINUTE)
    [placed] = [one for one in around if one["id"] == trades[0]["order"]]
    assert client.fetch_order(placed["id"], SYMBOL)["status"] == "closed"
    assert (trades[0]["price"], trades[0]["takerOrMaker"]) == (placed["price"], "maker")
    assert placed["timestamp"] <= trades[0]["timestamp"] <= moving.market_ms()
    client.session.close()


def test_a_stop_order_is_triggered_by_the_path_and_its_trade_is_told(moving: Venue) -> None:
    client = moving.client()
    last = client.fetch_ticker(SYMBOL)["last"]
    placed = [
        client.create_order(SYMBOL, "market", side, 1, None, {"stopLossPrice": last * factor})["id"]
        for side, factor in (("sell", 0.9995), ("buy", 1.0005))
    ]
    deadline = time.monotonic() + 200
    while not (trades := [one for one in client.fetch_my_trades(SYMBOL) if one["order"] in placed]):
        assert time.monotonic() < deadline
        moving.move_on(MINUTE)
    trade = trades[0]
    order = client.fetch_order(trade["order"], SYMBOL)
    assert (order["status"], trade["takerOrMaker"], order["info"]["isWorking"]) == ("closed", "taker", True)
    assert int(order["info"]["workingTime"]) == trade["timestamp"] > order["timestamp"]
    client.session.close()


def test_after_the_last_candle_the_market_is_closed_and_its_time_stands_still(tmp_path: Path) -> None:
    venue = Venue(tmp_path, Decimal(1_000_000_000))
    end, clock, client = (
        load_series(Listing(SYMBOL).path, warmup=250).end_ms,
        ReplayClock(venue.url),
        venue.client(),
    )
    deadline = time.monotonic() + 200
    while venue.market_ms() < end:
        assert time.monotonic() < deadline
    assert not client.load_markets()[SYMBOL]["active"]
    with pytest.raises(ccxt.MarketClosed):
        client.create_order(SYMBOL, "market", "buy", 1)
    assert clock.now() == clock.now() == utc_from_ms(end)
    assert client.fetch_ohlcv(SYMBOL, "1h", limit=1)[0][0] == end - HOUR
    client.session.close()
    venue.stop()


def oco(price: float, **changes: Any) -> dict[str, Any]:
    """A sale above the market, and one below it that limits the loss."""
    return {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "quantity": "0.01",
        "aboveType": "LIMIT_MAKER",
        "abovePrice": f"{price * 1.05:.2f}",
        "belowType": "STOP_LOSS_LIMIT",
        "belowStopPrice": f"{price * 0.95:.2f}",
        "belowPrice": f"{price * 0.94:.2f}",
        "belowTimeInForce": "GTC",
        **changes,
    }


def test_one_cancels_the_other_and_is_listed_until_then(client: Any, price: float) -> None:
    before = client.fetch_balance()["BTC"]
    answer = client.private_post_orderlist_oco(oco(price, aboveClientOrderId="gain"))
    assert (answer["contingencyType"], answer["listOrderStatus"]) == ("OCO", "EXECUTING")
    assert [one["type"] for one in answer["orderReports"]] == ["LIMIT_MAKER", "STOP_LOSS_LIMIT"]
    listed = {"orderListId": answer["orderListId"]}
    assert listed["orderListId"] in {one["orderListId"] for one in client.private_get_openorderlist()}
    assert client.fetch_balance()["BTC"]["used"] == pytest.approx(before["used"] + 0.01)
    client.cancel_order(None, SYMBOL, {"clientOrderId": "gain"})
    assert client.private_get_orderlist(listed)["listOrderStatus"] == "ALL_DONE"
    assert client.fetch_balance()["BTC"] == before
    with pytest.raises(ccxt.OrderNotFound):
        client.private_delete_orderlist({"symbol": "BTCUSDT", **listed})


def test_the_older_way_to_place_a_pair_and_to_cancel_it_as_a_list(client: Any, price: float) -> None:
    answer = client.private_post_order_oco(
        {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "quantity": "0.01",
            "price": f"{price * 0.95:.2f}",
            "stopPrice": f"{price * 1.05:.2f}",
        }
    )
    assert [one["type"] for one in answer["orderReports"]] == ["STOP_LOSS", "LIMIT_MAKER"]
    canceled = client.private_delete_orderlist({"symbol": "BTCUSDT", "orderListId": answer["orderListId"]})
    assert [one["status"] for one in canceled["orderReports"]] == ["CANCELED", "CANCELED"]


def test_a_pair_whose_prices_lie_on_the_wrong_side_is_refused(client: Any, price: float) -> None:
    wrong = oco(price, side="BUY")
    with pytest.raises(ccxt.InvalidOrder, match="relationship of the prices"):
        client.private_post_orderlist_oco(wrong)
