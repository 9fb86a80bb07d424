"""Orders match as on Binance, and not a digit is made or lost."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from alina.domain.market import Balance, BookLevel
from alina.venue.book import Book
from alina.venue.engine import Engine
from alina.venue.fees import Fees
from alina.venue.filters import MAX_NUM_ALGO_ORDERS, MAX_NUM_ORDERS, Rules
from alina.venue.orders import Kind, OrderRequest, Side, Status, TimeInForce, VenueFill, VenueOrder
from alina.venue.refusal import Refusal

RULES = Rules(
    symbol="BTCUSDT",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.001"),
    min_notional=Decimal(10),
)
PRICE = Decimal("100.00")
START = {"BNB": Decimal("0.004"), "BTC": Decimal(50), "USDT": Decimal(5000)}
NOW = 1000
Pair = tuple[OrderRequest, OrderRequest]


def levels(*pairs: tuple[str, str]) -> tuple[BookLevel, ...]:
    return tuple(BookLevel(Decimal(price), Decimal(quantity)) for price, quantity in pairs)


BOOK = Book(bids=levels(("99.90", "5"), ("99.80", "5")), asks=levels(("100.10", "5"), ("100.20", "5")))

#: where a buy costs more than its stop price
JUMPED_BOOK = Book(bids=levels(("129", "50")), asks=levels(("130", "50")))


def new_engine(fees: Fees = Fees(maker=Decimal("0.001"), taker=Decimal("0.002"))) -> Engine:  # noqa: B008  # frozen
    held = [Balance(asset=asset, free=free, locked=Decimal(0)) for asset, free in START.items()]
    return Engine(balances=held, fees=fees)


def market(side: Side, quantity: str | None = None, *, budget: str | None = None) -> OrderRequest:
    return OrderRequest(
        symbol="BTCUSDT",
        client_order_id=None,
        side=side,
        kind=Kind.MARKET,
        quantity=None if quantity is None else Decimal(quantity),
        quote_quantity=None if budget is None else Decimal(budget),
    )


def limit(
    side: Side,
    quantity: str,
    price: str,
    *,
    kind: Kind = Kind.LIMIT,
    time_in_force: TimeInForce = TimeInForce.GTC,
    client_order_id: str | None = None,
) -> OrderRequest:
    return OrderRequest(
        symbol="BTCUSDT",
        client_order_id=client_order_id,
        side=side,
        kind=kind,
        time_in_force=time_in_force,
        quantity=Decimal(quantity),
        limit_price=Decimal(price),
    )


def stop(
    side: Side,
    quantity: str,
    stop_price: str,
    *,
    kind: Kind = Kind.STOP_LOSS,
    price: str | None = None,
    time_in_force: TimeInForce = TimeInForce.GTC,
) -> OrderRequest:
    return OrderRequest(
        symbol="BTCUSDT",
        client_order_id=None,
        side=side,
        kind=kind,
        time_in_force=time_in_force,
        quantity=Decimal(quantity),
        limit_price=None if price is None else Decimal(price),
        stop_price=Decimal(stop_price),
    )


@pytest.fixture
def engine() -> Engine:
    return new_engine()


def place(engine: Engine, request: OrderRequest) -> tuple[Status, list[tuple[str, str]]]:
    order, fills = engine.place(request, RULES, BOOK, PRICE, NOW)
    return order.status, [(str(fill.price), str(fill.quantity)) for fill in fills]


def free(engine: Engine, asset: str) -> Decimal:
    return engine.accounts[asset].free


def locked(engine: Engine, asset: str) -> Decimal:
    return engine.accounts[asset].locked


def test_a_market_buy_walks_the_asks_and_pays_its_fee_in_base(engine: Engine) -> None:
    assert place(engine, market(Side.BUY, "6")) == (Status.FILLED, [("100.10", "5"), ("100.20", "1")])
    assert free(engine, "USDT") == 5000 - Decimal("600.70")
    assert free(engine, "BTC") == 50 + 6 * Decimal("0.998")


def test_a_market_sell_walks_the_bids_and_pays_its_fee_in_quote(engine: Engine) -> None:
    assert place(engine, market(Side.SELL, "1")) == (Status.FILLED, [("99.90", "1")])
    assert free(engine, "BTC") == 49
    assert free(engine, "USDT") == 5000 + Decimal("99.90") * Decimal("0.998")


def test_a_market_order_beyond_the_book_is_filled_in_part_and_expires(engine: Engine) -> None:
    status, fills = place(engine, market(Side.SELL, "12"))
    assert (status, len(fills)) == (Status.EXPIRED, 2)
    assert free(engine, "BTC") == 40
    assert locked(engine, "BTC") == 0


def test_a_budget_buys_whole_lots_and_never_more_than_it_is(engine: Engine) -> None:
    order, _ = engine.place(market(Side.BUY, budget="250"), RULES, BOOK, PRICE, NOW)
    assert order.status is Status.FILLED
    assert order.quantity == order.filled_quantity == Decimal("2.497")
    assert order.filled_notional == Decimal("249.94970")


def test_a_budget_beyond_the_book_expires_after_the_last_level(engine: Engine) -> None:
    order, _ = engine.place(market(Side.BUY, budget="4000"), RULES, BOOK, PRICE, NOW)
    assert (order.status, order.filled_quantity) == (Status.EXPIRED, 10)


def test_a_limit_order_takes_what_it_reaches_and_rests_with_the_remainder(engine: Engine) -> None:
    status, fills = place(engine, limit(Side.BUY, "8", "100.10"))
    assert (status, fills) == (Status.PARTIALLY_FILLED, [("100.10", "5")])
    assert locked(engine, "USDT") == 3 * Decimal("100.10")


def test_a_price_improvement_is_given_back_at_once(engine: Engine) -> None:
    assert place(engine, limit(Side.BUY, "5", "110"))[0] is Status.FILLED
    assert free(engine, "USDT") == 5000 - 5 * Decimal("100.10")
    assert locked(engine, "USDT") == 0


def test_a_resting_order_is_filled_at_its_own_price_as_maker(engine: Engine) -> None:
    order, _ = engine.place(limit(Side.BUY, "2", "98"), RULES, BOOK, PRICE, NOW)
    fill = engine.fill_resting(order.order_id, RULES, NOW + 5)
    assert (fill.price, fill.quantity, fill.is_maker, fill.executed_ms) == (98, 2, True, NOW + 5)
    assert fill.fee == 2 * Decimal("0.001")
    assert engine.open_orders() == []
    assert (free(engine, "USDT"), locked(engine, "USDT")) == (5000 - 196, 0)


def test_immediate_or_cancel_expires_with_the_remainder(engine: Engine) -> None:
    request = limit(Side.SELL, "7", "99.90", time_in_force=TimeInForce.IOC)
    assert place(engine, request) == (Status.EXPIRED, [("99.90", "5")])
    assert locked(engine, "BTC") == 0


def test_fill_or_kill_fills_all_or_nothing(engine: Engine) -> None:
    assert place(engine, limit(Side.SELL, "7", "99.90", time_in_force=TimeInForce.FOK)) == (
        Status.EXPIRED,
        [],
    )
    assert free(engine, "BTC") == 50
    assert place(engine, limit(Side.SELL, "7", "99.80", time_in_force=TimeInForce.FOK))[0] is Status.FILLED


def test_canceling_gives_back_what_was_locked(engine: Engine) -> None:
    order, _ = engine.place(limit(Side.BUY, "8", "100.10"), RULES, BOOK, PRICE, NOW)
    canceled = engine.cancel(order.order_id, RULES, NOW + 1)
    assert (canceled.status, canceled.filled_quantity) == (Status.CANCELED, 5)
    assert (free(engine, "USDT"), locked(engine, "USDT")) == (5000 - 5 * Decimal("100.10"), 0)


def test_a_fee_is_paid_in_a_third_asset_as_long_as_all_of_it_is_there() -> None:
    engine = new_engine(Fees(Decimal(0), Decimal("0.001"), asset="BNB", asset_prices={"USDT": Decimal(600)}))
    _, (fill,) = engine.place(market(Side.BUY, "5"), RULES, BOOK, PRICE, NOW)
    assert (fill.fee_asset, fill.fee) == ("BNB", Decimal("0.00083416"))
    assert free(engine, "BTC") == 55
    assert free(engine, "BNB") == START["BNB"] - fill.fee
    while fill.fee_asset == "BNB":
        _, (fill,) = engine.place(market(Side.SELL, "5"), RULES, BOOK, PRICE, NOW)
    assert (fill.fee_asset, fill.fee) == ("USDT", Decimal("0.4995"))
    assert Decimal(0) < free(engine, "BNB") < Decimal("0.00083416")


def test_a_fee_is_cut_to_eight_decimals() -> None:
    engine = new_engine(Fees(maker=Decimal(0), taker=Decimal("0.00000123")))
    _, (fill,) = engine.place(market(Side.BUY, "0.109"), RULES, BOOK, PRICE, NOW)
    assert fill.fee == Decimal("0.00000013")


def test_a_stop_order_waits_with_what_it_needs_locked_and_is_then_a_market_order(engine: Engine) -> None:
    order, fills = engine.place(stop(Side.SELL, "6", "99.95"), RULES, BOOK, PRICE, NOW)
    assert (order.status, fills, order.is_waiting) == (Status.NEW, (), True)
    assert (free(engine, "BTC"), locked(engine, "BTC")) == (44, 6)
    order, fills = engine.trigger(order.order_id, RULES, BOOK, NOW + 7)
    assert (order.status, order.working_ms, order.kind) == (Status.FILLED, NOW + 7, Kind.STOP_LOSS)
    assert [(str(fill.price), str(fill.quantity)) for fill in fills] == [("99.90", "5"), ("99.80", "1")]
    assert not any(fill.is_maker for fill in fills)
    assert (locked(engine, "BTC"), engine.open_orders()) == (0, [])


def test_a_triggered_stop_limit_order_takes_what_it_reaches_and_rests(engine: Engine) -> None:
    request = stop(Side.SELL, "7", "99.95", kind=Kind.STOP_LOSS_LIMIT, price="99.90")
    order, _ = engine.place(request, RULES, BOOK, PRICE, NOW)
    order, fills = engine.trigger(order.order_id, RULES, BOOK, NOW + 1)
    assert (order.status, len(fills), locked(engine, "BTC")) == (Status.PARTIALLY_FILLED, 1, 2)
    fill = engine.fill_resting(order.order_id, RULES, NOW + 2)
    assert (fill.price, fill.quantity, fill.is_maker) == (Decimal("99.90"), 2, True)


def test_a_stop_limit_order_that_the_market_jumps_over_rests_unfilled(engine: Engine) -> None:
    request = stop(Side.SELL, "1", "99.95", kind=Kind.STOP_LOSS_LIMIT, price="99.95")
    order, _ = engine.place(request, RULES, BOOK, PRICE, NOW)
    order, fills = engine.trigger(order.order_id, RULES, BOOK, NOW + 1)
    assert (order.status, fills, order.is_waiting, locked(engine, "BTC")) == (Status.NEW, (), False, 1)


def test_a_triggered_stop_limit_order_keeps_its_time_in_force(engine: Engine) -> None:
    request = stop(
        Side.SELL,
        "7",
        "99.95",
        kind=Kind.STOP_LOSS_LIMIT,
        price="99.90",
        time_in_force=TimeInForce.FOK,
    )
    order, _ = engine.place(request, RULES, BOOK, PRICE, NOW)
    order, fills = engine.trigger(order.order_id, RULES, BOOK, NOW + 1)
    assert (order.status, fills, locked(engine, "BTC")) == (Status.EXPIRED, (), 0)


def test_a_market_stop_buy_that_can_no_longer_be_paid_expires_with_nothing(engine: Engine) -> None:
    order, _ = engine.place(stop(Side.BUY, "49", "102"), RULES, BOOK, PRICE, NOW)
    assert (free(engine, "USDT"), locked(engine, "USDT")) == (2, 4998)
    order, fills = engine.trigger(order.order_id, RULES, JUMPED_BOOK, NOW + 1)
    assert (order.status, fills) == (Status.EXPIRED, ())
    assert (free(engine, "USDT"), locked(engine, "USDT")) == (5000, 0)


def test_a_waiting_stop_order_is_canceled_and_gives_back_what_it_locked(engine: Engine) -> None:
    request = stop(Side.BUY, "8", "100.50", kind=Kind.STOP_LOSS_LIMIT, price="101")
    order, _ = engine.place(request, RULES, BOOK, PRICE, NOW)
    assert locked(engine, "USDT") == 808
    canceled = engine.cancel(order.order_id, RULES, NOW + 1)
    assert (canceled.status, canceled.working_ms) == (Status.CANCELED, None)
    assert (free(engine, "USDT"), locked(engine, "USDT")) == (5000, 0)


STOP_SIDES = [
    (Kind.STOP_LOSS, Side.SELL, "99.99"),
    (Kind.STOP_LOSS, Side.BUY, "100.01"),
    (Kind.TAKE_PROFIT, Side.SELL, "100.01"),
    (Kind.TAKE_PROFIT, Side.BUY, "99.99"),
]


@pytest.mark.parametrize(("kind", "side", "beyond"), STOP_SIDES)
def test_a_stop_price_that_is_there_already_is_refused(
    engine: Engine, kind: Kind, side: Side, beyond: str
) -> None:
    with pytest.raises(Refusal, match=r"Stop price would trigger immediately\.") as refused:
        place(engine, stop(side, "1", "100.00", kind=kind))
    assert refused.value.code == -2010
    assert place(engine, stop(side, "1", beyond, kind=kind)) == (Status.NEW, [])


def test_stop_orders_are_limited_in_number_even_among_few_orders(engine: Engine) -> None:
    for _ in range(MAX_NUM_ALGO_ORDERS):
        place(engine, stop(Side.SELL, "1", "99"))
    with pytest.raises(Refusal, match="MAX_NUM_ALGO_ORDERS"):
        place(engine, stop(Side.SELL, "1", "99"))
    assert place(engine, limit(Side.SELL, "1", "110"))[0] is Status.NEW


@pytest.mark.parametrize(
    "request_",
    [
        limit(Side.BUY, "0.1", "100"),  # a notional of 10
        market(Side.BUY, budget="10"),
        limit(Side.SELL, "0.5", "20"),  # a fifth of the last price, and five times it
        limit(Side.SELL, "1", "500"),
        limit(Side.BUY, "50", "100"),  # all that there is
        market(Side.SELL, "50"),
    ],
)
def test_what_a_filter_just_allows_is_taken(engine: Engine, request_: OrderRequest) -> None:
    place(engine, request_)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (stop(Side.SELL, "1", "99.999"), -1013, "PRICE_FILTER"),
        (stop(Side.SELL, "1", "99.123456789"), -1111, "stopPrice"),
        (stop(Side.SELL, "0.1001", "99.99"), -1013, "LOT_SIZE"),
        (stop(Side.SELL, "0.1", "99.99"), -1013, "NOTIONAL"),
        (stop(Side.SELL, "50.001", "99.99"), -2010, "insufficient balance"),
        (stop(Side.BUY, "49.505", "101"), -2010, "insufficient balance"),
        (
            stop(Side.SELL, "1", "99", kind=Kind.STOP_LOSS_LIMIT, price="19.99"),
            -1013,
            "PERCENT_PRICE_BY_SIDE",
        ),
        (limit(Side.BUY, "1.0005", "100"), -1013, "LOT_SIZE"),
        (limit(Side.BUY, "0.0005", "100"), -1013, "LOT_SIZE"),
        (market(Side.BUY, "99999999999"), -1013, "MARKET_LOT_SIZE"),
        (limit(Side.BUY, "1", "100.001"), -1013, "PRICE_FILTER"),
        (limit(Side.BUY, "1", "501"), -1013, "PERCENT_PRICE_BY_SIDE"),
        (limit(Side.SELL, "1", "19.99"), -1013, "PERCENT_PRICE_BY_SIDE"),
        (limit(Side.BUY, "0.099", "100"), -1013, "NOTIONAL"),
        (market(Side.BUY, "0.099"), -1013, "NOTIONAL"),
        (market(Side.BUY, budget="9.99"), -1013, "NOTIONAL"),
        (limit(Side.BUY, "0.123456789", "100"), -1111, "quantity"),
        (market(Side.BUY, budget="20.123456789"), -1111, "quoteOrderQty"),
        (limit(Side.BUY, "50.001", "100"), -2010, "insufficient balance"),
        (limit(Side.SELL, "50.001", "110"), -2010, "insufficient balance"),
        (market(Side.SELL, "50.001"), -2010, "insufficient balance"),
        (market(Side.BUY, budget="5000.01"), -2010, "insufficient balance"),
        (limit(Side.BUY, "1", "100.10", kind=Kind.LIMIT_MAKER), -2010, "immediately match"),
        (limit(Side.SELL, "1", "99.90", kind=Kind.LIMIT_MAKER), -2010, "immediately match"),
    ],
)
def test_a_refused_order_gets_binance_s_code_and_changes_nothing(
    engine: Engine, request_: OrderRequest, code: int, words: str
) -> None:
    for attempt in (lambda: engine.check(request_, RULES, BOOK, PRICE), lambda: place(engine, request_)):
        with pytest.raises(Refusal, match=words) as refused:
            attempt()
        assert refused.value.code == code
    assert engine.take_changes() is None
    assert {asset: free(engine, asset) for asset in START} == START


def test_a_client_order_id_is_unique_among_open_orders_only(engine: Engine) -> None:
    resting = limit(Side.BUY, "1", "90", client_order_id="mine")
    order, _ = engine.place(resting, RULES, BOOK, PRICE, NOW)
    with pytest.raises(Refusal, match="Duplicate order sent"):
        place(engine, resting)
    engine.cancel(order.order_id, RULES, NOW)
    assert place(engine, resting)[0] is Status.NEW


def pair_of(side: Side, quantity: str, gain: str, loss: str, price: str | None = None) -> Pair:
    kind = Kind.STOP_LOSS if price is None else Kind.STOP_LOSS_LIMIT
    return (
        limit(side, quantity, gain, kind=Kind.LIMIT_MAKER),
        stop(side, quantity, loss, kind=kind, price=price),
    )


def place_pair(engine: Engine, pair: Pair) -> tuple[VenueOrder, VenueOrder]:
    return engine.place_pair(pair, RULES, BOOK, PRICE, NOW)


def state_of(engine: Engine, order_id: int) -> Status:
    changes = engine.take_changes()
    assert changes is not None
    return next(one.status for one in changes.orders if one.order_id == order_id)


def test_a_pair_locks_the_dearer_leg_s_need_once(engine: Engine) -> None:
    gain, loss = place_pair(engine, pair_of(Side.BUY, "10", "98", "101", "103"))
    assert (gain.list_id, loss.list_id) == (gain.order_id, gain.order_id)
    assert (free(engine, "USDT"), locked(engine, "USDT")) == (5000 - 1030, 1030)
    place_pair(engine, pair_of(Side.SELL, "50", "110", "90"))
    assert (free(engine, "BTC"), locked(engine, "BTC")) == (0, 50)


def test_a_fill_of_one_leg_ends_the_other_though_it_be_in_part(engine: Engine) -> None:
    gain, loss = place_pair(engine, pair_of(Side.BUY, "10", "98", "101", "103"))
    engine.fill_resting(gain.order_id, RULES, NOW + 1, Decimal(4))
    assert state_of(engine, loss.order_id) is Status.EXPIRED
    assert [one.order_id for one in engine.open_orders()] == [gain.order_id]
    assert (free(engine, "USDT"), locked(engine, "USDT")) == (5000 - 980, 6 * 98)


def test_a_triggered_leg_ends_the_other(engine: Engine) -> None:
    gain, loss = place_pair(engine, pair_of(Side.SELL, "7", "110", "99.95", "99.90"))
    order, fills = engine.trigger(loss.order_id, RULES, BOOK, NOW + 1)
    assert (order.status, len(fills), locked(engine, "BTC")) == (Status.PARTIALLY_FILLED, 1, 2)
    assert state_of(engine, gain.order_id) is Status.EXPIRED


@pytest.mark.parametrize("leg", [0, 1])
def test_canceling_one_leg_cancels_both_and_gives_all_back(engine: Engine, leg: int) -> None:
    pair = place_pair(engine, pair_of(Side.BUY, "10", "98", "101", "103"))
    assert engine.cancel(pair[leg].order_id, RULES, NOW + 1).status is Status.CANCELED
    assert engine.cancel(pair[1 - leg].order_id, RULES, NOW + 1).status is Status.CANCELED
    assert (free(engine, "USDT"), locked(engine, "USDT"), engine.open_orders()) == (5000, 0, [])


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (pair_of(Side.SELL, "1", "99.90", "99"), "immediately match"),
        (pair_of(Side.SELL, "1", "110", "100"), "trigger immediately"),
        (pair_of(Side.SELL, "50.001", "110", "90"), "insufficient balance"),
        (pair_of(Side.BUY, "50", "98", "101", "103"), "insufficient balance"),
        (pair_of(Side.SELL, "0.0005", "110", "90"), "LOT_SIZE"),
        ((limit(Side.SELL, "1", "110"), stop(Side.SELL, "1", "90")), "relationship"),
        ((stop(Side.SELL, "1", "91"), stop(Side.SELL, "1", "90")), "relationship"),
    ],
)
def test_a_pair_of_which_a_leg_is_refused_leaves_no_trace(engine: Engine, pair: Pair, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        place_pair(engine, pair)
    assert engine.take_changes() is None


def test_open_orders_are_limited_in_number() -> None:
    engine = new_engine()
    for _ in range(MAX_NUM_ORDERS):
        place(engine, limit(Side.BUY, "0.2", "90"))
    with pytest.raises(Refusal, match="MAX_NUM_ORDERS"):
        place(engine, limit(Side.BUY, "0.2", "90"))
    assert place(engine, market(Side.BUY, "0.2"))[0] is Status.FILLED


def test_changes_are_handed_out_once_and_in_their_last_state(engine: Engine) -> None:
    order, _ = engine.place(limit(Side.BUY, "8", "100.10"), RULES, BOOK, PRICE, NOW)
    engine.fill_resting(order.order_id, RULES, NOW + 1)
    changes = engine.take_changes()
    assert changes is not None
    assert [one.status for one in changes.orders] == [Status.FILLED]
    assert [fill.trade_id for fill in changes.fills] == [1, 2]
    assert {one.asset for one in changes.balances} == {"BTC", "USDT"}
    assert engine.take_changes() is None


SIDES = st.sampled_from(Side)
QUANTITIES = st.integers(1, 15_000).map(lambda lots: str(Decimal(lots) / 1000))
PRICES = st.integers(9900, 10_100).map(lambda ticks: str(Decimal(ticks) / 100))


def test_fees_in_quote_are_locked_with_a_buy_and_paid_on_top_of_it() -> None:
    engine = new_engine(Fees(maker=Decimal("0.001"), taker=Decimal("0.002"), in_quote=True))
    order, _ = engine.place(limit(Side.BUY, "10", "99.00"), RULES, BOOK, PRICE, NOW)
    assert engine.accounts["USDT"].locked == Decimal("991.98")
    fill = engine.fill_resting(order.order_id, RULES, NOW)
    assert (fill.fee, fill.fee_asset) == (Decimal("0.99"), "USDT")
    usdt, btc = engine.accounts["USDT"], engine.accounts["BTC"]
    assert (usdt.free, usdt.locked, btc.free) == (START["USDT"] - Decimal("990.99"), 0, START["BTC"] + 10)


def test_a_buy_whose_fee_in_quote_cannot_be_paid_is_refused() -> None:
    engine = new_engine(Fees(maker=Decimal(0), taker=Decimal("0.002"), in_quote=True))
    with pytest.raises(Refusal, match="insufficient balance"):
        engine.place(limit(Side.BUY, "50", "100.00"), RULES, BOOK, PRICE, NOW)


class Conservation(RuleBasedStateMachine):
    """Any sequence of orders: what is held is what was there, plus what was traded, minus the fees."""

    @initialize(
        maker=st.decimals("0", "0.01", places=7),
        taker=st.decimals("0", "0.01", places=7),
        asset=st.sampled_from(["BNB", "USDT", None]),
    )
    def open_account(self, maker: Decimal, taker: Decimal, asset: str | None) -> None:
        if asset == "USDT":
            self.engine = new_engine(Fees(maker, taker, in_quote=True))
        else:
            self.engine = new_engine(Fees(maker, taker, asset, {"USDT": Decimal("612.34")}))
        self.fills: list[VenueFill] = []

    def attempt(self, request: OrderRequest) -> None:
        try:
            _, fills = self.engine.place(request, RULES, BOOK, PRICE, NOW)
        except Refusal:
            return
        self.fills.extend(fills)

    @rule(side=SIDES, quantity=QUANTITIES)
    def trade(self, side: Side, quantity: str) -> None:
        self.attempt(market(side, quantity))

    @rule(side=SIDES, budget=QUANTITIES)
    def trade_for_a_budget(self, side: Side, budget: str) -> None:
        self.attempt(market(side, budget=str(Decimal(budget) * 100)))

    @rule(
        side=SIDES,
        quantity=QUANTITIES,
        price=PRICES,
        kind=st.sampled_from([Kind.LIMIT, Kind.LIMIT_MAKER]),
        time_in_force=st.sampled_from(TimeInForce),
    )
    def order(self, side: Side, quantity: str, price: str, kind: Kind, time_in_force: TimeInForce) -> None:
        request = limit(side, quantity, price, kind=kind)
        self.attempt(replace(request, time_in_force=time_in_force) if kind is Kind.LIMIT else request)

    @rule(
        side=SIDES,
        quantity=QUANTITIES,
        stop_price=PRICES,
        kind=st.sampled_from([kind for kind in Kind if kind.is_stop]),
        price=PRICES,
        time_in_force=st.sampled_from(TimeInForce),
    )
    def wait_for_a_price(
        self,
        side: Side,
        quantity: str,
        stop_price: str,
        kind: Kind,
        price: str,
        time_in_force: TimeInForce,
    ) -> None:
        request = stop(side, quantity, stop_price, kind=kind)
        if not kind.is_market:
            request = replace(request, limit_price=Decimal(price), time_in_force=time_in_force)
        self.attempt(request)

    @rule(side=SIDES, quantity=QUANTITIES, gain=PRICES, loss=PRICES, price=st.none() | PRICES)
    def pair(self, side: Side, quantity: str, gain: str, loss: str, price: str | None) -> None:
        with suppress(Refusal):
            place_pair(self.engine, pair_of(side, quantity, gain, loss, price))

    @rule(
        pick=st.integers(0, 99), book=st.sampled_from([BOOK, JUMPED_BOOK]), part=st.none() | st.integers(1, 9)
    )
    def reach(self, pick: int, book: Book, part: int | None) -> None:
        orders = self.engine.open_orders()
        if not orders:
            return
        order = orders[pick % len(orders)]
        if order.is_waiting:
            self.fills.extend(self.engine.trigger(order.order_id, RULES, book, NOW)[1])
        else:
            quantity = None if part is None else min(order.remaining, part * RULES.lot_size)
            self.fills.append(self.engine.fill_resting(order.order_id, RULES, NOW, quantity))

    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        orders = self.engine.open_orders()
        if orders:
            self.engine.cancel(orders[pick % len(orders)].order_id, RULES, NOW)

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        if not hasattr(self, "engine"):
            return
        for asset in START:
            held = self.engine.accounts[asset]
            assert held.total + self.fees(asset) == START[asset] + traded(self.fills, asset)
            assert held.free >= 0
            spends = {"BTC": Side.SELL, "USDT": Side.BUY}.get(asset)
            needs: dict[int, Decimal] = {}
            for one in self.engine.open_orders():
                if one.side is spends:
                    key = one.list_id or one.order_id
                    needs[key] = max(one.need, needs.get(key, Decimal(0)))
            assert held.locked == sum(needs.values(), Decimal(0))

    def fees(self, asset: str) -> Decimal:
        return sum((fill.fee for fill in self.fills if fill.fee_asset == asset), Decimal(0))


def traded(fills: Sequence[VenueFill], asset: str) -> Decimal:
    """What trades brought of an asset, before fees."""
    total = Decimal(0)
    for fill in fills if asset != "BNB" else ():
        sign = 1 if (fill.side is Side.BUY) == (asset == "BTC") else -1
        total += sign * fill.quantity * (fill.price if asset == "USDT" else 1)
    return total


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=100, stateful_step_count=30)
