"""Several accounts of one venue: one market, one time, one list of public trades, and no more in common."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from alina.errors import ConfigError
from alina.venue.ccxt_options import venue_options
from alina.venue.local_exchange import open_accounts
from alina.venue.orders import Kind, OrderRequest, Side
from alina.venue.spec import AccountSpec, Dialect, VenueSpec
from alina.venue.store import Page

SYMBOL, SECRET = "BTC/USDT", "c2VjcmV0"
OTHER = AccountSpec(name="other", api_key="other-key", secret=SECRET, balances={"USDT": Decimal(500)})


def spec_of(folder: Path, dialect: Dialect = Dialect.BINANCE) -> VenueSpec:
    return VenueSpec(
        folder=folder,
        dialect=dialect,
        speed=Decimal(0),
        balances={"USDT": Decimal(10_000)},
        api_key="a-key",
        secret=SECRET,
        accounts=(OTHER,),
    )


@contextmanager
def served(folder: Path, dialect: Dialect) -> Iterator[str]:
    spec_of(folder, dialect).write(folder / "spec.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "alina.venue", str(folder / "spec.json")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=200)


def client(url: str, dialect: Dialect, key: str, secret: str = SECRET) -> Any:
    options = venue_options(url, dialect)
    keys = {"apiKey": key, "secret": secret, "enableRateLimit": False}
    return getattr(ccxt, dialect.value)({**options, **keys})


@pytest.mark.parametrize("dialect", list(Dialect))
def test_an_account_sees_its_own_balances_and_orders_alone(tmp_path: Path, dialect: Dialect) -> None:
    with served(tmp_path, dialect) as url:
        first, other = client(url, dialect, "a-key"), client(url, dialect, "other-key")
        assert first.fetch_balance()["USDT"]["total"] == 10_000
        assert other.fetch_balance()["USDT"]["total"] == 500
        price = first.fetch_ticker(SYMBOL)["last"]
        assert other.fetch_ticker(SYMBOL)["last"] == price
        other.create_order(SYMBOL, "limit", "buy", 0.01, round(price * 0.9, 1))
        assert (len(other.fetch_open_orders(SYMBOL)), len(first.fetch_open_orders(SYMBOL))) == (1, 0)
        first.create_order(SYMBOL, "market", "buy", 0.01)
        assert (len(first.fetch_my_trades(SYMBOL)), len(other.fetch_my_trades(SYMBOL))) == (1, 0)
        for one in (first, other, stranger := client(url, dialect, "no-key")):
            assert one.session is not None
        with pytest.raises(ccxt.AuthenticationError):
            stranger.fetch_balance()
        for one in (first, other, stranger):
            one.session.close()


@pytest.mark.parametrize("dialect", list(Dialect))
def test_everybody_sees_the_trades_of_all_accounts_each_under_a_number_of_its_own(
    tmp_path: Path, dialect: Dialect
) -> None:
    with served(tmp_path, dialect) as url:
        first, other = client(url, dialect, "a-key"), client(url, dialect, "other-key")
        for one, amount in ((first, 0.01), (other, 0.02), (first, 0.03)):
            one.create_order(SYMBOL, "market", "buy", amount)
        for one in (first, other):
            told = one.fetch_trades(SYMBOL)
            assert [trade["amount"] for trade in told] == [0.01, 0.02, 0.03]
            assert [trade["id"] for trade in told] == ["1", "2", "3"]
        assert [trade["amount"] for trade in other.fetch_my_trades(SYMBOL)] == [0.02]
        for one in (first, other):
            one.session.close()


def test_trades_are_numbered_on_from_the_highest_of_all_accounts(tmp_path: Path) -> None:
    accounts = open_accounts(spec_of(tmp_path))
    first, other = accounts.values()
    symbol = next(iter(first.markets))
    buy = OrderRequest(
        symbol=symbol, client_order_id=None, side=Side.BUY, kind=Kind.MARKET, quantity=Decimal("0.01")
    )
    for exchange in (first, other):
        exchange.place(buy, exchange.advance())
    for exchange in accounts.values():
        exchange.store.close()  # as after kill -9
    first, other = open_accounts(spec_of(tmp_path)).values()
    first.place(buy, first.advance())
    assert [fill.trade_id for fill in other.public_fills(symbol, Page())] == [1, 2, 3]
    assert [fill.trade_id for fill in first.public_fills(symbol, Page(limit=2))] == [2, 3]
    assert [fill.trade_id for fill in first.public_fills(symbol, Page(from_id=1, limit=2))] == [1, 2]
    for exchange in (first, other):
        exchange.close()


def test_every_account_goes_on_where_it_stopped_and_none_was_told_a_later_time(tmp_path: Path) -> None:
    wall = [0]
    accounts = open_accounts(spec_of(tmp_path), monotonic_ns=lambda: wall[0])
    told = [exchange.advance() for exchange in accounts.values()]
    held = [exchange.engine.accounts.all() for exchange in accounts.values()]
    for exchange in accounts.values():
        exchange.store.close()  # as after kill -9
    again = open_accounts(spec_of(tmp_path))
    assert all(exchange.advance() >= max(told) for exchange in again.values())
    assert len({id(exchange.time) for exchange in again.values()}) == 1
    assert [exchange.engine.accounts.all() for exchange in again.values()] == held
    for exchange in again.values():
        exchange.close()


def test_accounts_survive_the_way_to_the_process_and_keys_are_never_shared(tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    assert VenueSpec.from_json(spec.to_json()) == spec
    assert SECRET not in repr(spec)
    with pytest.raises(ConfigError, match="of its own"):
        VenueSpec(folder=tmp_path, api_key="other-key", secret=SECRET, accounts=(OTHER,))
    with pytest.raises(ConfigError, match="name"):
        AccountSpec(name="../up", api_key="key", secret=SECRET)
