"""Whatever is reported, in whatever order and however often: no coin is made and none is lost.

A small exchange moves its own balances; the ledger hears of it as the network has it: late, twice, out of
order, or not at all until it asks. At any moment the opening balances and the recorded fills give what the
exchange held after just those trades, and what is held back covers what may still be spent. Once everything
was heard, both books are equal.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledger_cases import MARKET, NOON, SYMBOL, approve, order_for, proposal, with_agent
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from alina.db.engine import session_factory
from alina.domain.market import Balance, Balances
from alina.domain.orders import Fill, ForeignOrder, Handling, Order, OrderSide, OrderState, PlacedOrder
from alina.errors import LedgerError
from alina.ledger import Ledger
from alina.orchestrator import comparison

D = Decimal
BOTH = (OrderSide.BUY, OrderSide.SELL)


@dataclass
class Traded:
    """An order as the exchange has it."""

    order: Order
    state: OrderState = OrderState.OPEN
    fills: list[Fill] = field(default_factory=list)

    @property
    def filled(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), D(0))

    def report(self) -> PlacedOrder:
        return PlacedOrder(
            client_order_id=self.order.client_order_id,
            exchange_order_id=f"x-{self.order.client_order_id}",
            symbol=SYMBOL,
            side=self.order.side,
            state=self.state,
            quantity=self.order.quantity,
            filled_quantity=self.filled,
            filled_notional=sum((fill.notional for fill in self.fills), D(0)),
            updated_at=NOON,
        )


class Books(RuleBasedStateMachine):
    """The exchange's books beside the ledger's."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.session: Session = session_factory(self.engine)()
        self.ledger = Ledger(self.session)
        self.held: Counter[str] = Counter({"USDT": 100_000, "BNB": 100})
        self.ours: list[Traded] = []
        self.foreign: list[Fill] = []
        self.trades = 0

    @initialize()
    def open_the_account(self) -> None:
        with_agent(self.ledger)
        self.ledger.record_balances("main", self.balances(), at=NOON)

    def balances(self) -> Balances:
        return {
            asset: Balance(asset=asset, free=D(amount), locked=D(0)) for asset, amount in self.held.items()
        }

    # -- on the exchange --------------------------------------------------------------------------

    def trade(self, name: str, side: OrderSide, quantity: Decimal, price: Decimal, fee_asset: str) -> Fill:
        self.trades += 1
        made = Fill(
            trade_id=str(self.trades),
            exchange_order_id=name,
            symbol=SYMBOL,
            side=side,
            quantity=quantity,
            price=price,
            fee=quantity * D("0.001") if fee_asset == "BTC" else D("0.01"),
            fee_asset=fee_asset,
            is_maker=False,
            executed_at=NOON + timedelta(seconds=self.trades),
        )
        sign = 1 if side is OrderSide.BUY else -1
        self.held["BTC"] += sign * made.quantity
        self.held["USDT"] -= sign * made.notional
        self.held[fee_asset] -= made.fee
        return made

    @rule(side=st.sampled_from(BOTH), lots=st.integers(100, 1000))
    def an_order_is_approved_and_sent(self, side: OrderSide, lots: int) -> None:
        quantity = lots * MARKET.min_quantity
        if side is OrderSide.SELL:
            position = self.ledger.open_position("main", SYMBOL)
            promised = sum(one.order.quantity for one in self.ours if one.order.side is OrderSide.SELL)
            sold = sum(one.filled for one in self.ours if one.order.side is OrderSide.SELL)
            free = (position.quantity if position is not None else D(0)) - (promised - sold)
            quantity = min(quantity, MARKET.quantity_down(free * D("0.99")))
            if quantity < MARKET.min_quantity or not self.all_heard:
                return
        wish = proposal(side, f"{quantity}")
        decision = approve(self.ledger, wish)
        order = order_for(wish, decision)
        assert self.ledger.claim_order(decision, order)
        assert not self.ledger.claim_order(decision, order)
        self.ours.append(Traded(order))

    @property
    def all_heard(self) -> bool:
        """A sale is sent for what the ledger holds, so it must have heard of the buys."""
        return {fill.trade_id for fill in self.ledger.fills("main", SYMBOL)} >= {
            fill.trade_id for one in self.ours for fill in one.fills
        }

    @precondition(lambda self: any(not one.state.is_final for one in self.ours))
    @rule(
        data=st.data(),
        percent=st.integers(1, 100),
        price=st.integers(50, 150),
        fee_asset=st.sampled_from(["BTC", "USDT", "BNB"]),
    )
    def some_of_it_is_filled(self, data: st.DataObject, percent: int, price: int, fee_asset: str) -> None:
        one = data.draw(st.sampled_from([one for one in self.ours if not one.state.is_final]))
        left = one.order.quantity - one.filled
        quantity = left if percent > 60 else max(MARKET.quantity_down(left * percent / 100), MARKET.lot_size)
        quantity = min(quantity, left)
        name = one.report().exchange_order_id
        one.fills.append(self.trade(name, one.order.side, quantity, D(price), fee_asset))
        one.state = OrderState.FILLED if quantity == left else OrderState.PARTIALLY_FILLED

    @precondition(lambda self: any(not one.state.is_final for one in self.ours))
    @rule(data=st.data(), end=st.sampled_from([OrderState.CANCELED, OrderState.EXPIRED]))
    def the_rest_is_cancelled(self, data: st.DataObject, end: OrderState) -> None:
        data.draw(st.sampled_from([one for one in self.ours if not one.state.is_final])).state = end

    @rule(handling=st.sampled_from(Handling), price=st.integers(50, 150))
    def somebody_else_buys(self, handling: Handling, price: int) -> None:
        name = f"by-hand-{self.trades}"
        self.foreign.append(self.trade(name, OrderSide.BUY, D("0.5"), D(price), "USDT"))
        order = ForeignOrder(symbol=SYMBOL, exchange_order_id=name, side=OrderSide.BUY, client_order_id=None)
        self.ledger.record_foreign_order("main", order, handling)

    # -- what the ledger hears of it ----------------------------------------------------------------

    @precondition(lambda self: self.ours)
    @rule(data=st.data())
    def a_report_arrives(self, data: st.DataObject) -> None:
        """Of any order, as it stands or as it once stood."""
        one = data.draw(st.sampled_from(self.ours))
        seen = data.draw(st.integers(0, len(one.fills)))
        if seen == len(one.fills):
            self.hear(one)
            return
        state = OrderState.PARTIALLY_FILLED if seen else OrderState.OPEN
        with suppress(LedgerError), self.session.begin_nested():  # an old word against a final one
            self.ledger.record_placed(Traded(one.order, state, one.fills[:seen]).report())

    @precondition(lambda self: any(one.fills for one in self.ours))
    @rule(data=st.data())
    def fills_arrive(self, data: st.DataObject) -> None:
        """Any of them, in any order, some again."""
        one = data.draw(st.sampled_from([one for one in self.ours if one.fills]))
        fills = data.draw(st.lists(st.sampled_from(one.fills), max_size=4))
        with suppress(LedgerError), self.session.begin_nested():  # its order was not named yet
            self.ledger.record_fills(one.order.client_order_id, fills, market=MARKET)

    def hear(self, one: Traded) -> None:
        self.ledger.record_placed(one.report())

    @rule()
    def it_is_reconciled(self) -> None:
        """Every order is asked for, then its fills; then what others did."""
        for one in self.ours:
            self.hear(one)
            self.ledger.record_fills(one.order.client_order_id, one.fills, market=MARKET)
        for made in self.foreign:
            for _ in range(2):
                self.ledger.record_foreign_fill(
                    "main",
                    made,
                    market=MARKET,
                    fee_rate=None,
                    stop_price=None,
                    take_profit_price=None,
                    close_after=None,
                )
        recorded = self.ledger.fills("main", SYMBOL)
        opening = self.ledger.opening_balances("main")
        assert comparison.compare_balances(opening, self.balances(), recorded) == []
        unsettled = {known.order.client_order_id for known in self.ledger.unsettled_orders()}
        assert unsettled == {one.order.client_order_id for one in self.ours if not one.state.is_final}

    # -- what is always true --------------------------------------------------------------------------

    @invariant()
    def every_recorded_fill_is_one_of_the_exchanges_and_there_once(self) -> None:
        there = {made.trade_id: made for one in self.ours for made in one.fills}
        there |= {made.trade_id: made for made in self.foreign}
        recorded = self.ledger.fills("main", SYMBOL)
        assert len({made.trade_id for made in recorded}) == len(recorded)
        assert all(there[made.trade_id] == made for made in recorded)

    @invariant()
    def what_may_still_be_spent_is_held_back_and_nothing_else(self) -> None:
        held = len(self.ledger.unsettled_orders()) * D(101)
        assert self.ledger.reserved("main", "USDT") == held

    def teardown(self) -> None:
        try:
            self.it_is_reconciled()
        finally:
            self.session.rollback()
            self.session.close()


@pytest.fixture
def books(engine: Engine) -> type[Books]:
    Books.engine = engine
    return Books


def test_no_coin_is_made_or_lost_under_any_interleaving(books: type[Books]) -> None:
    machine = books.TestCase
    machine.settings = settings(
        max_examples=30,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine("runTest").runTest()
