"""ccxt.pro's own `binance` class watches the venue as it does Binance Spot."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import ccxt.pro
import pytest

from alina.venue.ccxt_options import venue_options
from alina.venue.spec import AccountSpec, Listing, VenueSpec

_T = TypeVar("_T")
SYMBOL = "BTC/USDT"
KEYS = {"apiKey": "a-key", "secret": "a-secret"}
OTHER = AccountSpec(
    name="other", api_key="other-key", secret="other-secret", balances={"USDT": Decimal(1_000_000)}
)
#: seconds, on a machine however busy
PATIENCE = 200


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One hourly candle in half a second."""
    folder = tmp_path_factory.mktemp("streams")
    VenueSpec(
        folder=folder,
        listings=(Listing(SYMBOL), Listing("ETH/BTC", lot_size=Decimal("0.001"))),
        speed=Decimal(7200),
        balances={"USDT": Decimal(1_000_000), "BTC": Decimal(1000)},
        accounts=(OTHER,),
        api_key=KEYS["apiKey"],
        secret=KEYS["secret"],
    ).write(folder / "spec.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "alina.venue", str(folder / "spec.json")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.communicate(timeout=200)


def watched(url: str, watch: Callable[[Any], Awaitable[_T]], **keys: str) -> _T:
    """What comes of watching with a client of its own, closed after."""

    async def run() -> _T:
        client = ccxt.pro.binance({**venue_options(url), **KEYS, "enableRateLimit": False, **keys})
        try:
            return await asyncio.wait_for(watch(client), PATIENCE)
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_ticker_is_watched_as_it_moves(url: str) -> None:
    async def watch(client: Any) -> list[dict[str, Any]]:
        assert (await client.watch_ticker(SYMBOL))["last"] > 0  # the small ticker, which ccxt asks for
        return [await client.watch_ticker(SYMBOL, {"name": "ticker"}) for _ in range(3)]

    tickers = watched(url, watch)
    assert all(one["bid"] < one["last"] < one["ask"] for one in tickers)
    times = [one["timestamp"] for one in tickers]
    assert times == sorted(set(times))


def test_the_best_prices_are_watched(url: str) -> None:
    async def watch(client: Any) -> dict[str, Any]:
        return await client.watch_bids_asks([SYMBOL])

    best = watched(url, watch)[SYMBOL]
    assert best["bid"] < best["ask"]


def test_candles_are_watched_until_they_are_closed_and_beyond(url: str) -> None:
    async def watch(client: Any) -> tuple[dict[int, list[float]], list[list[float]]]:
        seen: dict[int, list[float]] = {}
        while len(seen) < 4:
            for row in await client.watch_ohlcv(SYMBOL, "1h"):
                seen[row[0]] = row
        return seen, await client.fetch_ohlcv(SYMBOL, "1h", since=min(seen), limit=3)

    seen, fetched = watched(url, watch)
    assert [seen[row[0]] for row in fetched[1:3]] == fetched[1:3]  # closed, and as GET klines tells them


def test_a_watched_book_is_the_fetched_one(url: str) -> None:
    """Of every update the two sides never cross, and no level is left behind."""

    async def watch(client: Any) -> list[Any]:
        books = []
        for _ in range(20):
            book = await client.watch_order_book(SYMBOL)
            books.append((list(book["bids"]), list(book["asks"])))
        return books

    for bids, asks in watched(url, watch)[1:]:
        assert bids[0][0] < asks[0][0]
        assert len(bids) == len(asks) == 20


@pytest.mark.parametrize("trader", [{}, {"apiKey": OTHER.api_key, "secret": OTHER.secret}])
def test_trades_of_every_account_are_watched(url: str, trader: dict[str, str]) -> None:
    async def watch(client: Any) -> tuple[list[dict[str, Any]], set[str]]:
        async with ccxt.pro.binance({**venue_options(url), **KEYS, **trader}) as one:
            watching, made = asyncio.create_task(client.watch_trades(SYMBOL)), set[str]()
            while not watching.done():  # it tells only of what comes after it was subscribed
                order = await one.create_order(SYMBOL, "market", "buy", 0.01)
                made |= {trade["id"] for trade in order["trades"]}
            return await watching, made

    trades, made = watched(url, watch)
    assert {(one["symbol"], one["side"], one["amount"]) for one in trades} == {(SYMBOL, "buy", 0.01)}
    assert {one["id"] for one in trades} <= made


def test_orders_their_trades_and_the_balances_are_watched(url: str) -> None:
    async def watch(client: Any) -> tuple[Any, ...]:
        await client.load_markets()
        await client.authenticate()
        tasks = [
            asyncio.create_task(one)
            for one in (client.watch_orders(SYMBOL), client.watch_my_trades(SYMBOL), client.watch_balance())
        ]
        await asyncio.sleep(0)
        placed = await client.create_order(SYMBOL, "market", "buy", 0.5, None, {"clientOrderId": "mine"})
        orders, trades, balance = await asyncio.gather(*tasks)
        while orders[-1]["status"] != "closed":
            orders = await client.watch_orders(SYMBOL)
        return placed, orders, trades, balance, await client.fetch_balance()

    placed, orders, trades, balance, fetched = watched(url, watch)
    last = orders[-1]
    assert (last["id"], last["clientOrderId"], last["filled"]) == (placed["id"], "mine", 0.5)
    assert last["cost"] == pytest.approx(placed["cost"])
    assert {one["order"] for one in trades} == {placed["id"]}
    assert {one["fee"]["currency"] for one in trades} == {"BTC"}
    for asset in ("BTC", "USDT"):
        assert balance[asset]["free"] == fetched[asset]["free"]


def test_a_resting_order_is_told_when_it_is_taken_and_when_it_is_cancelled(url: str) -> None:
    async def watch(client: Any) -> list[tuple[str, str]]:
        await client.load_markets()
        await client.authenticate()
        price = float((await client.fetch_ticker(SYMBOL))["last"]) * 0.5
        watching = asyncio.create_task(client.watch_orders(SYMBOL))
        await asyncio.sleep(0)
        order = await client.create_order(SYMBOL, "limit", "buy", 1, price, {"clientOrderId": "rests"})
        told = [(one["clientOrderId"], one["status"]) for one in await watching]
        watching = asyncio.create_task(client.watch_orders(SYMBOL))
        await asyncio.sleep(0)
        await client.cancel_order(order["id"], SYMBOL)
        return told + [(one["clientOrderId"], one["status"]) for one in await watching]

    assert watched(url, watch) == [("rests", "open"), ("rests", "canceled")]


def test_each_account_is_told_of_its_own_orders(url: str) -> None:
    async def watch(client: Any) -> str:
        await client.load_markets()
        await client.authenticate()
        watching = asyncio.create_task(client.watch_orders(SYMBOL))
        await asyncio.sleep(0)
        stranger = ccxt.pro.binance({**venue_options(url), **KEYS, "enableRateLimit": False})
        try:
            await stranger.create_order(SYMBOL, "market", "buy", 0.01, None, {"clientOrderId": "theirs"})
        finally:
            await stranger.close()
        await client.create_order(SYMBOL, "market", "buy", 0.01, None, {"clientOrderId": "ours"})
        return str((await watching)[0]["clientOrderId"])

    assert watched(url, watch, apiKey=OTHER.api_key, secret=OTHER.secret) == "ours"


async def ask(address: str, text: str) -> Any:
    """The answer to one message."""
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        await socket.send_str(text)
        return await asyncio.wait_for(socket.receive_json(), PATIENCE)


def test_the_account_is_told_to_its_own_key_only(url: str) -> None:
    def told(**keys: str) -> Any:
        params = ccxt.pro.binance({**KEYS, **keys}).sign_params({"recvWindow": 60_000})
        asked = {"method": "userDataStream.subscribe.signature", "params": params, "id": "a"}
        return asyncio.run(ask(f"{url}/ws-api/v3", json.dumps(asked)))

    assert told() == {"id": "a", "status": 200, "result": {"subscriptionId": 0}}
    assert told(apiKey="another")["error"]["code"] == -2015
    assert told(secret="another")["error"]["code"] == -1022


def test_what_is_no_stream_and_no_method_is_refused(url: str) -> None:
    def told(path: str, asked: object) -> Any:
        text = asked if isinstance(asked, str) else json.dumps(asked)
        return asyncio.run(ask(f"{url}{path}", text))

    for name in ("btcusdt", "btcusdt@nothing", "btcusdt@kline_7m", "dogeusdt@ticker", "btcusdt@kline_5m"):
        answer = told("/stream/ws", {"method": "SUBSCRIBE", "params": [name], "id": 7})
        assert answer == {"id": 7, "error": {"code": 2, "msg": "Invalid request: invalid stream"}}
    assert told("/stream/ws", "no json")["error"]["code"] == 2
    assert told("/stream/ws", {"method": "LIST_SUBSCRIPTIONS", "id": 1}) == {"id": 1, "result": []}
    assert told("/ws-api/v3", {"method": "order.place", "id": "a"})["status"] == 400
    assert told("/ws-api/v3", {"method": "ping", "id": "a"}) == {"id": "a", "status": 200, "result": {}}


def test_open_sockets_do_not_keep_a_venue_from_ending(tmp_path: Path) -> None:
    spec = VenueSpec(folder=tmp_path, speed=Decimal(0), api_key="k", secret="s")
    spec.write(tmp_path / "spec.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "alina.venue", str(tmp_path / "spec.json")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    address = process.stdout.readline().split()[-1]

    async def hold() -> int:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}/stream/ws") as socket:
            process.terminate()
            async for _ in socket:
                pass
            return socket.close_code or 0

    assert asyncio.run(asyncio.wait_for(hold(), PATIENCE)) == aiohttp.WSCloseCode.GOING_AWAY
    assert process.wait(PATIENCE) == 0
    process.stdout.close()
