"""What a client sees of each fault of the venue: through ccxt, through our adapter and on the bare socket."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import ccxt
import pytest
from venue_faults import ORDER_FAULTS, PLACE_ORDER, FaultDoor, OrderFault, Outcome

from alina.domain.orders import Order, OrderSide, OrderType, client_order_id_for
from alina.errors import OrderFateUnknown, OrderRejected
from alina.exchange.ccxt_exchange import CcxtExchange
from alina.venue.ccxt_options import venue_options
from alina.venue.faults import FaultKind
from alina.venue.signing import signature
from alina.venue.spec import VenueSpec

SYMBOL = "BTC/USDT"
KEY, SECRET = "test-key", "test-secret"
TIMEOUT = timedelta(seconds=5)


class Venue:
    """A venue process whose market stands still."""

    def __init__(self, folder: Path) -> None:
        balances = {"USDT": Decimal(100_000_000), "BTC": Decimal(1000)}
        spec = VenueSpec(
            folder=folder, speed=Decimal(0), balances=balances, api_key=KEY, secret=SECRET, faults=True
        )
        spec.write(folder / "spec.json")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alina.venue", str(folder / "spec.json")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.faults = FaultDoor(self.url)

    def raw_order(self, client_order_id: str) -> tuple[str, int, bytes]:
        """The address, and a signed market order as it goes over the wire."""
        form = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        form |= {"newClientOrderId": client_order_id, "timestamp": str(time.time_ns() // 1_000_000)}
        text = urlencode(form)
        body = f"{text}&signature={signature(SECRET, text)}"
        head = (
            f"POST /api/v3/order HTTP/1.1\r\nHost: venue\r\nX-MBX-APIKEY: {KEY}\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        address = urlsplit(self.url)
        assert address.hostname
        assert address.port
        return address.hostname, address.port, (head + body).encode()


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    venue = Venue(tmp_path_factory.mktemp("venue"))
    yield venue
    venue.process.terminate()
    venue.process.communicate(timeout=200)


@pytest.fixture(autouse=True)
def _no_fault_is_left(venue: Venue, client: Any) -> Iterator[None]:
    """Of neither the script nor the connections, so that one failure stays one."""
    yield
    left = venue.faults.report()["left"]
    venue.faults.clear()
    client.session.close()
    assert left == {}


@pytest.fixture(scope="module")
def client(venue: Venue) -> Iterator[Any]:
    options = {**venue_options(venue.url), "apiKey": KEY, "secret": SECRET, "enableRateLimit": False}
    client = ccxt.binance({**options, "timeout": 5000})
    client.load_markets()
    yield client
    client.session.close()


@pytest.fixture(scope="module")
def exchange(venue: Venue) -> Iterator[CcxtExchange]:
    options = {**venue_options(venue.url), "enableRateLimit": False}
    exchange = CcxtExchange("binance", api_key=KEY, secret=SECRET, options=options, timeout=TIMEOUT)
    yield exchange
    exchange.close()


def buy() -> Order:
    return Order(
        client_order_id=client_order_id_for(uuid4()),
        account="main",
        symbol=SYMBOL,
        side=OrderSide.BUY,
        order_type=OrderType.MARKET,
        quantity=Decimal("0.01"),
    )


def concluded(exchange: CcxtExchange, order: Order) -> Outcome:
    try:
        exchange.submit(order)
    except OrderRejected:
        return Outcome.REFUSED
    except OrderFateUnknown:
        return Outcome.UNKNOWN
    return Outcome.ACCEPTED


def shown_in_time(exchange: CcxtExchange, client_order_id: str) -> Any:
    """The order, once the venue has had the time to show it."""
    deadline = time.monotonic() + 200
    while (found := exchange.find(SYMBOL, client_order_id)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("fault", ORDER_FAULTS, ids=lambda fault: fault.name)
def test_the_adapter_concludes_no_more_than_a_fault_proves(
    venue: Venue, exchange: CcxtExchange, client: Any, fault: OrderFault
) -> None:
    venue.faults.add(**fault.script())
    order = buy()
    conclusion = concluded(exchange, order)
    assert conclusion in {fault.proves, Outcome.UNKNOWN}
    if fault.hides:
        assert shown_in_time(exchange, order.client_order_id) is not None
    assert (exchange.find(SYMBOL, order.client_order_id) is not None) == fault.is_placed
    same_id = [one for one in client.fetch_orders(SYMBOL) if one["clientOrderId"] == order.client_order_id]
    assert len(same_id) == fault.is_placed


#: what ccxt raises; None: it takes the answer for one
RAISES: dict[FaultKind, type[Exception] | None] = {
    FaultKind.ACCEPT_THEN_FIN: ccxt.NetworkError,
    FaultKind.ACCEPT_THEN_RST: ccxt.NetworkError,
    FaultKind.ACCEPT_THEN_HANG: ccxt.NetworkError,
    FaultKind.ERROR_AFTER: ccxt.ExchangeNotAvailable,
    FaultKind.TIMEOUT_AFTER: ccxt.RequestTimeout,
    FaultKind.TRUNCATED_BODY: ccxt.NetworkError,
    FaultKind.HTML_200: None,
    FaultKind.DUPLICATED_RESPONSE: None,
    FaultKind.LATE_DUPLICATE: None,
    FaultKind.DELAYED_VISIBILITY: None,
    FaultKind.DELAYED_TRADES: None,
    FaultKind.PARTIAL_FILL_THEN_DROP: ccxt.NetworkError,
    FaultKind.DELAY: None,
    FaultKind.ERROR_BEFORE: ccxt.ExchangeNotAvailable,
    FaultKind.TIMEOUT_BEFORE: ccxt.RequestTimeout,
    FaultKind.HTML_200_BEFORE: None,
    FaultKind.TOO_MANY_REQUESTS: ccxt.DDoSProtection,
    FaultKind.BANNED: ccxt.DDoSProtection,
    FaultKind.CLOCK_DRIFT: ccxt.InvalidNonce,
}


def place(client: Any, client_order_id: str, quantity: float = 0.01) -> Any:
    return client.create_order(SYMBOL, "market", "buy", quantity, None, {"newClientOrderId": client_order_id})


@pytest.mark.parametrize("kind", FaultKind)
def test_ccxt_raises_what_it_raises_on_binance(venue: Venue, client: Any, kind: FaultKind) -> None:
    before = venue.faults.report()["met"].get(kind, 0)
    hides = kind in {FaultKind.DELAYED_VISIBILITY, FaultKind.DELAYED_TRADES}
    hidden = {"hidden_seconds": "0.01"} if hides else {}
    venue.faults.add(kind=kind, **PLACE_ORDER, **hidden)
    raises = RAISES[kind]
    if raises is None:
        answer = place(client, f"raises-{kind}")
        assert (answer["id"] is None) == (kind in {FaultKind.HTML_200, FaultKind.HTML_200_BEFORE})
    else:
        with pytest.raises(raises):
            place(client, f"raises-{kind}")
    assert venue.faults.report()["met"][kind] == before + 1


@pytest.mark.parametrize(("kind", "status"), [("too_many_requests", 429), ("banned", 418)])
@pytest.mark.parametrize("retry_after", [None, 7])
def test_a_rate_limit_comes_with_and_without_the_time_to_wait(
    venue: Venue, client: Any, kind: str, status: int, retry_after: int | None
) -> None:
    venue.faults.add(kind=kind, method="GET", path="/api/v3/time", retry_after=retry_after)
    with pytest.raises(ccxt.DDoSProtection, match=str(status)):
        client.fetch_time()
    told = client.last_response_headers.get("Retry-After")
    assert told == (None if retry_after is None else str(retry_after))


def test_a_hidden_order_is_in_no_list_and_yet_can_be_canceled(venue: Venue, client: Any) -> None:
    venue.faults.add(kind="delayed_visibility", **PLACE_ORDER, hidden_seconds="3600")
    price = round(client.fetch_ticker(SYMBOL)["last"] * 0.9, 2)
    placed = client.create_order(SYMBOL, "limit", "buy", 0.01, price)
    for ask in (client.fetch_open_orders, client.fetch_orders):
        assert placed["id"] not in [one["id"] for one in ask(SYMBOL)]
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order(placed["id"], SYMBOL)
    assert client.cancel_order(placed["id"], SYMBOL)["status"] == "canceled"


def test_the_trades_of_a_hidden_order_are_hidden_with_it_and_its_balance_is_not(
    venue: Venue, client: Any
) -> None:
    venue.faults.add(kind="accept_then_fin", **PLACE_ORDER, hidden_seconds="3600")
    trades, held = len(client.fetch_my_trades(SYMBOL)), client.fetch_balance()["total"]["USDT"]
    with pytest.raises(ccxt.NetworkError):
        place(client, "hidden-trades")
    assert len(client.fetch_my_trades(SYMBOL)) == trades
    assert client.fetch_balance()["total"]["USDT"] < held


def test_trades_may_come_later_than_the_order_they_filled(venue: Venue, client: Any) -> None:
    venue.faults.add(kind="delayed_trades", **PLACE_ORDER, hidden_seconds="3600")
    placed = place(client, f"no-trades-{uuid4().hex[:8]}")
    assert client.fetch_order(placed["id"], SYMBOL)["filled"] == 0.01
    assert client.fetch_my_trades(SYMBOL, params={"orderId": placed["id"]}) == []


def test_a_hidden_order_and_its_trades_are_shown_when_its_time_has_come(venue: Venue, client: Any) -> None:
    venue.faults.add(kind="delayed_visibility", **PLACE_ORDER, hidden_seconds="0.2")
    placed = place(client, f"shown-{uuid4().hex[:8]}")
    deadline = time.monotonic() + 200
    while placed["id"] not in [one["id"] for one in client.fetch_orders(SYMBOL)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.fetch_my_trades(SYMBOL, params={"orderId": placed["id"]})


@pytest.mark.parametrize("kind", ["market", "limit"])
def test_half_of_an_order_is_filled_before_its_answer_is_lost(venue: Venue, client: Any, kind: str) -> None:
    venue.faults.add(kind="partial_fill_then_drop", **PLACE_ORDER)
    price = round(client.fetch_ticker(SYMBOL)["last"] * 1.1, 2) if kind == "limit" else None
    name = f"half-{uuid4().hex[:8]}"
    with pytest.raises(ccxt.NetworkError):
        client.create_order(SYMBOL, kind, "buy", 0.03, price, {"newClientOrderId": name})
    order = client.fetch_order(None, SYMBOL, {"clientOrderId": name})
    assert (order["filled"], order["remaining"]) == (0.015, 0.015)
    assert order["status"] == ("open" if kind == "limit" else "expired")
    if kind == "limit":
        client.cancel_order(order["id"], SYMBOL)
    place(client, "the-book-is-whole-again", 0.03)


def test_a_request_that_is_late_beyond_its_receive_window_places_nothing(venue: Venue, client: Any) -> None:
    venue.faults.add(kind="delay", **PLACE_ORDER, seconds="0.5")
    late = {"newClientOrderId": "late-beyond-its-window", "recvWindow": 400}
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        client.create_order(SYMBOL, "market", "buy", 0.01, None, late)
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order(None, SYMBOL, {"clientOrderId": "late-beyond-its-window"})


def test_a_copy_that_comes_at_once_is_thrown_away_by_http(venue: Venue, client: Any) -> None:
    venue.faults.add(kind="duplicated_response", **PLACE_ORDER, count=5)
    for number in range(5):
        name = f"twice-{number}-{uuid4().hex[:8]}"
        assert place(client, name)["clientOrderId"] == name
        assert client.fetch_order(None, SYMBOL, {"clientOrderId": name})["clientOrderId"] == name


def test_a_copy_that_comes_late_is_read_as_the_answer_to_the_next_request(venue: Venue, client: Any) -> None:
    venue.faults.add(kind="late_duplicate", **PLACE_ORDER)
    first = f"late-{uuid4().hex[:8]}"
    place(client, first)
    assert client.fetch_order(None, SYMBOL, {"clientOrderId": "another"})["clientOrderId"] == first


def test_the_adapter_reads_every_answer_as_its_own_although_copies_come_late(
    venue: Venue, exchange: CcxtExchange
) -> None:
    venue.faults.add(kind="late_duplicate", count=8)
    for _ in range(2):
        order = buy()
        assert exchange.submit(order).client_order_id == order.client_order_id
        assert exchange.find(SYMBOL, order.client_order_id) is not None
        assert exchange.balances()["BTC"].total > 0
        assert abs(exchange.clock_difference_ms()) < 60_000


def sent(venue: Venue, kind: FaultKind) -> bytes:
    """All bytes that come back for one order; raises what the socket raises."""
    venue.faults.add(kind=kind, **PLACE_ORDER)
    host, port, order = venue.raw_order(f"raw-{uuid4().hex[:8]}")
    with socket.create_connection((host, port), timeout=200) as connection:
        connection.sendall(order)
        came = b""
        while True:
            try:
                part = connection.recv(65_536)
            except TimeoutError:  # kept alive
                return came
            if not part:
                return came
            came += part
            connection.settimeout(2)


def test_fin_and_rst_differ_on_the_wire(venue: Venue) -> None:
    assert sent(venue, FaultKind.ACCEPT_THEN_FIN) == b""
    with pytest.raises(ConnectionResetError):
        sent(venue, FaultKind.ACCEPT_THEN_RST)


def test_a_truncated_body_is_half_of_what_its_header_says(venue: Venue) -> None:
    head, _, body = sent(venue, FaultKind.TRUNCATED_BODY).partition(b"\r\n\r\n")
    [length] = [line for line in head.decode().splitlines() if line.lower().startswith("content-length")]
    assert len(body) == int(length.split()[1]) // 2 > 0


def test_a_duplicated_response_is_one_whole_answer_and_then_the_same_again(venue: Venue) -> None:
    came = sent(venue, FaultKind.DUPLICATED_RESPONSE)
    half = len(came) // 2
    assert came[:half] == came[half:]
    assert came.startswith(b"HTTP/1.1 200 OK")
    assert json.loads(came[:half].partition(b"\r\n\r\n")[2])["status"] == "FILLED"


def test_all_of_the_api_fails_at_once_and_recovers_when_the_faults_are_cleared(
    venue: Venue, client: Any
) -> None:
    venue.faults.add(kind="error_before", count=1_000_000, status=502)
    for ask in (client.fetch_time, client.fetch_balance, lambda: place(client, "in-an-outage")):
        with pytest.raises(ccxt.ExchangeNotAvailable):
            ask()
    venue.faults.clear()
    assert client.fetch_time()


def test_a_market_that_stands_still_is_moved_by_hand_and_never_back(venue: Venue) -> None:
    def clock(body: bytes | None = None) -> dict[str, Any]:
        request = urllib.request.Request(f"{venue.url}/venue/v1/clock", data=body)  # noqa: S310  # loopback
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            told: dict[str, Any] = json.load(answer)
        return told

    now = clock()["market"]
    assert clock(json.dumps({"market": now + 60_000}).encode())["market"] == now + 60_000
    assert clock(json.dumps({"market": now}).encode())["market"] == now + 60_000
    with pytest.raises(HTTPError, match="400"):
        clock(b"{}")
    assert clock()["market"] == now + 60_000
