"""A venue that shows a real exchange's market. The real one is another venue, behind ccxt's own class."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from alina.errors import ConfigError, SystemStateError
from alina.venue.ccxt_options import venue_options
from alina.venue.local_exchange import LocalExchange
from alina.venue.spec import Listing, VenueSpec

SYMBOL = "BTC/USDT"
KEYS = {"apiKey": "a-key", "secret": "a-secret", "enableRateLimit": False}


@contextmanager
def served(folder: Path, **fields: Any) -> Iterator[str]:
    folder.mkdir(exist_ok=True)
    balances = {"USDT": Decimal(1_000_000), "BTC": Decimal(100)}
    spec = VenueSpec(folder=folder, balances=balances, api_key="a-key", secret="a-secret", **fields)
    spec.write(folder / "spec.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "alina.venue", str(folder / "spec.json")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=200)


def mirror_fields(url: str) -> dict[str, Any]:
    return {
        "listings": (Listing(SYMBOL, "mirror:binance:1h"),),
        "mirror_options": {**venue_options(url), "enableRateLimit": False},
    }


def client(url: str) -> Any:
    return ccxt.binance({**venue_options(url), **KEYS})


def until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_mirror_shows_the_real_market_and_takes_orders_of_its_own(tmp_path: Path) -> None:
    with (
        served(tmp_path / "real", speed=Decimal(0)) as real_url,
        served(tmp_path / "mirror", **mirror_fields(real_url)) as url,
    ):
        real, paper = client(real_url), client(url)
        seen, shown = real.fetch_order_book(SYMBOL, 20), paper.fetch_order_book(SYMBOL, 20)
        assert (shown["bids"], shown["asks"]) == (seen["bids"], seen["asks"])
        assert paper.fetch_ticker(SYMBOL)["last"] == real.fetch_ticker(SYMBOL)["last"]
        assert paper.fetch_ohlcv(SYMBOL, "1h", limit=20) == real.fetch_ohlcv(SYMBOL, "1h", limit=20)
        assert paper.market(SYMBOL)["precision"] == real.market(SYMBOL)["precision"]
        order = paper.create_order(SYMBOL, "market", "buy", 0.01)
        assert (order["status"], order["average"]) == ("closed", seen["asks"][0][0])
        assert real.fetch_my_trades(SYMBOL) == []
        for one in (real, paper):
            one.session.close()


def test_a_resting_order_is_filled_when_the_real_market_comes_to_it(tmp_path: Path) -> None:
    with (
        served(tmp_path / "real", speed=Decimal(36_000)) as real_url,  # ten hours a second
        served(tmp_path / "mirror", **mirror_fields(real_url)) as url,
    ):
        paper = client(url)
        price = paper.fetch_ticker(SYMBOL)["last"]
        orders = [
            paper.create_order(SYMBOL, "limit", "buy", 0.1, round(price * 0.99, 2)),
            paper.create_order(SYMBOL, "limit", "sell", 0.1, round(price * 1.01, 2)),
        ]

        def filled() -> list[Any]:
            found = (paper.fetch_order(one["id"], SYMBOL) for one in orders)
            return [one for one in found if one["status"] == "closed"]

        until(lambda: bool(filled()))
        better = [one["price"] - one["average"] for one in filled() if one["side"] == "buy"]
        better += [one["average"] - one["price"] for one in filled() if one["side"] == "sell"]
        assert min(better) >= 0
        paper.session.close()


def test_when_the_real_exchange_is_gone_the_last_price_stands_and_is_not_traded_at(tmp_path: Path) -> None:
    with served(tmp_path / "real", speed=Decimal(0)) as real_url:
        (tmp_path / "mirror").mkdir()
        spec = VenueSpec(
            folder=tmp_path / "mirror", api_key="a-key", secret="a-secret", **mirror_fields(real_url)
        )
        passed = [0]
        paper = LocalExchange(spec, monotonic_ns=lambda: passed[0])
    feed, now = paper.market("BTCUSDT").replay, paper.advance()
    assert feed.is_trading(now)
    assert feed.as_of(now) <= now
    passed[0] = 60 * 10**9
    later = paper.advance()
    assert (feed.is_trading(later), feed.price(later)) == (False, feed.price(now))
    assert feed.as_of(later) == feed.as_of(now)  # an old price is told as an old one
    paper.close()
    assert paper.mirror is not None
    paper.mirror.close()


@pytest.mark.parametrize(
    ("data", "speed", "error", "words"),
    [
        ("mirror:nowhere", "1", ConfigError, "no such exchange"),
        ("mirror:binance:7m", "1", ConfigError, "timeframe"),
        ("mirror:binance", "60", ConfigError, "speed 1"),
        ("mirror:binance", "1", SystemStateError, "does not show its markets"),
    ],
)
def test_a_mirror_of_what_is_not_there_says_what_to_do(
    tmp_path: Path, data: str, speed: str, error: type[Exception], words: str
) -> None:
    spec = VenueSpec(
        folder=tmp_path,
        listings=(Listing(SYMBOL, data),),
        speed=Decimal(speed),
        mirror_options={**venue_options("http://127.0.0.1:9")},
        api_key="a-key",
        secret="a-secret",
    )
    with pytest.raises(error, match=words):
        LocalExchange(spec)
