"""Protective stops that wait on the exchange: placed, making way, filled, stuck, refused; and deaths."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from system import NOW, Died, RunningVenue, System, proposal, running_venue, system

from alina.domain.decisions import ReasonCode
from alina.domain.orders import Fill, LedgerOrder, Order, OrderSide, OrderState, OrderType, PlacedOrder
from alina.domain.portfolio import CloseReason, TradingState, WindDown
from alina.errors import ExchangeUnavailable, OrderRejected
from alina.orchestrator import protection, reconciliation, stops, sweeping, winding_down

Make = Callable[..., System]
VENUE_SYMBOLS = 60
NOTHING = timedelta(0)
#: the market stands at 105
STOP = Decimal(100)


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    """A system that holds one, its stop at 100 still to be placed."""

    def entered(patience: str = "1h", **entry: Any) -> System:
        sections = {"execution": {"stop_patience": patience}, "trading": {"stop_orders": "exchange"}}
        one = system(venue, ledger_url, **sections)
        assert one.execute(proposal(one, stop_price=STOP, **entry).id).verdict == "approved"
        return one

    return entered


def orders(one: System) -> list[tuple[OrderType, OrderSide, OrderState]]:
    """Every order of the ledger, oldest first."""
    return [(known.order.order_type, known.order.side, known.state) for known in ledger_orders(one)]


def ledger_orders(one: System) -> list[LedgerOrder]:
    with one.work() as uow:
        trails = uow.ledger.decisions(limit=100, symbol=one.symbol)
    return [trail.order for trail in reversed(trails) if trail.order is not None]


def resting(one: System) -> LedgerOrder:
    """The one stop that rests."""
    with one.work() as uow:
        (known,) = uow.ledger.resting_sales(one.runtime.account, one.symbol)
    return known


def closed_as(one: System) -> CloseReason | None:
    with one.work() as uow:
        (trade,) = uow.ledger.closed_trades(account=one.runtime.account)
    return trade.close_reason


def leave(one: System, **changes: Any) -> Any:
    """The agent's wish to sell everything."""
    quantity = one.exchange.market(one.symbol).quantity_down(one.held().quantity)  # type: ignore[union-attr]
    return proposal(one, OrderSide.SELL, str(quantity), close_reason=CloseReason.AGENT, **changes)


def assert_the_books_agree(one: System) -> None:
    assert reconciliation.reconcile(one.runtime) == []
    with one.work() as uow:
        unsettled = uow.ledger.unsettled_orders()
        reserved = uow.ledger.reserved(one.runtime.account, one.symbol.split("/")[0])
    ours = [known.order for known in unsettled if known.order.symbol == one.symbol]
    open_there = {placed.client_order_id for placed in one.exchange.open_orders(one.symbol)}
    assert open_there == {order.client_order_id for order in ours}
    assert reserved == sum(order.quantity for order in ours)


class Wrapped:
    """The exchange, but for what a test changes."""

    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self.exchange, name)


class Fallen(Wrapped):
    """The same exchange with another best bid."""

    def __init__(self, exchange: Any, bid: str) -> None:
        super().__init__(exchange)
        self._bid = Decimal(bid)

    def ticker(self, symbol: str) -> Any:
        return replace(self.exchange.ticker(symbol), bid=self._bid)


def fallen(one: System, bid: str) -> System:
    return one.with_parts(exchange=Fallen(one.exchange, bid))


# placed


def test_a_stop_is_placed_once_the_entry_has_settled_and_waits_open(make: Make) -> None:
    one = make()
    assert ("trading.protect",) in one.sent
    one.deliver()
    order, state = resting(one).order, resting(one).state
    assert (order.order_type, order.trigger_price, state) == (OrderType.STOP_LIMIT, STOP, OrderState.OPEN)
    assert (order.limit_price, order.quantity) == (
        Decimal("99.50"),
        Decimal("0.999"),
    )  # a fee was taken in base
    assert_the_books_agree(one)


def test_a_stop_that_rests_is_left_alone(make: Make) -> None:
    one = make()
    one.deliver()
    first = resting(one)
    for _ in range(3):
        stops.protect(one.runtime)
    assert resting(one) == first
    assert len(ledger_orders(one)) == 2


def test_a_stop_whose_message_was_lost_is_placed_by_the_reconciliation(make: Make) -> None:
    one = make()
    one.sent.clear()
    assert reconciliation.reconcile(one.runtime) == []
    assert resting(one).state is OrderState.OPEN


def test_where_the_settings_want_software_stops_none_rests_and_one_that_does_is_withdrawn(make: Make) -> None:
    one = make()
    one.deliver()
    trading = one.runtime.settings.trading.model_copy(update={"stop_orders": "software"})
    one = one.with_parts(settings=one.runtime.settings.model_copy(update={"trading": trading}))
    for _ in range(2):
        stops.protect(one.runtime)
    assert orders(one)[1:] == [(OrderType.STOP_LIMIT, OrderSide.SELL, OrderState.CANCELED)]
    protection.propose_exits(fallen(one, "99").runtime, one.symbol)
    one.deliver()
    assert closed_as(one) is CloseReason.STOP_LOSS


class WithoutStops(Wrapped):
    def has_stop_orders(self, symbol: str) -> bool:
        return False


class Refusing(Wrapped):
    """Takes no stop order."""

    def __init__(self, exchange: Any) -> None:
        super().__init__(exchange)
        self.asked = 0

    def submit(self, order: Order, **more: Any) -> PlacedOrder:
        if order.trigger_price is None:
            placed: PlacedOrder = self.exchange.submit(order, **more)
            return placed
        self.asked += 1
        raise OrderRejected("no stop orders today")


@pytest.mark.parametrize(("kind", "asked"), [(WithoutStops, 0), (Refusing, 3)])
def test_an_exchange_that_takes_no_stop_is_not_asked_for_ever_and_the_software_sells(
    make: Make, kind: Callable[[Any], Any], asked: int
) -> None:
    one = make()
    one = one.with_parts(exchange=kind(one.exchange))
    for _ in range(5):
        stops.protect(one.runtime)
    assert getattr(one.exchange, "asked", 0) == asked
    assert len(ledger_orders(one)) == 1 + asked
    protection.propose_exits(fallen(one, "99").runtime, one.symbol)
    one.deliver()
    assert orders(one)[-1] == (OrderType.MARKET, OrderSide.SELL, OrderState.FILLED)
    assert closed_as(one) is CloseReason.STOP_LOSS
    assert_the_books_agree(one)


def test_a_halted_account_gets_no_stop_and_keeps_the_one_that_rests(make: Make) -> None:
    one, other = make(), make()
    one.deliver()
    for each in (one, other):
        with each.work() as uow:
            uow.ledger.set_trading_state(each.runtime.account, TradingState.HALTED, reason="a drill", at=NOW)
        stops.protect(each.runtime)
        each.deliver()
    assert resting(one).state is OrderState.OPEN
    assert len(ledger_orders(other)) == 1
    # and an exit that is denied leaves it there, too
    assert one.execute(leave(one).id).verdict == "denied"
    assert resting(one).state is OrderState.OPEN


@pytest.mark.parametrize("wish", [WindDown.CANCEL, WindDown.FLATTEN])
def test_winding_down_takes_the_stop_away_and_none_is_placed_meanwhile(make: Make, wish: WindDown) -> None:
    one = make()
    one.deliver()
    with one.work() as uow:
        state = TradingState.HALTED if wish is WindDown.CANCEL else TradingState.REDUCING
        uow.ledger.set_trading_state(one.runtime.account, state, reason="a drill", at=NOW)
        uow.ledger.ask_wind_down(one.runtime.account, wish)
    stops.protect(one.runtime)
    winding_down.wind_down(one.runtime)
    stops.protect(one.runtime)
    assert one.exchange.open_orders(one.symbol) == []
    assert (one.held() is None) == (wish is WindDown.FLATTEN)
    assert_the_books_agree(one)


# making way


def test_an_agents_exit_takes_the_stop_away_first_and_sells_all(make: Make) -> None:
    one = make()
    one.deliver()
    assert one.execute(leave(one).id).verdict == "approved"
    one.deliver()
    assert orders(one)[1:] == [
        (OrderType.STOP_LIMIT, OrderSide.SELL, OrderState.CANCELED),
        (OrderType.MARKET, OrderSide.SELL, OrderState.FILLED),
    ]
    assert closed_as(one) is CloseReason.AGENT
    assert_the_books_agree(one)


def test_a_time_limit_sells_a_position_whose_stop_rests(make: Make) -> None:
    one = make(close_after=NOW)
    one.deliver()
    protection.propose_exits(one.runtime, one.symbol)
    one.deliver()
    assert closed_as(one) is CloseReason.TIME_LIMIT
    assert_the_books_agree(one)


def test_a_denied_exit_gets_its_position_a_stop_again(make: Make) -> None:
    one = make()
    one.deliver()
    first = resting(one)
    assert (
        one.execute(leave(one, limit_price=Decimal("1"), order_type=OrderType.LIMIT).id).verdict == "denied"
    )
    one.deliver()
    assert resting(one).order.client_order_id != first.order.client_order_id
    assert_the_books_agree(one)


def test_an_exit_that_is_too_late_or_of_more_than_is_held_leaves_the_stop_where_it_is(make: Make) -> None:
    one = make()
    one.deliver()
    first = resting(one)
    late = one.execute(leave(one, expires_at=NOW - timedelta(hours=1)).id)
    large = one.execute(proposal(one, OrderSide.SELL, "2").id)
    assert (late.reason, large.reason) == (ReasonCode.PROPOSAL_EXPIRED, ReasonCode.NOTHING_TO_REDUCE)
    assert resting(one) == first


def test_a_stop_that_the_software_did_not_place_makes_way_too(make: Make) -> None:
    one = make()
    one.sent.clear()
    strange = {"order_type": OrderType.STOP_LIMIT, "limit_price": Decimal(102), "trigger_price": Decimal(103)}
    assert one.execute(leave(one, **strange).id).verdict == "approved"
    assert one.execute(leave(one).id).verdict == "approved"
    assert closed_as(one) is CloseReason.AGENT
    assert_the_books_agree(one)


class Slow(Wrapped):
    """Still shows a cancelled order as open."""

    def find(self, symbol: str, client_order_id: str) -> Any:
        placed = self.exchange.find(symbol, client_order_id)
        return replace(placed, state=OrderState.OPEN) if placed.state is OrderState.CANCELED else placed


def test_while_a_cancelled_stop_is_not_over_the_exit_is_put_off_and_not_denied(make: Make) -> None:
    one = make()
    one.deliver()
    wish = leave(one)
    with pytest.raises(ExchangeUnavailable, match="asked for again"):
        one.with_parts(exchange=Slow(one.exchange)).execute(wish.id)
    assert one.execute(wish.id).verdict == "approved"
    assert_the_books_agree(one)


class Partly(Wrapped):
    """Has filled 0.4 of every stop."""

    def find(self, symbol: str, client_order_id: str) -> Any:
        placed = self.exchange.find(symbol, client_order_id)
        state = OrderState.PARTIALLY_FILLED if placed.state is OrderState.OPEN else placed.state
        return replace(placed, state=state, filled_quantity=Decimal("0.4"), filled_notional=Decimal(40))

    def fills(self, symbol: str, *, exchange_order_id: str | None = None) -> list[Fill]:
        (entry,) = self.exchange.fills(symbol)
        changes = {"side": OrderSide.SELL, "quantity": Decimal("0.4"), "price": STOP, "fee": Decimal(0)}
        return [replace(entry, trade_id="part", exchange_order_id=exchange_order_id, **changes)]


def test_an_exit_after_a_part_of_the_stop_was_filled_is_denied_and_proposed_anew_for_the_rest(
    make: Make,
) -> None:
    one = make()
    one.deliver()
    wish = leave(one)
    decision = one.with_parts(exchange=Partly(one.exchange)).execute(wish.id)
    assert decision.reason is ReasonCode.NOTHING_TO_REDUCE
    one.deliver()
    assert resting(one).order.quantity == wish.quantity - Decimal("0.4")
    assert one.execute(leave(one).id).verdict == "approved"
    assert one.held() is None


def test_a_stop_of_another_size_than_the_position_is_replaced(make: Make, engine: Engine) -> None:
    one = make()
    one.deliver()
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE positions SET sold_quantity = 0.4, quantity = quantity - 0.4 WHERE symbol = :symbol"
            ),
            {"symbol": one.symbol},
        )
    stops.protect(one.runtime)
    assert resting(one).order.quantity == Decimal("0.599")
    assert orders(one)[1] == (OrderType.STOP_LIMIT, OrderSide.SELL, OrderState.CANCELED)


def test_of_what_is_partly_gone_the_rest_gets_the_stop_and_keeps_it(make: Make) -> None:
    one = make()
    one.deliver()
    ours = resting(one).order
    assert one.exchange.cancel(one.symbol, ours.client_order_id)
    by_hand = replace(ours, order_type=OrderType.MARKET, limit_price=None, trigger_price=None)
    one.exchange.submit(replace(by_hand, client_order_id="by-hand", quantity=Decimal("0.4")))
    for _ in range(2):
        assert reconciliation.reconcile(one.runtime) != []
    stop = resting(one).order
    assert stop.quantity == ours.quantity - Decimal("0.4")
    stops.protect(one.runtime)
    assert resting(one).order == stop


# a death in between


class Dying(Wrapped):
    """The process ends when it has done, or is about to do, something."""

    def __init__(self, exchange: Any, when: str, what: str) -> None:
        super().__init__(exchange)
        self._when, self._what = when, what

    def __getattr__(self, name: str) -> Any:
        def request(*arguments: Any, **more: Any) -> Any:
            if (self._when, self._what) == ("before", name):
                raise Died(name)
            answer = getattr(self.exchange, name)(*arguments, **more)
            if (self._when, self._what) == ("after", name):
                raise Died(name)
            return answer

        return request


_CRASHES = [(when, what) for what in ("cancel", "find", "balances", "submit") for when in ("before", "after")]


@pytest.mark.parametrize(("when", "what"), _CRASHES)
def test_an_exit_that_dies_anywhere_sells_once_in_the_end(make: Make, when: str, what: str) -> None:
    one = make()
    one.deliver()
    wish = leave(one)
    with suppress(Died):
        one.with_parts(exchange=Dying(one.exchange, when, what)).execute(wish.id)
    one.sent.clear()
    for _ in range(2):
        sweeping.sweep(one.runtime)
        one.deliver()
        reconciliation.reconcile(one.runtime)
    sales = [
        kind for kind, side, state in orders(one) if side is OrderSide.SELL and state is OrderState.FILLED
    ]
    if (when, what) == ("before", "submit"):  # it never arrived and is given up: a stop protects what is held
        assert (sales, resting(one).state) == ([], OrderState.OPEN)
    else:
        assert (sales, one.held()) == ([OrderType.MARKET], None)
    assert_the_books_agree(one)


@pytest.mark.parametrize(("when", "what"), [("before", "ticker"), ("before", "submit"), ("after", "submit")])
def test_a_stop_whose_placing_dies_anywhere_rests_once_in_the_end(make: Make, when: str, what: str) -> None:
    one = make()
    one.sent.clear()
    with suppress(Died):
        stops.protect(one.with_parts(exchange=Dying(one.exchange, when, what)).runtime)
    for _ in range(3):
        sweeping.sweep(one.runtime)
        one.deliver()
        reconciliation.reconcile(one.runtime)
    assert len(one.exchange.open_orders(one.symbol)) == 1
    assert_the_books_agree(one)


# reached, and not filled


def test_a_stop_that_is_reached_is_given_its_time(make: Make) -> None:
    one = make()
    one.deliver()
    protection.propose_exits(fallen(one, "99.8").runtime, one.symbol)
    assert one.sent == [("trading.protect",)]
    stops.protect(fallen(one, "99.8").runtime)
    assert resting(one).state is OrderState.OPEN


def protect_until_closed(one: System) -> None:
    """Pass after pass, until nothing is held."""
    deadline = time.monotonic() + 200
    while one.held() is not None:
        assert time.monotonic() < deadline
        stops.protect(one.runtime)


class Escaping(Fallen):
    """The book falls away below every limit order as it arrives: it rests far above."""

    def submit(self, order: Order, **more: Any) -> PlacedOrder:
        away = Decimal(200) if order.order_type is OrderType.LIMIT else order.limit_price
        placed: PlacedOrder = self.exchange.submit(replace(order, limit_price=away), **more)
        return placed


@pytest.mark.parametrize(("bid", "patience"), [("99.8", "1ms"), ("90", "1h")])
def test_a_stop_that_is_not_filled_in_time_or_lies_above_the_market_is_repriced_once(
    make: Make, bid: str, patience: str
) -> None:
    one = make(patience)
    one.deliver()
    protect_until_closed(fallen(one, bid))  # the first look notes when the price was there
    assert orders(one)[1:] == [
        (OrderType.STOP_LIMIT, OrderSide.SELL, OrderState.CANCELED),
        (OrderType.LIMIT, OrderSide.SELL, OrderState.FILLED),
    ]
    assert ledger_orders(one)[-1].order.limit_price == (Decimal(bid) * Decimal("0.995")).quantize(
        Decimal("0.01"), rounding="ROUND_FLOOR"
    )
    assert closed_as(one) is CloseReason.STOP_LOSS
    assert_the_books_agree(one)


def test_what_is_not_filled_at_the_new_price_either_is_sold_at_the_market(make: Make) -> None:
    one = make("1ms")
    one.deliver()
    gone = one.with_parts(exchange=Escaping(one.exchange, "90"))
    stops.protect(gone.runtime)
    assert orders(one)[-1] == (OrderType.LIMIT, OrderSide.SELL, OrderState.OPEN)
    protect_until_closed(gone)
    assert orders(one)[1:] == [
        (OrderType.STOP_LIMIT, OrderSide.SELL, OrderState.CANCELED),
        (OrderType.LIMIT, OrderSide.SELL, OrderState.CANCELED),
        (OrderType.MARKET, OrderSide.SELL, OrderState.FILLED),
    ]
    assert closed_as(one) is CloseReason.STOP_LOSS
    assert_the_books_agree(one)


def test_after_a_death_between_the_withdrawal_and_the_sale_the_next_poll_goes_on(make: Make) -> None:
    one = make()
    one.deliver()
    low = fallen(one, "90")
    with suppress(Died):
        stops.protect(low.with_parts(exchange=Dying(low.exchange, "after", "cancel")).runtime)
    one.sent.clear()
    protection.propose_exits(low.runtime, one.symbol)
    low.deliver()
    assert orders(one)[-1] == (OrderType.LIMIT, OrderSide.SELL, OrderState.FILLED)
    assert_the_books_agree(one)


def test_an_exit_takes_a_repriced_sale_away_too(make: Make) -> None:
    one = make()
    one.deliver()
    stops.protect(one.with_parts(exchange=Escaping(one.exchange, "90")).runtime)
    assert one.execute(leave(one).id).verdict == "approved"
    assert one.held() is None
    assert_the_books_agree(one)


# filled on the exchange


def test_a_stop_that_the_exchange_filled_unseen_closes_the_position_and_denies_the_exit(
    tmp_path: Path, ledger_url: str
) -> None:
    with running_venue(tmp_path, symbols=1, hours=200) as standing:
        one = system(standing, ledger_url, trading={"stop_orders": "exchange"})
        one.execute(proposal(one, stop_price=Decimal(103)).id)
        one.deliver()
        order, wish = resting(one).order, leave(one, expires_at=NOW + timedelta(days=300))
    with running_venue(tmp_path, symbols=1, hours=200, speed=36_000) as moving:  # ten hours a second
        deadline = time.monotonic() + 200
        while not is_over(moving, order):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with running_venue(tmp_path, symbols=1, hours=200) as standing:
        one = one.with_parts(exchange=standing.exchange, clock=standing.clock)
        assert one.execute(wish.id).reason is ReasonCode.NOTHING_TO_REDUCE
        one.deliver()
        assert orders(one)[1:] == [(OrderType.STOP_LIMIT, OrderSide.SELL, OrderState.FILLED)]
        assert closed_as(one) is CloseReason.STOP_LOSS
        assert_the_books_agree(one)


def is_over(venue: RunningVenue, order: Order) -> bool:
    """Whether the exchange has filled or ended it."""
    placed = venue.exchange.find(order.symbol, order.client_order_id)
    return placed is not None and placed.state.is_final


# what was approved, and only that


def test_a_trigger_price_that_was_changed_is_never_sent(make: Make, engine: Engine) -> None:
    one = make()
    wish = proposal(
        one,
        OrderSide.SELL,
        "0.5",
        close_reason=CloseReason.STOP_LOSS,
        order_type=OrderType.STOP_LIMIT,
        limit_price=Decimal(99),
        trigger_price=Decimal(100),
    )
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))  # past the triggers
        connection.execute(text("UPDATE proposals SET trigger_price = 104 WHERE id = :id"), {"id": wish.id})
    assert one.execute(wish.id).reason is ReasonCode.OTHER_CONTENT
    assert one.exchange.open_orders(one.symbol) == []


def test_the_database_itself_refuses_another_trigger_price(make: Make, engine: Engine) -> None:
    one = make()
    one.deliver()
    name = resting(one).order.client_order_id
    for statement in (
        "UPDATE orders SET trigger_price = 104 WHERE client_order_id = :name",
        "UPDATE proposals SET trigger_price = 104 WHERE id = "
        "(SELECT proposal_id FROM decisions d JOIN orders o ON o.decision_id = d.id "
        "WHERE client_order_id = :name)",
    ):
        with pytest.raises(IntegrityError), engine.begin() as connection:
            connection.execute(text(statement), {"name": name})
