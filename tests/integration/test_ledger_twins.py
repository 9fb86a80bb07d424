"""Whatever happens, the kernel is told the same from Postgres and from the ledger in memory.

A backtest rests on the second: were it to count otherwise, it would trade what the first denies.
"""

from dataclasses import fields, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ledger_cases import HOUR, MARKET, NOON, approved, fill, order_for, placed, proposal, with_agent
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from alina.db.engine import session_factory
from alina.domain.activity import Activity, ActivityQuery
from alina.domain.decisions import Decision, NeedsApproval, Proposal
from alina.domain.market import Market
from alina.domain.orders import Fill, Order, OrderSide, OrderState, OrderType, PlacedOrder
from alina.domain.portfolio import CloseReason, Equity
from alina.errors import LedgerError
from alina.ledger import Ledger
from alina.ledger.in_memory import InMemoryLedger

D = Decimal
#: the base of one is the quote of another
SYMBOLS = ("BTC/USDT", "ETH/USDT", "ETH/BTC")
AGENTS = ("trading", "other")
FINAL = (OrderState.FILLED, OrderState.CANCELED, OrderState.EXPIRED)
#: whose last digits the two write differently
QUOTIENTS = ("exposure", "symbol_exposure", "symbol_return")
TICK = timedelta(microseconds=1)
#: from noon to just before midnight, to midnight, and over it
steps = st.sampled_from((TICK, HOUR, 12 * HOUR - TICK, 12 * HOUR, 25 * HOUR))
ages = st.sampled_from((TICK * 0, TICK, HOUR, 30 * HOUR))


def market_of(symbol: str) -> Market:
    base, quote = symbol.split("/")
    return replace(MARKET, symbol=symbol, base=base, quote=quote)


class Twins(RuleBasedStateMachine):
    """One ledger in Postgres and one in memory hear the same."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.session: Session = session_factory(self.engine)()
        self.twins: tuple[Ledger, Ledger] = (Ledger(self.session), InMemoryLedger())
        for ledger in self.twins:
            with_agent(ledger)
        self.now = NOON
        self.asked: list[Proposal] = []
        self.unclaimed: list[tuple[Proposal, Decision]] = []
        self.orders: list[tuple[Proposal, Order]] = []
        self.reports: dict[str, PlacedOrder] = {}
        self.fills: dict[str, list[Fill]] = {}

    def both(self, name: str, *arguments: Any, **named: Any) -> Any:
        """What both answer, or that both refuse."""
        in_postgres, in_memory = self.twins
        try:
            with self.session.begin_nested():
                answer = getattr(in_postgres, name)(*arguments, **named)
        except LedgerError:
            with pytest.raises(LedgerError):
                getattr(in_memory, name)(*arguments, **named)
            return None
        assert getattr(in_memory, name)(*arguments, **named) == answer
        return answer

    def wish(self, data: st.DataObject) -> Proposal:
        symbol, side = data.draw(st.sampled_from(SYMBOLS)), data.draw(st.sampled_from(OrderSide))
        wish = proposal(side, str(data.draw(st.integers(1, 30)) * D("0.1")), symbol=symbol)
        wish = replace(wish, agent=data.draw(st.sampled_from(AGENTS)))
        if side is OrderSide.BUY:
            return wish
        wish = replace(wish, close_reason=data.draw(st.none() | st.sampled_from(CloseReason)))
        held = self.twins[0].open_position("main", symbol)
        if held is not None and held.quantity and data.draw(st.booleans()):
            wish = replace(wish, quantity=held.quantity)
        if data.draw(st.booleans()):
            return wish
        return replace(wish, order_type=OrderType.STOP_LIMIT, limit_price=D(90), trigger_price=D(91))

    @rule(data=st.data(), asks=st.sampled_from([False, False, True]))
    def a_proposal_is_reviewed(self, data: st.DataObject, asks: bool) -> None:
        wish = self.wish(data)
        self.both("save_proposal", wish)
        if asks:
            question = NeedsApproval(message="large", expires_at=self.now + HOUR)
            self.both("save_decision", wish, question, snapshot={}, decided_at=self.now)
            self.asked.append(wish)
            return
        self.keep(wish, "save_decision")

    def keep(self, wish: Proposal, method: str) -> None:
        base, quote = wish.symbol.split("/")
        asset, amount = (quote, wish.quantity * 101) if wish.side is OrderSide.BUY else (base, wish.quantity)
        verdict = approved(wish, asset, str(amount))
        decision = self.both(method, wish, verdict, snapshot={}, decided_at=self.now)
        self.unclaimed.append((wish, decision))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def a_person_agrees(self, data: st.DataObject) -> None:
        wish = self.taken(data, self.asked)
        asked = self.both("decision_of", wish.id)
        for ledger in self.twins:
            ledger.answer_approval(asked.id, "approved", by="dana")
        self.keep(wish, "settle_decision")

    @precondition(lambda self: self.unclaimed)
    @rule(data=st.data())
    def an_order_is_claimed(self, data: st.DataObject) -> None:
        wish, decision = self.taken(data, self.unclaimed)
        order = order_for(wish, decision)
        assert self.both("claim_order", decision, order)
        self.orders.append((wish, order))

    @precondition(lambda self: self.unclaimed)
    @rule(data=st.data())
    def an_approval_is_given_up(self, data: st.DataObject) -> None:
        _, decision = self.taken(data, self.unclaimed)
        assert self.both("give_up_approval", decision.id)

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def an_order_is_rejected(self, data: st.DataObject) -> None:
        _, order = data.draw(st.sampled_from(self.orders))
        self.both("record_rejected", order.client_order_id, message="no")

    @precondition(lambda self: self.orders)
    @rule(
        data=st.data(),
        part=st.sampled_from(["0", "0.3", "1", "1"]),
        price=st.integers(80, 120),
        end=st.none() | st.sampled_from(FINAL),
        is_told_whole=st.booleans(),
    )
    def the_exchange_tells_of_an_order(
        self, data: st.DataObject, part: str, price: int, end: OrderState | None, is_told_whole: bool
    ) -> None:
        _, order = data.draw(st.sampled_from(self.orders))
        name = order.client_order_id
        known, last = self.fills.setdefault(name, []), self.reports.get(name)
        if last is None or not last.state.is_final:
            left = order.quantity - sum((one.quantity for one in known), D(0))
            quantity = left * D(part)
            if quantity:
                known.append(self.traded(data, order, quantity, D(price)))
            self.reports[name] = self.report(order, known, end)
        self.both("record_placed", self.reports[name])
        told = known if is_told_whole else known[:-1]
        rates = {"BNB": D(600)}
        self.both("record_fills", name, told, market=market_of(order.symbol), fee_rates=rates)

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        price=st.integers(90, 110),
        reason=st.sampled_from((CloseReason.AGENT, CloseReason.STOP_LOSS)),
        part=st.sampled_from(("1", "1", "0.5")),
        lasts=steps,
    )
    def a_trade_is_made(
        self, symbol: str, price: int, reason: CloseReason, part: str, lasts: timedelta
    ) -> None:
        """Bought at 100 and, whole or in part, sold by a stop that rests or at the market."""
        if self.twins[0].open_position("main", symbol) or self.twins[0].is_entering("main", symbol):
            return
        self.carry_out(proposal(symbol=symbol), "100", "1")
        self.now += lasts
        sale = proposal(OrderSide.SELL, symbol=symbol, close_reason=reason)
        if reason is CloseReason.STOP_LOSS:
            stop = {"order_type": OrderType.STOP_LIMIT, "limit_price": D(90), "trigger_price": D(91)}
            sale = replace(sale, **stop)  # type: ignore[arg-type]
        self.carry_out(sale, str(price), part)

    def carry_out(self, wish: Proposal, price: str, part: str) -> None:
        self.both("save_proposal", wish)
        self.keep(wish, "save_decision")
        _, decision = self.unclaimed.pop()
        order = order_for(wish, decision)
        assert self.both("claim_order", decision, order)
        self.orders.append((wish, order))
        name = order.client_order_id
        self.fills[name] = [fill(order, D(part), price=D(price), executed_at=self.now)]
        self.reports[name] = self.report(order, self.fills[name], None)
        self.both("record_placed", self.reports[name])
        self.both("record_fills", name, self.fills[name], market=market_of(wish.symbol))

    def traded(self, data: st.DataObject, order: Order, quantity: Decimal, price: Decimal) -> Fill:
        base, quote = order.symbol.split("/")
        asset = data.draw(st.sampled_from([base, quote, "BNB"]))
        fee = quantity * D("0.001") if asset == base else D("0.01")
        if asset == base and order.side is OrderSide.SELL:
            asset, fee = quote, D("0.02")
        return fill(
            order, quantity, price=price, fee=fee, fee_asset=asset, executed_at=self.now - data.draw(ages)
        )

    def report(self, order: Order, fills: list[Fill], end: OrderState | None) -> PlacedOrder:
        filled = sum((one.quantity for one in fills), D(0))
        state = end or (OrderState.PARTIALLY_FILLED if filled else OrderState.OPEN)
        if filled == order.quantity:
            state = OrderState.FILLED
        elif state is OrderState.FILLED:
            state = OrderState.CANCELED
        notional = sum((one.notional for one in fills), D(0))
        return replace(placed(order, state, filled), filled_notional=notional)

    @rule(symbol=st.sampled_from(SYMBOLS), reason=st.sampled_from(CloseReason))
    def dust_is_closed(self, symbol: str, reason: CloseReason) -> None:
        self.both("close_dust", "main", symbol, at=self.now, reason=reason)

    @rule(cash=st.integers(500, 1500), holdings=st.integers(0, 9), ago=st.sampled_from((TICK * 0, HOUR)))
    def the_worth_is_recorded(self, cash: int, holdings: int, ago: timedelta) -> None:
        worth = Equity(account="main", as_of=self.now - ago, cash=D(cash), holdings=D(holdings))
        self.both("record_equity", worth)

    @rule()
    def a_person_begins_a_new_peak(self) -> None:
        for ledger in self.twins:
            ledger.begin_new_peak("main", reason="withdrew", by="dana")

    @rule(step=steps)
    def time_passes(self, step: timedelta) -> None:
        self.now += step

    @invariant()
    def both_count_the_same(self) -> None:
        for symbol in SYMBOLS:
            self.both("open_position", "main", symbol)
            for side, agent, hours in ((OrderSide.BUY, "trading", 36), (OrderSide.SELL, "other", 1)):
                query = ActivityQuery(
                    account="main",
                    agent=agent,
                    symbol=symbol,
                    side=side,
                    now=self.now,
                    lookback=hours * HOUR,
                    recent=hours * HOUR,
                )
                in_postgres, in_memory = (ledger.activity(query) for ledger in self.twins)
                assert differing(in_postgres, in_memory) == {}

    def taken(self, data: st.DataObject, among: list[Any]) -> Any:
        return among.pop(data.draw(st.integers(0, len(among) - 1)))

    def teardown(self) -> None:
        self.session.rollback()
        self.session.close()


def differing(one: Activity, other: Activity) -> dict[str, Any]:
    """The figures that are not equal; but for the equity's age, which the wall's time is in."""
    pairs = {field.name: (getattr(one, field.name), getattr(other, field.name)) for field in fields(Activity)}
    del pairs["equity_age"]
    return {name: pair for name, pair in pairs.items() if not is_same(name, *pair)}


def is_same(name: str, one: Any, other: Any) -> bool:
    if name in QUOTIENTS and None not in (one, other):
        return abs(one - other) < D("1E-9")
    return bool(one == other)


def test_both_ledgers_count_the_same_whatever_happens(engine: Engine) -> None:
    machine = type("Machine", (Twins,), {"engine": engine}).TestCase
    machine.settings = settings(
        max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    machine("runTest").runTest()
