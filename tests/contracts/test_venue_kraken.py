"""ccxt's own `kraken` class trades on the venue as it does on Kraken."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import ccxt
import pytest

from alina.domain.orders import Order, OrderSide, OrderType, client_order_id_for
from alina.errors import ConfigError
from alina.exchange.ccxt_exchange import CcxtExchange
from alina.exchange.options import client_options
from alina.venue.ccxt_options import venue_options
from alina.venue.kraken_limits import CallCounter
from alina.venue.spec import Dialect, Listing, VenueSpec

SYMBOL = "BTC/USDT"
KEYS = {"apiKey": "a-key", "secret": base64.b64encode(b"a secret").decode()}
HOUR = 3_600_000


def spec_of(folder: Path, **changes: Any) -> VenueSpec:
    fields: dict[str, Any] = {
        "listings": (Listing(SYMBOL), Listing("ETH/BTC", lot_size=Decimal("0.001"))),
        "speed": Decimal(0),
        "balances": {"USDT": Decimal(1_000_000), "BTC": Decimal(1000)},
        "maker_fee": Decimal("0.0016"),
        "taker_fee": Decimal("0.0026"),
    }
    keys = {"api_key": KEYS["apiKey"], "secret": KEYS["secret"]}
    return VenueSpec(folder=folder, dialect=Dialect.KRAKEN, faults=True, **{**fields, **keys, **changes})


class Venue:
    """A venue process that speaks Kraken's dialect, and the way to it."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        spec_of(folder, **changes).write(folder / "spec.json")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alina.venue", str(folder / "spec.json")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def client(self, **changes: Any) -> Any:
        return ccxt.kraken(
            {**venue_options(self.url, Dialect.KRAKEN), **KEYS, "enableRateLimit": False, **changes}
        )

    def market_ms(self) -> int:
        with urllib.request.urlopen(f"{self.url}/venue/v1/clock") as answer:  # noqa: S310  # loopback
            return int(json.load(answer)["market"])

    def ask(self, name: str, body: str, **headers: str) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  # loopback
            f"{self.url}/0/private/{name}", data=body.encode(), headers=headers
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            told: dict[str, Any] = json.load(answer)
        return told

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=200)


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """Its market stands still."""
    venue = Venue(tmp_path_factory.mktemp("kraken"))
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


def test_markets_are_named_as_kraken_names_them(client: Any) -> None:
    market, cross = client.market(SYMBOL), client.market("ETH/BTC")
    assert (market["id"], market["altname"], market["wsId"]) == ("XBTUSDT", "XBTUSDT", "XBT/USDT")
    assert (cross["id"], cross["altname"], cross["wsId"]) == ("XETHXXBT", "ETHXBT", "ETH/XBT")
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.00001)
    assert (market["limits"]["cost"]["min"], market["limits"]["amount"]["min"]) == (10, 0.00001)
    assert (market["maker"], market["taker"], market["active"]) == (0.0016, 0.0026, True)


def test_time_is_the_wall_s_and_the_header_date_tells_the_market_s(client: Any, venue: Venue) -> None:
    assert abs(client.fetch_time() - time.time() * 1000) < 5000
    client.fetch_ticker(SYMBOL)
    market = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(venue.market_ms() // 1000))
    assert client.last_response_headers["Date"] == market
    assert client.fetch_status()["status"] == "ok"


def test_candles_are_the_newest_and_from_a_moment_on(client: Any, venue: Venue) -> None:
    now = venue.market_ms()
    rows = client.fetch_ohlcv(SYMBOL, "1h")
    assert rows[-1][0] == now // HOUR * HOUR
    assert client.fetch_ohlcv(SYMBOL, "1h", since=rows[-3][0]) == rows[-3:]
    four = client.fetch_ohlcv(SYMBOL, "4h")
    assert all(row[0] % (4 * HOUR) == 0 for row in four)
    with pytest.raises(ccxt.BadRequest):
        client.fetch_ohlcv(SYMBOL, "5m")


def test_the_book_lies_around_the_last_price(client: Any, price: float) -> None:
    book, ticker = client.fetch_order_book(SYMBOL, 5), client.fetch_ticker(SYMBOL)
    assert book["bids"][0][0] < price < book["asks"][0][0]
    assert (book["bids"][0][0], book["asks"][0][0]) == (ticker["bid"], ticker["ask"])
    assert len(book["bids"]) == len(book["asks"]) == 5
    assert set(client.fetch_tickers()) == {SYMBOL, "ETH/BTC"}


def test_a_market_order_is_filled_and_its_fees_are_paid_in_quote(client: Any) -> None:
    before = client.fetch_balance()
    placed = client.create_order(SYMBOL, "market", "buy", 0.5)
    order = client.fetch_order(placed["id"])
    trades = client.fetch_order_trades(placed["id"], params={"trades": order["trades"]})
    after = client.fetch_balance()
    assert (order["status"], order["filled"], order["side"]) == ("closed", 0.5, "buy")
    assert [trade["id"] for trade in trades] == [trade["id"] for trade in order["trades"]]
    assert {(trade["fee"]["currency"], trade["takerOrMaker"]) for trade in trades} == {("USDT", "taker")}
    assert after["BTC"]["total"] - before["BTC"]["total"] == 0.5
    paid = sum(trade["cost"] + trade["fee"]["cost"] for trade in trades)
    assert before["USDT"]["total"] - after["USDT"]["total"] == pytest.approx(paid, abs=1e-6)
    assert sum(trade["fee"]["cost"] for trade in trades) == pytest.approx(order["cost"] * 0.0026, abs=1e-6)
    [closed] = [one for one in client.fetch_closed_orders(SYMBOL) if one["id"] == placed["id"]]
    assert (closed["fee"]["cost"], closed["fee"]["currency"]) == (order["fee"]["cost"], "USDT")
    assert float(order["fee"]["cost"]) == pytest.approx(sum(trade["fee"]["cost"] for trade in trades))
    assert placed["id"] in {trade["order"] for trade in client.fetch_my_trades(SYMBOL)}
    assert client.fetch_my_trades("ETH/BTC") == []
    assert client.fetch_trades(SYMBOL)[-1]["side"] == "buy"


def test_a_market_order_buys_for_a_cost(client: Any) -> None:
    placed = client.create_market_buy_order_with_cost(SYMBOL, 5000)
    assert 4999 < client.fetch_order(placed["id"])["cost"] <= 5000


def test_a_limit_order_rests_with_its_fee_locked_and_is_found_and_cancelled_by_its_own_id(
    client: Any, price: float
) -> None:
    mine, limit = str(uuid4()), round(price * 0.9, 2)
    held = client.fetch_balance()["USDT"]["used"]
    placed = client.create_order(SYMBOL, "limit", "buy", 2, limit, {"clientOrderId": mine})
    [found] = client.fetch_open_orders(SYMBOL, params={"clientOrderId": mine})
    assert (found["id"], found["clientOrderId"], found["price"]) == (placed["id"], mine, limit)
    assert (found["status"], found["amount"], found["filled"]) == ("open", 2, 0)
    assert client.fetch_balance()["USDT"]["used"] - held == pytest.approx(2 * limit * 1.0026)
    assert client.fetch_closed_orders(SYMBOL, params={"clientOrderId": mine}) == []
    client.cancel_order("", SYMBOL, {"clientOrderId": mine})
    [closed] = client.fetch_closed_orders(SYMBOL, params={"clientOrderId": mine})
    assert (closed["id"], closed["status"]) == (placed["id"], "canceled")
    assert client.fetch_balance()["USDT"]["used"] == held
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order(placed["id"], SYMBOL)


@pytest.mark.parametrize(
    ("side", "away", "params", "kind"),
    [
        ("sell", 0.9, {"stopLossPrice": 0.95}, "stop-loss-limit"),
        ("sell", None, {"stopLossPrice": 0.95}, "stop-loss"),
        ("sell", 1.1, {"takeProfitPrice": 1.05}, "take-profit-limit"),
        ("sell", None, {"takeProfitPrice": 1.05}, "take-profit"),
    ],
)
def test_orders_wait_for_their_price(
    client: Any, price: float, side: str, away: float | None, params: dict[str, float], kind: str
) -> None:
    prices = {name: round(price * times, 2) for name, times in params.items()}
    limit = None if away is None else round(price * away, 2)
    placed = client.create_order(SYMBOL, "market" if away is None else "limit", side, 1, limit, prices)
    found = client.fetch_order(placed["id"])
    assert (found["info"]["descr"]["ordertype"], found["status"]) == (kind, "open")
    assert {name: found[name] for name in prices} == prices
    assert found["price"] == limit
    client.cancel_order(placed["id"])


def test_post_only_and_immediate_orders(client: Any, price: float) -> None:
    above, below = round(price * 1.01, 2), round(price * 0.9, 2)
    with pytest.raises(ccxt.ExchangeError, match="EOrder:Post only order"):
        client.create_order(SYMBOL, "limit", "buy", 1, above, {"postOnly": True})
    resting = client.create_order(SYMBOL, "limit", "buy", 1, below, {"postOnly": True})
    assert client.fetch_order(resting["id"])["postOnly"]
    client.cancel_all_orders()
    assert client.fetch_open_orders(SYMBOL) == []
    gone = client.create_order(SYMBOL, "limit", "buy", 1, below, {"timeInForce": "IOC"})
    assert client.fetch_order(gone["id"])["status"] == "expired"


def refused(
    client: Any, error: type[Exception], words: str, amount: float, limit: float, **params: Any
) -> None:
    with pytest.raises(error, match=words):
        client.create_order(SYMBOL, "limit", "buy", amount, limit, params)


def test_what_is_refused_is_refused_in_kraken_s_words(client: Any, price: float) -> None:
    refused(client, ccxt.InsufficientFunds, "EOrder:Insufficient funds", 900, price)
    refused(client, ccxt.ExchangeError, "EOrder:Cost minimum not met", 0.00001, price)
    refused(client, ccxt.ExchangeError, "EOrder:Invalid price", 1, price * 100)
    refused(client, ccxt.BadRequest, "EGeneral:Invalid arguments", 1, price, leverage="5")
    refused(client, ccxt.BadRequest, "EGeneral:Invalid arguments", 1, price, timeInForce="GTD")
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order("O99999-99999-999999")
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order("nothing")
    with pytest.raises(ccxt.BadSymbol):
        client.publicGetTicker({"pair": "NOPE"})


def test_a_stop_that_kraken_s_class_does_not_know_of_is_refused_and_never_forgotten(
    client: Any, price: float
) -> None:
    before = client.fetch_my_trades(SYMBOL)
    for forgotten in (
        {"triggerPrice": price * 0.9},
        {"stopLoss": {"triggerPrice": price * 0.8}},
        {"close": {"ordertype": "stop-loss", "price": f"{price * 0.9:.2f}"}},
    ):
        with pytest.raises(ccxt.BadRequest, match="EGeneral:Invalid arguments"):
            client.create_order(SYMBOL, "market", "sell", 0.01, None, forgotten)
    assert client.fetch_my_trades(SYMBOL) == before


def test_numbers_beyond_all_times_and_rows_are_refused(client: Any) -> None:
    for name, method in (("start", client.privatePostClosedOrders), ("ofs", client.privatePostTradesHistory)):
        with pytest.raises(ccxt.BadRequest, match="EGeneral:Invalid arguments"):
            method({name: "9" * 16})
        assert method({name: "9" * 15})["result"]["count"] >= 0


def test_trades_are_read_on_from_where_an_answer_ended(client: Any) -> None:
    client.create_order(SYMBOL, "market", "buy", 0.01)
    told = client.publicGetTrades({"pair": "XBTUSDT"})["result"]
    again = client.publicGetTrades({"pair": "XBTUSDT", "since": told["last"]})["result"]
    assert again["XBTUSDT"][-1] == told["XBTUSDT"][-1]  # of the same moment: the market stands still
    later = str(int(told["last"]) + 1_000_000)
    assert client.publicGetTrades({"pair": "XBTUSDT", "since": later})["result"]["XBTUSDT"] == []


def test_a_checked_order_is_not_placed(client: Any, price: float) -> None:
    order = {"pair": "XBTUSDT", "type": "buy", "ordertype": "limit", "volume": "1", "validate": "true"}
    told = client.privatePostAddOrder({**order, "price": f"{price:.2f}"})["result"]
    assert told == {"descr": {"order": f"buy 1.00000000 XBTUSDT @ limit {price:.8f}"}}
    assert client.fetch_open_orders() == []


def test_a_wrong_key_a_wrong_signature_and_an_old_nonce_are_refused(venue: Venue, client: Any) -> None:
    with pytest.raises(ccxt.AuthenticationError):
        venue.client(apiKey="another").fetch_balance()
    with pytest.raises(ccxt.ExchangeError, match="EAPI:Invalid signature"):
        venue.client(secret=base64.b64encode(b"another").decode()).fetch_balance()
    client.fetch_balance()
    body = "nonce=1"
    digest = hashlib.sha256(f"1{body}".encode()).digest()
    mac = hmac.new(b"a secret", b"/0/private/Balance" + digest, hashlib.sha512).digest()
    signed = {"API-Key": KEYS["apiKey"], "API-Sign": base64.b64encode(mac).decode()}
    assert venue.ask("Balance", body, **signed) == {"error": ["EAPI:Invalid nonce"]}
    assert venue.ask("Balance", body) == {"error": ["EAPI:Invalid key"]}


def test_fees_are_told(client: Any) -> None:
    told = client.fetch_trading_fee(SYMBOL)
    assert (told["maker"], told["taker"]) == (0.0016, 0.0026)


def refused_at_last(words: str, call: Callable[..., Any], *arguments: Any) -> None:
    def repeat() -> None:
        for _ in range(100):
            call(*arguments)

    with pytest.raises(ccxt.DDoSProtection, match=words):
        repeat()


def test_who_calls_or_orders_too_much_is_refused(tmp_path: Path) -> None:
    venue = Venue(tmp_path, weight_limit=12, order_limit_10s=2)
    try:
        client = venue.client()
        client.load_markets()
        price = float(client.fetch_ticker(SYMBOL)["last"]) * 0.9
        refused_at_last("EAPI:Rate limit exceeded", client.fetch_open_orders, SYMBOL)
        # ten seconds of the wall may begin anew in between
        order = (SYMBOL, "limit", "buy", 1, round(price, 2))
        refused_at_last("EOrder:Rate limit exceeded", client.create_order, *order)
    finally:
        venue.stop()


def test_time_lowers_the_counter_of_calls() -> None:
    counter = CallCounter(30)
    assert [counter.take(2, 0) for _ in range(11)] == [True] * 10 + [False]
    assert counter.take(2, 4000)
    assert not counter.take(2, 4000)
    assert all(CallCounter(None).take(100, 0) for _ in range(3))


def test_a_secret_that_is_no_base64_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"venue_secret, a new one is made"):
        spec_of(tmp_path, secret="not base64!")
    with pytest.raises(ConfigError, match="paid in quote"):
        spec_of(tmp_path, fee_asset="BNB", fee_asset_prices={"USDT": Decimal(600), "BTC": Decimal("0.01")})
    spec = spec_of(tmp_path)
    assert VenueSpec.from_json(spec.to_json()) == spec


def adapter_of(venue: Venue) -> CcxtExchange:
    return CcxtExchange(
        "kraken",
        api_key=KEYS["apiKey"],
        secret=KEYS["secret"],
        options={**venue_options(venue.url, Dialect.KRAKEN), "enableRateLimit": False},
        timeout=timedelta(seconds=60),
    )


def bought(quantity: str) -> Order:
    return Order(
        client_order_id=client_order_id_for(uuid4()),
        account="main",
        symbol=SYMBOL,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        quantity=Decimal(quantity),
    )


def test_own_trades_come_fifty_at_a_time_and_the_adapter_reads_on(tmp_path: Path) -> None:
    venue = Venue(tmp_path)
    client, adapter = venue.client(), adapter_of(venue)
    try:
        first = adapter.submit(bought("0.2"))
        for number in range(60):
            client.create_order(SYMBOL if number % 6 else "ETH/BTC", "market", "buy", 0.005)
        whole = [trade for offset in (0, 50, 100) for trade in client.fetch_my_trades(params={"ofs": offset})]
        assert len(client.fetch_my_trades()) == 50
        assert len({trade["id"] for trade in whole}) == len(whole) > 60
        ours = {trade["id"] for trade in whole if trade["symbol"] == SYMBOL}
        assert {fill.trade_id for fill in adapter.fills(SYMBOL)} == ours
        # whose trades are on the newest page no longer
        assert first.exchange_order_id is not None
        of_first = adapter.fills(SYMBOL, exchange_order_id=first.exchange_order_id)
        assert sum(fill.quantity for fill in of_first) == Decimal("0.2")
        assert not {fill.trade_id for fill in of_first} & {trade["id"] for trade in client.fetch_my_trades()}
    finally:
        adapter.close()
        client.session.close()
        venue.stop()


def test_the_adapter_knows_what_kraken_s_refusals_mean(venue: Venue, price: float) -> None:
    options = client_options(
        "kraken",
        api_key=KEYS["apiKey"],
        secret=KEYS["secret"],
        options={**venue_options(venue.url, Dialect.KRAKEN), "enableRateLimit": False},
        timeout=timedelta(seconds=10),
    )
    client = ccxt.kraken(options)
    with pytest.raises(ccxt.InvalidOrder):
        client.create_order(SYMBOL, "limit", "buy", "0.00001", str(price))
    with pytest.raises(ccxt.InvalidOrder):
        client.create_order(SYMBOL, "limit", "buy", "1", str(round(price * 1.01, 2)), {"postOnly": True})
