"""What the Exchange port promises: the adapter on a venue of each dialect, and a venue in this process."""

import base64
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from alina.domain.orders import Order, OrderSide, OrderState, OrderType, PlacedOrder, client_order_id_for
from alina.domain.ports import Exchange
from alina.domain.records import utc_from_ms
from alina.errors import ExchangeRefused, ExchangeUnavailable, OrderFateUnknown, OrderRejected
from alina.exchange.ccxt_exchange import CcxtExchange
from alina.venue.candles_csv import load_series
from alina.venue.ccxt_options import venue_options
from alina.venue.fees import Fees
from alina.venue.in_process import InProcessExchange
from alina.venue.markets import list_market
from alina.venue.spec import Dialect, Listing, VenueSpec

SYMBOL = "BTC/USDT"
HOUR = timedelta(hours=1)
#: base64, as Kraken's secrets are
KEYS = {"api_key": "a-key", "secret": base64.b64encode(b"a-secret").decode()}
#: where each dialect takes orders
ORDER_PATH = {Dialect.BINANCE: "/api/v3/order", Dialect.KRAKEN: "/0/private/AddOrder"}


@contextmanager
def venue(folder: Path, **changes: Any) -> Iterator[str]:
    """The URL of a venue whose market stands still, unless told otherwise, so that a price read stays."""
    fields = {"speed": Decimal(0), "faults": True, **KEYS, **changes}
    fields.setdefault("balances", {"USDT": Decimal(1_000_000), "BTC": Decimal(100_000)})
    VenueSpec(folder=folder, **fields).write(folder / "spec.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "alina.venue", str(folder / "spec.json")], stdout=subprocess.DEVNULL
    )
    try:
        yield _url_when_ready(process, folder / "venue.url")
    finally:
        process.terminate()
        process.wait(200)


def _url_when_ready(process: subprocess.Popen[bytes], file: Path) -> str:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if file.exists():
            return file.read_text().strip()
        time.sleep(0.02)
    raise AssertionError("the venue did not start")


def connect(
    url: str, *, api_key: str | None, secret: str | None, dialect: Dialect = Dialect.BINANCE
) -> CcxtExchange:
    return CcxtExchange(
        dialect,
        api_key=api_key,
        secret=secret,
        options={**venue_options(url, dialect), "enableRateLimit": False},
        timeout=timedelta(seconds=10),
    )


@dataclass(frozen=True)
class Served:
    """A venue that can be told to fail, and the adapter on it."""

    url: str
    dialect: Dialect
    exchange: CcxtExchange

    def fail(self, kind: str, **more: str) -> None:
        """Let the next order meet a fault."""
        set_fault(self.url, kind, "POST", ORDER_PATH[self.dialect], **more)


@contextmanager
def serving(dialect: Dialect, folder: Path) -> Iterator[Served]:
    with venue(folder, dialect=dialect) as url:
        exchange = connect(url, **KEYS, dialect=dialect)
        yield Served(url, dialect, exchange)
        exchange.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Dialect, Served]]:
    with ExitStack() as stack:
        yield {
            dialect: stack.enter_context(serving(dialect, tmp_path_factory.mktemp(dialect)))
            for dialect in Dialect
        }


@pytest.fixture(params=list(Dialect))
def served(request: pytest.FixtureRequest, both: dict[Dialect, Served]) -> Served:
    return both[request.param]


@pytest.fixture(scope="module", params=[*Dialect, "in_process"])
def exchange(request: pytest.FixtureRequest, both: dict[Dialect, Served]) -> Exchange:
    return in_process() if request.param == "in_process" else both[request.param].exchange


def in_process(
    listing: Listing = Listing(SYMBOL),  # noqa: B008  # frozen
    warmup: int = 250,
) -> InProcessExchange:
    """The same market and account as `venue` has them, at the same moment."""
    series = load_series(listing.path, warmup=warmup)
    return InProcessExchange(
        [list_market(listing, series, Decimal("0.0002"))],
        balances={"USDT": Decimal(1_000_000), "BTC": Decimal(100_000)},
        fees=Fees(Decimal("0.001"), Decimal("0.001")),
        now=utc_from_ms(series.bars[warmup].open_ms),
    )


def set_fault(url: str, kind: str, method: str, path: str, **more: str) -> None:
    body = json.dumps({"kind": kind, "method": method, "path": path, **more}).encode()
    request = urllib.request.Request(  # noqa: S310  # the venue's own address
        f"{url}/venue/v1/faults", data=body, headers={"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request).close()  # noqa: S310


def market_order(side: OrderSide, quantity: str = "0.01") -> Order:
    return Order(
        client_order_id=client_order_id_for(uuid4()),
        account="main",
        symbol=SYMBOL,
        side=side,
        order_type=OrderType.MARKET,
        quantity=Decimal(quantity),
    )


def fate(exchange: Exchange, order: Order) -> PlacedOrder:
    """What became of an order that is done at once. Kraken's answer to it says only that it was taken."""
    placed = exchange.submit(order)
    return placed if placed.state.is_final else exchange.find(SYMBOL, order.client_order_id)


def limit_order(exchange: Exchange, side: OrderSide, away: str, quantity: str = "0.01") -> Order:
    """A limit order at `away` times the last price."""
    price = exchange.ticker(SYMBOL).last * Decimal(away)
    price = exchange.market(SYMBOL).price_for(price, is_buy=side is OrderSide.BUY)
    return replace(market_order(side, quantity), order_type=OrderType.LIMIT, limit_price=price)


def test_the_rules_of_a_market_are_known(exchange: Exchange):
    market = exchange.market(SYMBOL)
    assert (market.symbol, market.base, market.quote, market.trading) == (SYMBOL, "BTC", "USDT", True)
    assert (market.tick_size, market.lot_size) == (Decimal("0.01"), Decimal("0.00001"))
    assert market.min_notional > 0
    assert 0 < market.taker_fee < 1


def test_an_unlisted_symbol_is_refused(exchange: Exchange):
    with pytest.raises(ExchangeRefused, match="DOGE/USDT"):
        exchange.market("DOGE/USDT")


def test_candles_come_oldest_first_from_the_asked_moment_on(exchange: Exchange):
    now = exchange.ticker(SYMBOL).as_of
    since = (now - 20 * HOUR).replace(minute=0, second=0, microsecond=0)
    candles = exchange.candles(SYMBOL, "1h", since=since, limit=5)
    assert len(candles) == 5
    assert candles[0].open_time >= since
    assert [one.open_time for one in candles] == sorted(one.open_time for one in candles)
    newest = exchange.candles(SYMBOL, "1h", since=since, limit=500)[-1]
    assert newest.open_time <= now < newest.close_time


def test_prices_carry_the_markets_time_and_are_ordered(exchange: Exchange):
    ticker = exchange.ticker(SYMBOL)
    book = exchange.order_book(SYMBOL, depth=5)
    assert ticker.bid < ticker.ask
    assert (book.bids[0].price, book.asks[0].price) == (ticker.bid, ticker.ask)
    assert [level.price for level in book.bids] == sorted((one.price for one in book.bids), reverse=True)
    assert [level.price for level in book.asks] == sorted(one.price for one in book.asks)
    assert len(book.bids) <= 5
    assert len(book.asks) <= 5
    assert book.as_of <= exchange.ticker(SYMBOL).as_of < datetime.now(UTC)


def test_the_clocks_of_one_machine_agree(exchange: Exchange):
    assert abs(exchange.clock_difference_ms()) < 5000


def test_a_market_order_is_filled_and_the_balances_move_by_its_fills(exchange: Exchange):
    before = exchange.balances()
    order = market_order(OrderSide.BUY)
    placed = fate(exchange, order)
    after = exchange.balances()
    fills = exchange.fills(SYMBOL, exchange_order_id=placed.exchange_order_id)
    assert placed.state is OrderState.FILLED
    assert (placed.client_order_id, placed.side) == (order.client_order_id, OrderSide.BUY)
    assert placed.filled_quantity == order.quantity == sum(fill.quantity for fill in fills)
    assert placed.filled_notional == sum(fill.notional for fill in fills)
    assert {fill.exchange_order_id for fill in fills} == {placed.exchange_order_id}
    assert {fill.is_maker for fill in fills} == {False}
    fees = {asset: sum(fill.fee for fill in fills if fill.fee_asset == asset) for asset in ("BTC", "USDT")}
    assert sum(fees.values()) > 0
    assert before["USDT"].total - after["USDT"].total == placed.filled_notional + fees["USDT"]
    assert after["BTC"].total - before["BTC"].total == placed.filled_quantity - fees["BTC"]


def test_a_sale_is_the_mirror_of_a_purchase(exchange: Exchange):
    before = exchange.balances()
    placed = fate(exchange, market_order(OrderSide.SELL))
    fills = exchange.fills(SYMBOL, exchange_order_id=placed.exchange_order_id)
    after = exchange.balances()
    assert placed.state is OrderState.FILLED
    assert before["BTC"].total - after["BTC"].total == placed.filled_quantity
    fee = sum(fill.fee for fill in fills)
    assert after["USDT"].total - before["USDT"].total == placed.filled_notional - fee


def test_all_fills_of_a_symbol_come_oldest_first(exchange: Exchange):
    ids = [exchange.submit(market_order(side)).exchange_order_id for side in (OrderSide.BUY, OrderSide.SELL)]
    fills = exchange.fills(SYMBOL)
    assert [fill.exchange_order_id for fill in fills if fill.exchange_order_id in ids] == ids
    assert len({fill.trade_id for fill in fills}) == len(fills)


def test_a_resting_order_is_open_locks_its_balance_and_can_be_cancelled(exchange: Exchange):
    order = limit_order(exchange, OrderSide.BUY, "0.97")
    locked_before = exchange.balances()["USDT"].locked
    placed = exchange.submit(order)
    assert (placed.state, placed.filled_quantity, placed.filled_notional) == (OrderState.OPEN, 0, 0)
    assert order.client_order_id in {one.client_order_id for one in exchange.open_orders(SYMBOL)}
    # with the fee on top, where it is paid in quote
    locked = (exchange.balances()["USDT"].locked - locked_before) / (order.quantity * order.limit_price)
    assert locked in (1, 1 + exchange.market(SYMBOL).taker_fee)
    assert exchange.cancel(SYMBOL, order.client_order_id) is True
    assert exchange.find(SYMBOL, order.client_order_id).state is OrderState.CANCELED
    assert exchange.balances()["USDT"].locked == locked_before


def test_what_is_found_is_what_was_placed(exchange: Exchange):
    for order in (market_order(OrderSide.BUY), limit_order(exchange, OrderSide.BUY, "0.97")):
        placed = fate(exchange, order)
        found = exchange.find(SYMBOL, order.client_order_id)
        assert replace(found, updated_at=placed.updated_at) == placed
        assert (found.client_order_id, found.quantity) == (order.client_order_id, order.quantity)
    exchange.cancel(SYMBOL, order.client_order_id)


def test_an_order_that_never_was_is_found_nowhere(exchange: Exchange):
    assert exchange.find(SYMBOL, client_order_id_for(uuid4())) is None


def test_an_order_that_no_query_shows_yet_is_cancelled_all_the_same(served: Served):
    exchange = served.exchange
    served.fail("delayed_visibility", hidden_seconds="3600")
    order = limit_order(exchange, OrderSide.BUY, "0.97")
    locked_before = exchange.balances()["USDT"].locked
    exchange.submit(order)
    assert exchange.find(SYMBOL, order.client_order_id) is None
    assert exchange.cancel(SYMBOL, order.client_order_id) is True
    assert exchange.balances()["USDT"].locked == locked_before


def test_cancelling_what_is_done_or_never_was_is_no_error_and_cancels_nothing(exchange: Exchange):
    order = market_order(OrderSide.BUY)
    exchange.submit(order)
    assert exchange.cancel(SYMBOL, order.client_order_id) is False
    assert exchange.cancel(SYMBOL, client_order_id_for(uuid4())) is False
    assert exchange.find(SYMBOL, order.client_order_id).state is OrderState.FILLED


def test_an_order_beyond_the_book_expires_with_what_was_filled(exchange: Exchange):
    market = exchange.market(SYMBOL)
    book = exchange.order_book(SYMBOL, depth=1000)
    on_offer = sum(level.quantity for level in book.bids)
    quantity = market.quantity_down(on_offer + 1)
    placed = fate(exchange, market_order(OrderSide.SELL, str(quantity)))
    assert placed.state is OrderState.EXPIRED
    assert 0 < placed.filled_quantity < quantity


@pytest.mark.parametrize(
    ("quantity", "away"), [("0.000011", "1"), ("0.00001", "0.97"), ("1000", "0.97"), ("0.01", "0.0001")]
)
def test_an_order_the_market_does_not_allow_is_rejected_and_leaves_no_trace(
    exchange: Exchange, quantity: str, away: str
):
    order = limit_order(exchange, OrderSide.BUY, away, quantity)
    with pytest.raises(OrderRejected):
        exchange.submit(order)
    assert exchange.find(SYMBOL, order.client_order_id) is None


def test_an_order_accepted_and_then_dropped_is_found_by_its_client_order_id(served: Served):
    exchange, order = served.exchange, market_order(OrderSide.BUY)
    served.fail("accept_then_drop")
    with pytest.raises(OrderFateUnknown):
        exchange.submit(order)
    found = exchange.find(SYMBOL, order.client_order_id)
    assert found.state is OrderState.FILLED
    assert len(exchange.fills(SYMBOL, exchange_order_id=found.exchange_order_id)) > 0


@pytest.mark.parametrize("kind", ["error_before", "timeout_before", "too_many_requests", "clock_drift"])
def test_an_order_that_met_a_failing_server_never_arrived(served: Served, kind: str):
    exchange, order = served.exchange, market_order(OrderSide.BUY)
    served.fail(kind)
    with pytest.raises(OrderFateUnknown):
        exchange.submit(order)
    assert exchange.find(SYMBOL, order.client_order_id) is None


def test_an_open_client_order_id_used_again_leaves_its_fate_to_the_exchange(exchange: Exchange):
    order = limit_order(exchange, OrderSide.BUY, "0.97")
    placed = exchange.submit(order)
    with pytest.raises(OrderFateUnknown):
        exchange.submit(order)
    assert exchange.find(SYMBOL, order.client_order_id).exchange_order_id == placed.exchange_order_id
    exchange.cancel(SYMBOL, order.client_order_id)


def stop_order(exchange: Exchange, away: str = "0.97", quantity: str = "0.01") -> Order:
    """A sale at a thousandth below a trigger at `away` times the last price."""
    market = exchange.market(SYMBOL)
    trigger = market.price_for(exchange.ticker(SYMBOL).last * Decimal(away), is_buy=False)
    return replace(
        market_order(OrderSide.SELL, quantity),
        order_type=OrderType.STOP_LIMIT,
        trigger_price=trigger,
        limit_price=market.price_for(trigger * Decimal("0.999"), is_buy=False),
    )


def test_a_stop_order_waits_open_locks_what_it_sells_and_can_be_cancelled(exchange: Exchange):
    assert exchange.has_stop_orders(SYMBOL)
    order, before = stop_order(exchange), exchange.balances()["BTC"]
    placed = exchange.submit(order)
    assert (placed.state, placed.quantity, placed.filled_quantity) == (OrderState.OPEN, order.quantity, 0)
    found = exchange.find(SYMBOL, order.client_order_id)
    assert replace(found, updated_at=placed.updated_at) == placed
    assert placed.exchange_order_id in {one.exchange_order_id for one in exchange.open_orders(SYMBOL)}
    assert exchange.balances()["BTC"].locked - before.locked == order.quantity
    assert exchange.cancel(SYMBOL, order.client_order_id) is True
    assert exchange.find(SYMBOL, order.client_order_id).state is OrderState.CANCELED
    assert exchange.balances()["BTC"] == before


def test_a_stop_that_would_be_triggered_at_once_or_is_off_the_tick_size_is_rejected(exchange: Exchange):
    good = stop_order(exchange)
    off = replace(good, trigger_price=good.trigger_price + Decimal("0.001"))
    for order, words in (
        (stop_order(exchange, "1.01"), "trigger|EOrder:Invalid price"),
        (off, "trigger price .* is off the tick|PRICE_FILTER"),
    ):
        with pytest.raises(OrderRejected, match=words):
            exchange.submit(order)
        assert exchange.find(SYMBOL, order.client_order_id) is None


def test_a_stop_order_accepted_and_then_dropped_is_found_by_its_client_order_id(
    served: Served,
):
    exchange, order = served.exchange, stop_order(served.exchange)
    served.fail("accept_then_drop")
    with pytest.raises(OrderFateUnknown):
        exchange.submit(order)
    assert exchange.find(SYMBOL, order.client_order_id).state is OrderState.OPEN
    assert exchange.cancel(SYMBOL, order.client_order_id) is True


def falling_candles(file: Path) -> None:
    """Two days at 100, an hour in which the price falls to 90, and two months there."""
    hours = [(100, 100)] * 48 + [(100, 90)] + [(90, 90)] * 1440
    rows = [
        f"{hour * 3_600_000 + 1_700_006_400_000},{first},{first},{last},{last},1000"
        for hour, (first, last) in enumerate(hours)
    ]
    file.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]))


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_stop_order_is_triggered_by_a_fall_and_filled_at_its_limit_or_better(
    tmp_path: Path, dialect: Dialect
):
    falling_candles(tmp_path / "falling.csv")
    listing = Listing(SYMBOL, str(tmp_path / "falling.csv"))
    market = {"listings": (listing,), "warmup": 24, "dialect": dialect}
    with venue(tmp_path, **market) as url:
        standing = connect(url, **KEYS, dialect=dialect)
        order = stop_order(standing, quantity="1")
        assert standing.submit(order).state is OrderState.OPEN
        standing.close()
    with venue(tmp_path, **market, speed=Decimal(36_000)) as url:  # ten hours a second
        moving = connect(url, **KEYS, dialect=dialect)
        deadline = time.monotonic() + 200
        while not (found := moving.find(SYMBOL, order.client_order_id)).state.is_final:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        [fill] = moving.fills(SYMBOL, exchange_order_id=found.exchange_order_id)
        moving.close()
    assert (found.state, found.filled_quantity) == (OrderState.FILLED, order.quantity)
    assert order.limit_price <= fill.price <= order.trigger_price
    assert fill.quantity == order.quantity


@pytest.mark.parametrize("keys", [{**KEYS, "secret": "d3Jvbmc="}, {**KEYS, "api_key": "wrong"}])
def test_wrong_keys_are_refused_with_the_remedy(served: Served, keys: dict[str, str]):
    stranger = connect(served.url, **keys, dialect=served.dialect)
    with pytest.raises(ExchangeRefused, match="ALINA_EXCHANGE_API_KEY"):
        stranger.balances()
    with pytest.raises(OrderRejected):
        stranger.submit(market_order(OrderSide.BUY))
    stranger.close()


def test_a_process_without_keys_reads_the_market_and_cannot_trade(served: Served):
    reader = connect(served.url, api_key=None, secret=None, dialect=served.dialect)
    assert reader.ticker(SYMBOL).last > 0
    with pytest.raises(OrderRejected):
        reader.submit(market_order(OrderSide.BUY))
    reader.close()


def test_an_exchange_that_is_not_there_is_unavailable():
    nowhere = connect("http://127.0.0.1:9", **KEYS)
    with pytest.raises(ExchangeUnavailable):
        nowhere.ticker(SYMBOL)
    with pytest.raises(OrderFateUnknown, match="not sent"):
        nowhere.submit(market_order(OrderSide.BUY))
    nowhere.close()


def traded(exchange: Exchange) -> list[object]:
    """A day's orders, each at the same prices wherever this is run, and what became of them."""
    market, price = exchange.market(SYMBOL), exchange.ticker(SYMBOL).last
    orders = [
        market_order(OrderSide.BUY, "1.23457"),
        market_order(OrderSide.SELL, "0.98765"),
        limit_order(exchange, OrderSide.BUY, "1.0004", "3"),
        limit_order(exchange, OrderSide.SELL, "1.02"),
        stop_order(exchange, "0.98", "0.5"),
    ]
    orders = [replace(one, client_order_id=f"parity-{number}") for number, one in enumerate(orders)]
    placed = [exchange.submit(one) for one in orders]
    exchange.cancel(SYMBOL, "parity-3")
    found = [exchange.find(SYMBOL, one.client_order_id) for one in orders]
    fills = exchange.fills(SYMBOL)
    assert fills
    ids = {one.exchange_order_id: one.client_order_id for one in placed}
    return [
        price,
        market,
        exchange.candles(SYMBOL, "1h", since=exchange.ticker(SYMBOL).as_of - 99 * HOUR, limit=500),
        exchange.candles(SYMBOL, "4h", since=exchange.ticker(SYMBOL).as_of - 99 * HOUR, limit=9),
        replace(exchange.order_book(SYMBOL, depth=20), as_of=exchange.ticker(SYMBOL).as_of),
        [replace(one, exchange_order_id="") for one in (*placed, *found) if one],
        [replace(one, exchange_order_id=ids[one.exchange_order_id]) for one in fills],
        exchange.balances(),
    ]


def test_the_venue_in_this_process_trades_to_the_last_digit_as_the_served_one(tmp_path: Path):
    with venue(tmp_path) as url:
        served = connect(url, **KEYS)
        there = traded(served)
        served.close()
    assert traded(in_process()) == there
