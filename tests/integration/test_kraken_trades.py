"""The main path on a venue of Kraken's dialect: no step of it is Binance's."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial

import pytest
import test_cycle_trades
from system import RunningVenue, System, proposal, system

from alina.domain.orders import OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason
from alina.orchestrator import reconciliation, winding_down
from alina.venue.spec import Dialect

Make = Callable[..., System]
VENUE_DIALECT = Dialect.KRAKEN
VENUE_SYMBOLS = 8

test_a_trade_leaves_the_books_equal = (
    test_cycle_trades.test_a_trade_from_the_buy_to_a_remembered_fact_leaves_the_books_equal
)
test_a_task_twice_gives_one_order = (
    test_cycle_trades.test_the_same_task_twice_gives_one_run_one_proposal_one_order
)


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    return partial(system, venue, ledger_url)


def test_an_order_whose_answer_was_lost_is_found_by_its_client_order_id_and_sent_once(
    make: Make, venue: RunningVenue
) -> None:
    one = make()
    venue.fail("accept_then_drop", "POST", "/0/private/AddOrder")
    one.execute(proposal(one).id)
    assert reconciliation.reconcile(one.runtime) == []
    with one.work() as uow:
        position = uow.ledger.open_position(one.runtime.account, one.symbol)
    assert position is not None
    assert (position.quantity, one.on_venue()) == (Decimal(1), 1)
    assert position.cost > position.quantity * Decimal(105)  # with the fee, which is paid in quote


def test_an_order_that_never_arrived_is_given_up(make: Make, venue: RunningVenue) -> None:
    one = make()
    venue.fail("error_before", "POST", "/0/private/AddOrder")
    decision = one.execute(proposal(one).id)
    reconciliation.reconcile(one.runtime)
    with one.work() as uow:
        order = uow.ledger.order_of(decision.id)
        reserved = uow.ledger.reserved(one.runtime.account, "USDT")
    assert order is not None
    assert (order.state.is_final, order.filled_quantity, one.on_venue(), reserved) == (True, 0, 0, 0)


def test_a_stop_waits_on_the_exchange_and_makes_way_for_the_exit(make: Make) -> None:
    one = make(trading={"stop_orders": "exchange"})
    one.execute(proposal(one, stop_price=Decimal(100)).id)
    one.deliver()
    with one.work() as uow:
        (known,) = uow.ledger.resting_sales(one.runtime.account, one.symbol)
    assert (known.order.order_type, known.state) == (OrderType.STOP_LIMIT, OrderState.OPEN)
    assert (known.order.trigger_price, known.order.quantity) == (Decimal(100), Decimal(1))
    [there] = one.exchange.open_orders(one.symbol)
    assert there.client_order_id == known.order.client_order_id
    one.execute(proposal(one, OrderSide.SELL, "1", close_reason=CloseReason.AGENT).id)
    one.deliver()
    assert reconciliation.reconcile(one.runtime) == []
    assert one.exchange.open_orders(one.symbol) == []
    with one.work() as uow:
        assert uow.ledger.open_position(one.runtime.account, one.symbol) is None


def test_an_order_by_hand_that_bears_no_name_of_ours_is_cancelled_with_the_others(make: Make) -> None:
    """On this exchange such an order has no client order id at all."""
    one = make()
    by_hand = one.exchange._api  # type: ignore[attr-defined]  # as somebody's own program would
    for price in ("90", "91"):
        by_hand.create_order(one.symbol, "limit", "buy", "1", price)
    assert [placed.client_order_id for placed in one.exchange.open_orders(one.symbol)] == ["", ""]
    winding_down.cancel_open_orders(one.runtime)
    assert one.exchange.open_orders(one.symbol) == []
