"""The venue in this process and the served one trade alike, at every moment of a recorded market."""

import random
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from alina.domain.orders import Order, OrderSide, OrderType, client_order_id_for
from alina.domain.records import ms_from_utc, utc_from_ms
from alina.errors import OrderRejected
from alina.venue import account_routes
from alina.venue.candles_csv import load_series
from alina.venue.fees import Fees
from alina.venue.in_process import InProcessExchange
from alina.venue.local_exchange import LocalExchange
from alina.venue.markets import list_market
from alina.venue.params import Params
from alina.venue.refusal import Refusal
from alina.venue.spec import Listing, VenueSpec
from alina.venue.store import Page

SYMBOL, WARMUP, HOUR = "BTC/USDT", 250, 3_600_000
BALANCES = {"BTC": Decimal(300), "USDT": Decimal(1_000_000), "BNB": Decimal("0.5")}
KINDS = {OrderType.MARKET: "MARKET", OrderType.LIMIT: "LIMIT", OrderType.STOP_LIMIT: "STOP_LOSS_LIMIT"}


class WallClock:
    """A wall clock in the test's hand."""

    ns = 0

    def __call__(self) -> int:
        return self.ns


class Pair:
    """One account twice: over the books on disk, as HTTP requests reach it, and in this process."""

    def __init__(self, folder: Path) -> None:
        self.wall = WallClock()
        spec = VenueSpec(
            folder=folder,
            speed=Decimal(1000),
            balances=BALANCES,
            fee_asset="BNB",
            fee_asset_prices={"USDT": Decimal("612.34")},
            api_key="key",
            secret="secret",
        )
        self.served = LocalExchange(spec, monotonic_ns=self.wall)
        series = load_series(Listing(SYMBOL).path, warmup=WARMUP)
        self.begin = series.bars[WARMUP].open_ms
        self.here = InProcessExchange(
            [list_market(Listing(SYMBOL), series, spec.spread)],
            balances=BALANCES,
            fees=Fees(spec.maker_fee, spec.taker_fee, spec.fee_asset, spec.fee_asset_prices),
            now=utc_from_ms(self.begin),
        )

    def advance(self, now: datetime) -> None:
        self.wall.ns = (ms_from_utc(now) - self.begin) * 1000
        assert self.served.advance() == ms_from_utc(now)
        self.here.advance(now)

    def submit(self, order: Order) -> bool:
        """Whether both took it; that only one does is a failure."""
        params = {
            "symbol": "BTCUSDT",
            "side": order.side.upper(),
            "type": KINDS[order.order_type],
            "quantity": str(order.quantity),
            "newClientOrderId": order.client_order_id,
        }
        if order.order_type is not OrderType.MARKET:
            params["timeInForce"] = "GTC"
        prices = {"price": order.limit_price, "stopPrice": order.trigger_price}
        params |= {name: str(price) for name, price in prices.items() if price is not None}
        try:
            account_routes.place_order(self.served, Params(params), ms_from_utc(self.here.now()))
        except Refusal:
            with pytest.raises(OrderRejected):
                self.here.submit(order)
            return False
        self.here.submit(order)
        return True

    def cancel(self, client_order_id: str) -> None:
        named = [one for one in self.served.engine.open_orders() if one.client_order_id == client_order_id]
        assert self.here.cancel(SYMBOL, client_order_id) is bool(named)
        self.served.cancel(named, ms_from_utc(self.here.now()))

    def assert_alike(self) -> None:
        theirs = self.served.store.fills("BTCUSDT", Page(limit=500))
        assert [
            (one.trade_id, one.quantity, one.price, one.fee, one.fee_asset, one.is_maker, one.executed_ms)
            for one in theirs
        ] == [
            (
                int(one.trade_id),
                one.quantity,
                one.price,
                one.fee,
                one.fee_asset,
                one.is_maker,
                ms_from_utc(one.executed_at),
            )
            for one in self.here.fills(SYMBOL)
        ]
        assert {one.asset: one for one in self.served.engine.accounts.all()} == self.here.balances()
        assert {(one.order_id, str(one.filled_quantity)) for one in self.served.engine.open_orders()} == {
            (int(one.exchange_order_id), str(one.filled_quantity)) for one in self.here.open_orders(SYMBOL)
        }


def drawn(dice: random.Random, here: InProcessExchange) -> Order:
    """Any order near the market, now and then one that no market takes."""
    market, last = here.market(SYMBOL), here.ticker(SYMBOL).last
    side = dice.choice(list(OrderSide))
    order = Order(
        client_order_id=client_order_id_for(UUID(int=dice.getrandbits(128))),
        account="main",
        symbol=SYMBOL,
        side=side,
        order_type=OrderType.MARKET,
        quantity=market.quantity_down(Decimal(dice.randint(1, 1500)) / 10 ** dice.randint(1, 4)),
    )
    if dice.random() < 0.4:
        return order
    near = Decimal(dice.randint(980, 1020)) / 1000
    price = market.price_for(last * near, is_buy=side is OrderSide.BUY)
    if dice.random() < 0.7:
        return replace(order, order_type=OrderType.LIMIT, limit_price=price)
    limit = market.price_for(price * Decimal("0.999"), is_buy=False)
    return replace(order, order_type=OrderType.STOP_LIMIT, trigger_price=price, limit_price=limit)


def test_the_venue_in_this_process_fills_as_the_served_one_does_at_every_moment(tmp_path: Path) -> None:
    pair, dice, taken = Pair(tmp_path), random.Random(7), 0
    now, placed = pair.begin, ["none"]
    for _ in range(300):
        now += dice.choice([1, HOUR // 7, HOUR, 5 * HOUR])
        pair.advance(utc_from_ms(now))
        order = drawn(dice, pair.here)
        if pair.submit(order):
            taken += 1
            placed.append(order.client_order_id)
        if dice.random() < 0.2:
            pair.cancel(dice.choice(placed))
        pair.assert_alike()
    pair.served.close()
    fills = pair.here.fills(SYMBOL)
    assert taken > 150
    assert {one.is_maker for one in fills} == {True, False}
    assert {one.fee_asset for one in fills} == {"BTC", "USDT"}
    assert pair.here.balances()["BNB"].free < BALANCES["BNB"]  # the first fees were paid in it


def test_nothing_happens_before_the_next_moment_that_is_told(tmp_path: Path) -> None:
    here, dice = Pair(tmp_path).here, random.Random(11)
    met = 0
    while met < 20:
        while not here.open_orders(SYMBOL):
            try:
                here.submit(drawn(dice, here))
            except OrderRejected:
                continue
        until = utc_from_ms(ms_from_utc(here.now()) + 24 * HOUR)
        moment = here.next_moment(until)
        if moment is None:
            before = here.open_orders(SYMBOL)
            assert (here.advance(until), here.open_orders(SYMBOL)) == ([], before)
            for order in before:
                here.cancel(SYMBOL, order.client_order_id)
            continue
        before = here.open_orders(SYMBOL), here.balances()
        here.advance(utc_from_ms(ms_from_utc(moment) - 1))
        assert (here.open_orders(SYMBOL), here.balances()) == before
        here.advance(moment)
        assert (here.open_orders(SYMBOL), here.balances()) != before
        met += 1
