"""A real venue process: killed, restarted, locked and scripted to fail."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from alina.embedded.folder import DataFolder
from alina.errors import ConfigError, ExchangeUnavailable
from alina.venue.clock import ReplayClock
from alina.venue.signing import signature
from alina.venue.spec import Listing, VenueSpec

HEADERS = {"X-MBX-APIKEY": "test-key"}
SECRET = "test-secret"
SPEED = 600
START = Decimal(1_000_000)
ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}


class VenueProcess:
    """`python -m alina.venue` on one folder, started as often as a test wants."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.spec = VenueSpec(
            folder=folder / "venue",
            speed=Decimal(changes.pop("speed", SPEED)),
            balances={"USDT": START},
            api_key=HEADERS["X-MBX-APIKEY"],
            secret=SECRET,
            **changes,
        )
        self._file = folder / "spec.json"
        self.spec.write(self._file)
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def run(self) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "alina.venue", str(self._file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def start(self) -> "VenueProcess":
        process = self.run()
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        self.url = line.split()[-1]
        assert (self.spec.folder / "venue.url").read_text() == self.url
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        """The exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        self.process.communicate(timeout=200)
        code, self.process = self.process.returncode, None
        return code

    def ask(self, method: str, path: str, **params: str) -> Any:
        """A signed request; the answer, or its error, as JSON."""
        query = urlencode({**params, "timestamp": str(time.time_ns() // 1_000_000)})
        signed = f"{query}&signature={signature(SECRET, query)}"
        url, body = (
            (f"{self.url}{path}", signed.encode())
            if method == "POST"
            else (f"{self.url}{path}?{signed}", None)
        )
        request = urllib.request.Request(url, data=body, headers=HEADERS, method=method)  # noqa: S310  # loopback
        try:
            with urllib.request.urlopen(request, timeout=200) as response:  # noqa: S310
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def clock(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/venue/v1/clock", timeout=200) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
            return answer

    def fail(self, **fault: Any) -> int:
        """Script a fault; the HTTP status."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/venue/v1/faults", data=json.dumps(fault).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=200) as response:  # noqa: S310
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@pytest.fixture
def venue(tmp_path: Path) -> Iterator[VenueProcess]:
    venue = VenueProcess(tmp_path, faults=True)
    yield venue.start()
    venue.end(signal.SIGKILL)


def drop(venue: VenueProcess, **order: str) -> None:
    venue.fail(kind="accept_then_drop", method="POST", path="/api/v3/order")
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        venue.ask("POST", "/api/v3/order", **ORDER, **order)


def test_after_kill_9_the_venue_knows_every_order_it_confirmed(venue: VenueProcess) -> None:
    bought = venue.ask("POST", "/api/v3/order", **ORDER, newClientOrderId="bought")
    resting = {**ORDER, "type": "LIMIT", "price": "2000.00", "timeInForce": "GTC", "quantity": "1"}
    venue.ask("POST", "/api/v3/order", **resting, newClientOrderId="resting")
    balances = venue.ask("GET", "/api/v3/account")["balances"]
    before = venue.clock()
    venue.end(signal.SIGKILL)

    venue.start()
    after = venue.clock()
    assert venue.ask("GET", "/api/v3/account")["balances"] == balances
    assert [one["clientOrderId"] for one in venue.ask("GET", "/api/v3/openOrders")] == ["resting"]
    found = venue.ask("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="bought")
    assert (found["orderId"], found["status"]) == (bought["orderId"], "FILLED")
    assert after["market"] >= before["market"]
    assert after["instance"] != before["instance"]


def test_kill_9_while_orders_pour_in_loses_none_that_was_confirmed(venue: VenueProcess) -> None:
    sent: list[str] = []
    confirmed: list[str] = []

    def pour() -> None:
        with suppress(OSError, HTTPException):
            while True:
                sent.append(f"order-{len(sent)}")
                venue.ask("POST", "/api/v3/order", **ORDER, newClientOrderId=sent[-1])
                confirmed.append(sent[-1])

    for round_ in range(1, 4):
        client = Thread(target=pour)
        client.start()
        deadline = time.monotonic() + 200
        while len(confirmed) < 5 * round_:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        venue.end(signal.SIGKILL)
        client.join()
        venue.start()

    orders = [one["clientOrderId"] for one in venue.ask("GET", "/api/v3/allOrders", symbol="BTCUSDT")]
    assert set(confirmed) <= set(orders) <= set(sent)
    assert len(orders) == len(set(orders))
    paid = sum(Decimal(one["quoteQty"]) for one in venue.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT"))
    usdt = next(one for one in venue.ask("GET", "/api/v3/account")["balances"] if one["asset"] == "USDT")
    assert Decimal(usdt["free"]) == START - paid


def test_an_order_whose_answer_was_lost_is_found_by_its_client_order_id(venue: VenueProcess) -> None:
    drop(venue, newClientOrderId="lost")
    assert venue.ask("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="lost")["status"] == "FILLED"
    venue.end(signal.SIGKILL)
    venue.start()
    assert venue.ask("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="lost")["status"] == "FILLED"
    assert len(venue.ask("GET", "/api/v3/allOrders", symbol="BTCUSDT")) == 1


def test_a_scripted_error_comes_before_the_order_and_only_as_often_as_it_was_set(venue: VenueProcess) -> None:
    assert venue.fail(kind="error_before", method="GET", path="/api/v3/account", count=2) == 200
    for _ in range(2):
        with pytest.raises(json.JSONDecodeError):
            venue.ask("GET", "/api/v3/account")
    assert venue.ask("GET", "/api/v3/account")["canTrade"]
    assert venue.fail(kind="unheard of", method="GET", path="/") == 400


def test_a_delayed_order_is_placed_though_its_client_has_left(venue: VenueProcess) -> None:
    venue.fail(kind="delay", method="POST", path="/api/v3/order", delay_seconds="0.3")
    query = urlencode({**ORDER, "newClientOrderId": "late", "timestamp": str(time.time_ns() // 1_000_000)})
    body = f"{query}&signature={signature(SECRET, query)}".encode()
    form = {**HEADERS, "Content-Type": "application/x-www-form-urlencoded"}
    with closing(HTTPConnection(urlsplit(venue.url).netloc, timeout=200)) as connection:
        connection.request("POST", "/api/v3/order", body, form)
    deadline = time.monotonic() + 200
    while "orderId" not in venue.ask("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="late"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_faults_cannot_be_set_unless_the_venue_was_started_with_them(tmp_path: Path) -> None:
    venue = VenueProcess(tmp_path).start()
    assert venue.fail(kind="error_before", method="GET", path="/api/v3/ping") == 404
    venue.end(signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_it_cleanly_and_takes_its_address_down(venue: VenueProcess, number: int) -> None:
    assert venue.end(number) == 0
    assert not (venue.spec.folder / "venue.url").exists()


def test_a_second_venue_on_one_folder_is_refused(venue: VenueProcess, tmp_path: Path) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "alina.venue", str(tmp_path / "spec.json")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert second.returncode == 2
    assert "another venue runs" in second.stderr
    assert venue.clock()["speed"] == str(SPEED)


def refusal(venue: VenueProcess) -> str:
    process = venue.run()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2
    return str(errors)


def test_a_taken_port_is_named(venue: VenueProcess, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "other").mkdir()
        assert f"cannot listen on 127.0.0.1:{port}" in refusal(VenueProcess(tmp_path / "other", port=port))


def test_a_bad_file_of_candles_ends_it_with_a_message(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("timestamp,open,high,low,close,volume\n1,2\n")
    message = refusal(VenueProcess(tmp_path, listings=(Listing("BTC/USDT", str(bad)),)))
    assert "bad.csv, line 2" in message
    assert "Traceback" not in message


def test_the_spec_is_readable_by_its_owner_only_and_hides_its_secret(tmp_path: Path) -> None:
    venue = VenueProcess(tmp_path)
    assert (tmp_path / "spec.json").stat().st_mode & 0o777 == 0o600
    assert SECRET not in repr(venue.spec)


def test_the_replay_clock_follows_the_venue_and_never_runs_ahead_or_back(venue: VenueProcess) -> None:
    clock = ReplayClock(venue.url, refresh_seconds=0.05)
    last = clock.now()
    deadline = time.monotonic() + 0.4
    while time.monotonic() < deadline:
        now = clock.now()
        assert last <= now
        assert now.timestamp() * 1000 <= venue.clock()["market"]
        last = now


def test_the_replay_clock_raises_when_the_venue_is_gone(venue: VenueProcess) -> None:
    clock = ReplayClock(venue.url, refresh_seconds=0)
    clock.now()
    venue.end(signal.SIGKILL)
    with pytest.raises(ExchangeUnavailable, match=r"python -m alina.venue"):
        clock.now()


def test_the_replay_clock_goes_back_only_for_another_venue(tmp_path: Path) -> None:
    port = DataFolder(tmp_path).port("venue")  # below those that the kernel gives to connections
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = VenueProcess(tmp_path / "old", port=port, warmup=500, speed=0).start()
    clock = ReplayClock(old.url, refresh_seconds=0)
    before = clock.now()
    old.end()
    new = VenueProcess(tmp_path / "new", port=port, warmup=250, speed=0).start()
    assert clock.now() < before
    new.end()


def test_a_venue_does_not_load_ccxt() -> None:
    code = "import sys, alina.venue.server, alina.venue.clock; sys.exit('ccxt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=200, check=False).returncode == 0


def test_a_spec_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(ConfigError, match="sped"):
        VenueSpec.from_json('{"folder": "x", "api_key": "k", "secret": "s", "sped": "1"}')


def test_fees_in_a_third_asset_need_its_price_in_every_quote(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="price of BNB in each of USDT"):
        VenueProcess(tmp_path, fee_asset="BNB")


def test_a_spec_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    changes = {"fee_asset": "BNB", "fee_asset_prices": {"USDT": Decimal("612.34")}, "weight_limit": 6000}
    spec = VenueProcess(tmp_path, **changes).spec
    assert VenueSpec.from_json(spec.to_json()) == spec
