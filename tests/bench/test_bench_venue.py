"""The local exchange: its engine alone, in this process, and behind its HTTP door with books on disk."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
from rich.console import Console
from rich.table import Table

from alina.domain.market import Balance, BookLevel
from alina.domain.orders import Order, OrderSide, OrderType
from alina.domain.records import utc_from_ms
from alina.venue.book import Book
from alina.venue.engine import Engine
from alina.venue.feeds import load
from alina.venue.fees import Fees
from alina.venue.filters import Rules
from alina.venue.in_process import InProcessExchange
from alina.venue.markets import list_market
from alina.venue.orders import Kind, OrderRequest, Side
from alina.venue.signing import KEY_HEADER, signature
from alina.venue.spec import Listing, VenueSpec

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
ORDERS = 5_000
OVER_HTTP = 1_000
FEES = Fees(Decimal("0.001"), Decimal("0.001"))
RULES = Rules(
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    min_notional=Decimal(10),
)
PRICE = Decimal("40000.00")
BOOK = Book(
    bids=tuple(BookLevel(PRICE - 1 - level, Decimal(1000)) for level in range(20)),
    asks=tuple(BookLevel(PRICE + 1 + level, Decimal(1000)) for level in range(20)),
)
HELD = {"BTC": Decimal(10_000), "USDT": Decimal(1_000_000_000)}


def rate(count: int, work: Callable[[int], object]) -> float:
    begin = time.perf_counter()
    for number in range(count):
        work(number)
    return count / (time.perf_counter() - begin)


def wish(number: int, kind: Kind) -> OrderRequest:
    return OrderRequest(
        symbol="BTCUSDT",
        client_order_id=f"bench-{number}",
        side=Side.SELL if number % 2 else Side.BUY,
        kind=kind,
        quantity=Decimal("0.01"),
        limit_price=None if kind is Kind.MARKET else PRICE * Decimal("1.1" if number % 2 else "0.9"),
    )


def new_engine() -> Engine:
    return Engine(
        balances=[Balance(asset=asset, free=free, locked=Decimal(0)) for asset, free in HELD.items()],
        fees=FEES,
    )


def engine_rates() -> dict[str, float]:
    taking, resting = new_engine(), new_engine()

    def take(number: int) -> None:
        taking.place(wish(number, Kind.MARKET), RULES, BOOK, PRICE, number)
        taking.take_changes()

    def rest_and_fill(number: int) -> None:
        order, _ = resting.place(wish(number, Kind.LIMIT), RULES, BOOK, PRICE, number)
        resting.fill_resting(order.order_id, RULES, number)
        resting.take_changes()

    def rest_and_cancel(number: int) -> None:
        order, _ = resting.place(wish(number, Kind.LIMIT), RULES, BOOK, PRICE, number)
        resting.cancel(order.order_id, RULES, number)
        resting.take_changes()

    return {
        "engine: market orders": rate(ORDERS, take),
        "engine: limit orders, each then filled": rate(ORDERS, rest_and_fill),
        "engine: limit orders, each then cancelled": rate(ORDERS, rest_and_cancel),
    }


def in_process_rates() -> dict[str, float]:
    listing, warmup = Listing("BTC/USDT"), 250
    series = load(listing, warmup=warmup)
    exchange = InProcessExchange(
        [list_market(listing, series, Decimal("0.0002"))],
        balances=HELD,
        fees=FEES,
        now=utc_from_ms(series.bars[warmup].open_ms),
    )

    def trade(number: int) -> None:
        exchange.advance(utc_from_ms(series.bars[warmup + number].open_ms))
        exchange.submit(
            Order(
                client_order_id=f"bench-{number}",
                account="main",
                symbol="BTC/USDT",
                side=OrderSide.SELL if number % 2 else OrderSide.BUY,
                order_type=OrderType.MARKET,
                quantity=Decimal("0.01"),
            )
        )

    return {"in this process: a candle and a market order": rate(ORDERS, trade)}


@pytest.fixture
def connection() -> Iterator[HTTPConnection]:
    home = Path(tempfile.mkdtemp(prefix="alina-bench-"))
    spec = VenueSpec(folder=home, balances=HELD, api_key="a-key", secret="a-secret")
    spec.write(home / "spec.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "alina.venue", str(home / "spec.json")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    host = process.stdout.readline().split("//")[-1].strip()
    connection = HTTPConnection(host, timeout=60)
    yield connection
    connection.close()
    process.terminate()
    process.communicate(timeout=60)
    shutil.rmtree(home)


def http_rates(connection: HTTPConnection) -> dict[str, float]:
    def ask(method: str, path: str, body: str | None = None) -> None:
        connection.request(method, path, body, {KEY_HEADER: "a-key"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        assert answer.status == 200, told

    def trade(number: int) -> None:
        form = urlencode(
            {
                "symbol": "BTCUSDT",
                "side": "SELL" if number % 2 else "BUY",
                "type": "MARKET",
                "quantity": "0.01",
                "timestamp": time.time_ns() // 1_000_000,
            }
        )
        ask("POST", "/api/v3/order", f"{form}&signature={signature('a-secret', form)}")

    return {
        "over HTTP, one client: signed market orders, durable": rate(OVER_HTTP, trade),
        "over HTTP, one client: tickers": rate(
            OVER_HTTP, lambda _: ask("GET", "/api/v3/ticker/price?symbol=BTCUSDT")
        ),
    }


def test_orders_a_second(connection: HTTPConnection) -> None:
    table = Table("what", "a second", title="the local exchange")
    for what, a_second in {**engine_rates(), **in_process_rates(), **http_rates(connection)}.items():
        table.add_row(what, f"{a_second:,.0f}")
        assert a_second > 1
    Console(width=100).print(table)
