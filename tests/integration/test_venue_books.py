"""The venue over its real books: what is committed stays, and market time never runs backwards."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alina.errors import DataError, SystemStateError
from alina.venue.local_exchange import LocalExchange
from alina.venue.orders import Kind, OrderRequest, Side, Status
from alina.venue.refusal import Refusal
from alina.venue.spec import Listing, VenueSpec
from alina.venue.store import Page

HOUR = 3_600_000
HEADER = "timestamp,open,high,low,close,volume"
#: hour 3 falls to 80 and rises to 130; hour 4 does not move
ROWS = ("100,100,100,100,1000", "100,100,100,100,1000", "100,130,80,120,1000", "120,120,120,120,1000")
BEGIN, END = 3 * HOUR, 5 * HOUR


class Steady:
    """A wall clock in the test's hand."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns

    def pass_ms(self, milliseconds: int) -> None:
        self.ns += milliseconds * 1_000_000


@pytest.fixture
def wall() -> Steady:
    return Steady()


@pytest.fixture
def spec(tmp_path: Path) -> VenueSpec:
    data = tmp_path / "candles.csv"
    data.write_text("\n".join([HEADER, *(f"{n * HOUR},{row}" for n, row in enumerate(ROWS, start=1))]))
    return VenueSpec(
        folder=tmp_path,
        listings=(Listing("BTC/USDT", str(data)),),
        warmup=2,
        speed=Decimal(60),
        spread=Decimal(0),
        balances={"USDT": Decimal(10_000), "BTC": Decimal(10)},
        api_key="key",
        secret="secret",
    )


@pytest.fixture
def venue(spec: VenueSpec, wall: Steady) -> Iterator[LocalExchange]:
    venue = LocalExchange(spec, monotonic_ns=wall)
    yield venue
    venue.store.close()


def killed(venue: LocalExchange) -> None:
    """Nothing is written at the end, as after kill -9."""
    venue.store.close()


def limit(side: Side, price: str, *, client_order_id: str | None = None) -> OrderRequest:
    return OrderRequest(
        symbol="BTCUSDT",
        client_order_id=client_order_id,
        side=side,
        kind=Kind.LIMIT,
        quantity=Decimal(1),
        limit_price=Decimal(price),
    )


def market(side: Side, quantity: str = "1") -> OrderRequest:
    return OrderRequest(
        symbol="BTCUSDT", client_order_id=None, side=side, kind=Kind.MARKET, quantity=Decimal(quantity)
    )


def stop(side: Side, kind: Kind, stop_price: str, price: str | None = None) -> OrderRequest:
    return OrderRequest(
        symbol="BTCUSDT",
        client_order_id=None,
        side=side,
        kind=kind,
        quantity=Decimal(1),
        limit_price=None if price is None else Decimal(price),
        stop_price=Decimal(stop_price),
    )


def test_the_replay_begins_after_the_warmup_and_runs_at_its_speed(venue: LocalExchange, wall: Steady) -> None:
    assert venue.advance() == BEGIN
    wall.pass_ms(1000)
    assert venue.advance() == BEGIN + 60_000


def test_one_look_after_hours_fills_every_resting_order_the_path_reached(
    venue: LocalExchange, wall: Steady
) -> None:
    now = venue.advance()
    bought, _ = venue.place(limit(Side.BUY, "85"), now)
    sold, _ = venue.place(limit(Side.SELL, "125"), now)
    missed, _ = venue.place(limit(Side.BUY, "79"), now)
    wall.pass_ms(100 * 60_000)
    venue.advance()
    first, second = venue.store.fills("BTCUSDT", Page())
    assert (first.order_id, first.price) == (bought.order_id, 85)
    assert (second.order_id, second.price) == (sold.order_id, 125)
    assert BEGIN < first.executed_ms < BEGIN + HOUR // 3 < second.executed_ms <= BEGIN + 2 * HOUR // 3
    assert [order.order_id for order in venue.engine.open_orders()] == [missed.order_id]


def test_one_look_after_hours_triggers_every_stop_the_path_reached_at_its_own_moment(
    venue: LocalExchange, wall: Steady
) -> None:
    now = venue.advance()
    sold, _ = venue.place(stop(Side.SELL, Kind.STOP_LOSS, "90"), now)
    bought, _ = venue.place(stop(Side.BUY, Kind.STOP_LOSS_LIMIT, "110", "111"), now)
    missed, _ = venue.place(stop(Side.SELL, Kind.TAKE_PROFIT, "131"), now)
    wall.pass_ms(100 * 60_000)
    venue.advance()
    first, second = venue.store.fills("BTCUSDT", Page())
    assert (first.order_id, first.price, first.is_maker) == (sold.order_id, 90, False)
    assert (second.order_id, second.price) == (bought.order_id, Decimal("110.01"))
    assert BEGIN < first.executed_ms < BEGIN + HOUR // 3 < second.executed_ms < BEGIN + 2 * HOUR // 3
    [waiting] = venue.engine.open_orders()
    assert (waiting.order_id, waiting.is_waiting) == (missed.order_id, True)
    assert venue.engine.accounts["BTC"].locked == 1


def test_what_a_triggered_stop_leaves_resting_is_filled_later_on_the_same_path(
    venue: LocalExchange, wall: Steady
) -> None:
    order, _ = venue.place(stop(Side.SELL, Kind.STOP_LOSS_LIMIT, "90", "125"), venue.advance())
    wall.pass_ms(100 * 60_000)
    venue.advance()
    [fill] = venue.store.fills("BTCUSDT", Page())
    assert (fill.price, fill.is_maker) == (125, True)
    found = venue.store.order("BTCUSDT", order_id=order.order_id)
    assert found is not None
    assert found.working_ms is not None
    assert BEGIN < found.working_ms < BEGIN + HOUR // 3 < fill.executed_ms


def test_a_stop_that_waited_before_a_kill_is_triggered_after_it(
    venue: LocalExchange, spec: VenueSpec, wall: Steady
) -> None:
    venue.place(stop(Side.SELL, Kind.STOP_LOSS, "99.90"), venue.advance())
    wall.pass_ms(100)
    killed(venue)
    again = LocalExchange(spec, monotonic_ns=wall)
    assert [order.is_waiting for order in again.engine.open_orders()] == [True]
    wall.pass_ms(1000)
    again.advance()
    assert [fill.price for fill in again.store.fills("BTCUSDT", Page())] == [Decimal("99.90")]
    again.close()


def test_books_from_before_stop_orders_are_taken_over(
    venue: LocalExchange, spec: VenueSpec, tmp_path: Path
) -> None:
    venue.place(limit(Side.BUY, "85"), venue.advance())
    orders, held = venue.engine.open_orders(), venue.engine.accounts.all()
    venue.close()
    books = sqlite3.connect(tmp_path / "venue.sqlite", isolation_level=None)
    books.execute("DROP INDEX orders_by_list")
    for column in ("stop_price", "working_ms", "fee_reserve", "list_id"):
        books.execute(f"ALTER TABLE orders DROP COLUMN {column}")
    books.execute("PRAGMA user_version = 1")
    books.close()
    again = LocalExchange(spec)
    assert (again.engine.open_orders(), again.engine.accounts.all()) == (orders, held)
    again.close()


def test_a_pair_is_one_after_a_kill_too(venue: LocalExchange, spec: VenueSpec, wall: Steady) -> None:
    gain = replace(limit(Side.SELL, "125"), kind=Kind.LIMIT_MAKER)
    loss = replace(gain, kind=Kind.STOP_LOSS, limit_price=None, stop_price=Decimal(90))
    _, stop = venue.place_pair((gain, loss), venue.advance())
    killed(venue)
    again = LocalExchange(spec, monotonic_ns=wall)
    wall.pass_ms(20 * 1000)  # to 80
    again.advance()
    assert again.engine.open_orders() == []
    orders = again.store.order_list(stop.list_id or 0)
    assert [one.status for one in orders] == [Status.EXPIRED, Status.FILLED]
    assert again.engine.accounts["BTC"].locked == 0
    again.store.close()


def test_a_market_order_is_filled_at_the_price_of_now(venue: LocalExchange, wall: Steady) -> None:
    wall.pass_ms(20 * 1000)
    now = venue.advance()
    price = venue.market("BTCUSDT").replay.price(now)
    _, (fill,) = venue.place(market(Side.SELL), now)
    assert fill.price == price == Decimal(80)
    assert fill.executed_ms == now == BEGIN + HOUR // 3


def test_after_a_kill_orders_balances_and_fills_are_as_before(
    venue: LocalExchange, spec: VenueSpec, wall: Steady
) -> None:
    now = venue.advance()
    venue.place(market(Side.BUY, "0.5"), now)
    venue.place(limit(Side.BUY, "85", client_order_id="mine"), now)
    canceled, _ = venue.place(limit(Side.SELL, "140"), now)
    venue.cancel([canceled], now)
    held, orders = venue.engine.accounts.all(), venue.engine.open_orders()
    fills = venue.store.fills("BTCUSDT", Page())
    killed(venue)

    again = LocalExchange(spec, monotonic_ns=wall)
    assert again.engine.accounts.all() == held
    assert again.engine.open_orders() == orders
    assert again.store.fills("BTCUSDT", Page()) == fills
    found = again.store.order("BTCUSDT", order_id=canceled.order_id)
    assert found is not None
    assert found.status is Status.CANCELED
    placed, (fill,) = again.place(market(Side.SELL), again.advance())
    assert (placed.order_id, fill.trade_id) == (canceled.order_id + 1, fills[-1].trade_id + 1)
    again.close()


@pytest.mark.parametrize("wall_ms", [0, 1, 999, 1000, 1001, 5500])
def test_after_a_kill_market_time_goes_on_within_a_second_and_never_back(
    venue: LocalExchange, spec: VenueSpec, wall: Steady, wall_ms: int
) -> None:
    for _ in range(10):
        wall.pass_ms(wall_ms // 10)
        told = venue.advance()
    killed(venue)
    wall.pass_ms(3_600_000)
    again = LocalExchange(spec, monotonic_ns=wall)
    assert told <= again.advance() <= told + 60_000
    again.close()


def test_a_clean_stop_resumes_at_the_exact_market_time(
    venue: LocalExchange, spec: VenueSpec, wall: Steady
) -> None:
    wall.pass_ms(1234)
    told = venue.advance()
    venue.close()
    wall.pass_ms(3_600_000)
    again = LocalExchange(spec, monotonic_ns=wall)
    assert again.advance() == told
    again.close()


def test_a_price_reached_just_before_a_kill_still_fills_the_order_after_it(
    venue: LocalExchange, spec: VenueSpec, wall: Steady
) -> None:
    venue.place(limit(Side.BUY, "99.90"), venue.advance())
    wall.pass_ms(100)
    killed(venue)
    again = LocalExchange(spec, monotonic_ns=wall)
    wall.pass_ms(1000)
    again.advance()
    assert [fill.price for fill in again.store.fills("BTCUSDT", Page())] == [Decimal("99.90")]
    again.close()


@pytest.mark.parametrize("is_killed", [False, True])
def test_what_resting_orders_got_of_a_candle_is_gone_after_a_kill_too(
    spec: VenueSpec, wall: Steady, is_killed: bool
) -> None:
    rich = replace(spec, balances={"USDT": Decimal(10_000_000)})
    venue = LocalExchange(rich, monotonic_ns=wall)
    for price in ("90", "85"):  # each asks for more than the book holds at once
        venue.place(replace(limit(Side.BUY, price), quantity=Decimal(5000)), venue.advance())
    wall.pass_ms(12_000)
    venue.advance()  # the price is between the two
    if is_killed:
        killed(venue)
        venue = LocalExchange(rich, monotonic_ns=wall)
    wall.pass_ms(20_000)
    venue.advance()
    fills = venue.store.fills("BTCUSDT", Page())
    assert [fill.price for fill in fills if fill.executed_ms < BEGIN + HOUR - 1] == [Decimal(90)]
    venue.close()


def test_at_the_end_of_the_data_time_stands_still_and_the_market_is_closed(
    venue: LocalExchange, wall: Steady
) -> None:
    resting, _ = venue.place(limit(Side.BUY, "50"), venue.advance())
    wall.pass_ms(10 * 3_600_000)
    now = venue.advance()
    assert now == END
    assert venue.has_ended(now)
    for attempt in (venue.place, venue.check):
        with pytest.raises(Refusal, match="Market is closed"):
            attempt(market(Side.BUY), now)
    assert venue.cancel([resting], now)[0].status is Status.CANCELED


def test_a_venue_whose_disk_refuses_a_change_answers_nothing_any_more(
    venue: LocalExchange, tmp_path: Path
) -> None:
    now = venue.advance()
    other = sqlite3.connect(tmp_path / "venue.sqlite", isolation_level=None)
    venue.store._connection.execute("PRAGMA busy_timeout = 0")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SystemStateError, match="disk refused"):
        venue.place(market(Side.BUY), now)
    other.execute("ROLLBACK")
    other.close()
    with pytest.raises(SystemStateError, match="out of step"):
        venue.advance()
    assert venue.store.fills("BTCUSDT", Page()) == []


def test_the_same_folder_needs_its_symbols_and_its_data_again(
    venue: LocalExchange, spec: VenueSpec, wall: Steady, tmp_path: Path
) -> None:
    venue.place(limit(Side.BUY, "85"), venue.advance())
    venue.close()
    renamed = replace(spec, listings=(replace(spec.listings[0], symbol="ETH/USDT"),))
    with pytest.raises(SystemStateError, match="open orders of BTCUSDT"):
        LocalExchange(renamed)
    with pytest.raises(SystemStateError, match="outside the data"):
        LocalExchange(replace(spec, listings=(Listing("BTC/USDT", "sample"),)))


def test_markets_of_different_periods_are_refused(spec: VenueSpec) -> None:
    both = (*spec.listings, Listing("ETH/USDT", "sample"))
    with pytest.raises(DataError, match="share no time"):
        LocalExchange(replace(spec, listings=both))


def test_books_that_are_none_are_refused(spec: VenueSpec, tmp_path: Path) -> None:
    (tmp_path / "venue.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 50)
    with pytest.raises(SystemStateError, match="do not open"):
        LocalExchange(spec)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["buy", "sell", "rest", "offer", "protect", "cancel", "wait"]),
            st.integers(1, 400_000),
            st.booleans(),
        ),
        max_size=25,
    )
)
def test_whatever_happened_a_killed_venue_comes_back_with_the_same_books(
    spec: VenueSpec, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bool]]
) -> None:
    spec, wall = replace(spec, folder=tmp_path_factory.mktemp("killed")), Steady()
    venue = LocalExchange(spec, monotonic_ns=wall)
    for action, number, is_killed in steps:
        attempt(venue, wall, action, number)
        if is_killed:
            told, held, orders = venue.advance(), venue.engine.accounts.all(), venue.engine.open_orders()
            killed(venue)
            venue = LocalExchange(spec, monotonic_ns=wall)
            assert venue.engine.accounts.all() == held
            assert venue.engine.open_orders() == orders
            assert venue.advance() >= told
        assert_money_is_conserved(venue)
    killed(venue)


def attempt(venue: LocalExchange, wall: Steady, action: str, number: int) -> None:
    now, quantity = venue.advance(), str(Decimal(number % 3000 + 1) / 1000)
    orders = venue.engine.open_orders()
    if action == "wait":
        wall.pass_ms(number // 10)
    elif action == "cancel" and orders:
        venue.cancel([orders[number % len(orders)]], now)
    elif action != "cancel":
        side = Side.BUY if action in ("buy", "rest") else Side.SELL
        price = f"{60 + number % 80}"
        request = market(side, quantity) if action in ("buy", "sell") else limit(side, price)
        if action == "protect":
            kind = [kind for kind in Kind if kind.is_stop][number % 4]
            request = stop(side, kind, price, None if kind.is_market else str(number % 60 + 70))
        with suppress(Refusal):
            venue.place(request, now)


def assert_money_is_conserved(venue: LocalExchange) -> None:
    """What is held is what was there at first, plus every trade on the books, minus its fee."""
    expected = {"USDT": Decimal(10_000), "BTC": Decimal(10)}
    for fill in venue.store.fills("BTCUSDT", Page(limit=10_000)):
        sign = 1 if fill.side is Side.BUY else -1
        expected["BTC"] += sign * fill.quantity
        expected["USDT"] -= sign * fill.quantity * fill.price
        expected[fill.fee_asset] -= fill.fee
    assert {one.asset: one.total for one in venue.engine.accounts.all()} == expected
