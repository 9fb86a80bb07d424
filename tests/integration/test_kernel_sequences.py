"""No sequence of proposals, answers, fills, cancels, exits, halts, restarts and days breaks a limit.

The model beside the ledger keeps its own books (kernel_model); the ledger's own figures are never asked.
Everything goes through the real review on a real Postgres.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from kernel_model import ANSWER_TIME, ASKED, FREE, HOUR, LIMITS, Books, Closed, Held, Traded
from ledger_cases import fill, order_for, placed
from ledger_cases import proposal as wish
from still_exchange import StillExchange, listing, record_worth, still_runtime
from system import empty

from alina.config import Settings
from alina.domain.decisions import Decision, Proposal, ReasonCode
from alina.domain.orders import OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason, TradingState
from alina.orchestrator import review
from alina.orchestrator.runtime import Runtime

SYMBOLS = ("AA/USDT", "BB/USDT", "CC/USDT")


class Trading(RuleBasedStateMachine):
    """Entries, answers, fills, cancels, exits, halts, restarts and time, in any order."""

    make: Callable[[], Runtime]
    exchange: StillExchange
    url: str

    def __init__(self) -> None:
        super().__init__()
        empty(self.url)
        self.exchange.now = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
        self.books = Books()
        self.runtime = self.make()
        with self.runtime.unit_of_work() as uow:
            uow.ledger.record_balances("main", self.exchange.balances(), at=self.exchange.now)
        self._record_equity(Decimal(10_000))

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        tenths=st.integers(5, 10) | st.integers(10, 30),
        cents=st.none() | st.integers(9_450, 10_550),
    )
    def propose_an_entry(self, symbol: str, tenths: int, cents: int | None = None) -> None:
        order_type = OrderType.MARKET if cents is None else OrderType.LIMIT
        price = None if cents is None else Decimal(cents) / 100
        until = self.exchange.now + HOUR
        entry = wish(quantity=str(Decimal(tenths) / 10), symbol=symbol, expires_at=until)
        entry = replace(entry, order_type=order_type, limit_price=price)
        broken = self.books.broken(entry, self.exchange.now)
        decision = self._decide(entry)
        if broken:
            assert decision.reason in broken, (broken, decision)
        elif entry.quantity * (price or 100) > ASKED:
            assert decision.verdict == "needs_approval", decision
            self.books.asked.append(entry)
        else:
            assert decision.verdict == "approved", decision

    @rule(data=st.data(), agrees=st.booleans())
    def a_person_answers(self, data: st.DataObject, agrees: bool) -> None:
        if not self.books.asked:
            return
        entry = data.draw(st.sampled_from(self.books.asked))
        self.books.asked.remove(entry)
        with self.runtime.unit_of_work() as uow:
            asked = uow.ledger.decision_of(entry.id)
            assert asked is not None
            uow.ledger.answer_approval(asked.id, "approved" if agrees else "denied", by="dana")
        broken = self.books.broken(entry, self.exchange.now)
        if not agrees:
            broken = {ReasonCode.APPROVAL_REFUSED}
        elif self.exchange.now > asked.decided_at + ANSWER_TIME:
            broken.add(ReasonCode.APPROVAL_EXPIRED)
        decision = self._decide(entry)
        assert decision.reason in broken if broken else decision.verdict == "approved", (broken, decision)

    @rule(symbol=st.sampled_from(SYMBOLS), tenths=st.integers(5, 19), cents=st.integers(9_000, 10_500))
    def lose_or_win_a_trade(self, symbol: str, tenths: int, cents: int) -> None:
        """An entry, its fill and its exit at once: how most limits are reached."""
        if self._is_under_way(symbol):
            return  # the ledger keeps a position open while an order of its symbol is under way
        known = len(self.books.traded)
        self.propose_an_entry(symbol, tenths)
        if len(self.books.traded) > known:
            self._settle(self.books.traded[-1], Decimal(100))
            self._exit(symbol, Decimal(cents) / 100, is_stop=cents < 9_300)

    @rule(symbol=st.sampled_from(SYMBOLS), cents=st.integers(9_000, 9_900), times=st.integers(2, 4))
    def lose_trades_in_a_row(self, symbol: str, cents: int, times: int) -> None:
        for _ in range(times):
            self.exchange.now += 3 * HOUR
            self.lose_or_win_a_trade(symbol, 5, cents)
        self.propose_an_entry(symbol, 5)

    @rule(data=st.data(), cents=st.integers(9_000, 10_120), filled=st.sampled_from(("0", "0.5", "1", "1")))
    def end_an_order(self, data: st.DataObject, cents: int, filled: str) -> None:
        """Filled whole, or cancelled after half of it, or before any."""
        if self.books.pending():
            one = data.draw(st.sampled_from(self.books.pending()))
            price = min(Decimal(cents) / 100, one.proposal.limit_price or Decimal(1000))
            self._settle(one, price, Decimal(filled))

    @rule(data=st.data())
    def reject_an_order(self, data: st.DataObject) -> None:
        if not self.books.pending():
            return
        one = data.draw(st.sampled_from(self.books.pending()))
        with self.runtime.unit_of_work() as uow:
            uow.ledger.record_rejected(one.order.client_order_id, message="a test")
        one.notional, one.is_rejected = Decimal(0), True

    @rule(data=st.data(), is_stop=st.booleans(), cents=st.integers(8_000, 12_000), whole=st.booleans())
    def exit_a_position(self, data: st.DataObject, is_stop: bool, cents: int, whole: bool) -> None:
        free = sorted(symbol for symbol in self.books.held if not self._is_under_way(symbol))
        if free:
            symbol = data.draw(st.sampled_from(free))
            self._exit(symbol, Decimal(cents) / 100, is_stop=is_stop, filled=Decimal("1" if whole else "0.5"))

    @rule(hours=st.integers(1, 3))
    def time_passes(self, hours: int) -> None:
        self.exchange.now += hours * HOUR

    @rule(symbol=st.sampled_from(SYMBOLS), percent=st.integers(87, 93))
    def equity_dips(self, symbol: str, percent: int) -> None:
        """And recovers: else hardly an entry would pass any more."""
        worth = self.books.equity[max(self.books.equity)]
        self.exchange.now += 24 * HOUR  # else the day's loss would stop entries first
        self._record_equity(worth * percent / 100)
        self.exchange.now += 24 * HOUR
        self.propose_an_entry(symbol, 5)
        self._record_equity(worth)

    @rule(symbol=st.sampled_from(SYMBOLS), lost=st.integers(9, 15))
    def equity_dips_within_the_day(self, symbol: str, lost: int) -> None:
        worth = self.books.equity[max(self.books.equity)]
        self._record_equity(worth - lost)
        self.propose_an_entry(symbol, 5)
        self._record_equity(worth)

    @rule(symbol=st.sampled_from(SYMBOLS), percent=st.integers(50, 150))
    def a_person_begins_a_new_peak(self, symbol: str, percent: int) -> None:
        """After a withdrawal or a deposit: whatever was lost before is no loss any more."""
        worth = self.books.equity[max(self.books.equity)]
        with self.runtime.unit_of_work() as uow:
            uow.ledger.begin_new_peak("main", reason="money came or went", by="a person")
        self.books.equity.clear()
        self._record_equity(worth * percent / 100)
        self.propose_an_entry(symbol, 5)

    @rule(state=st.sampled_from(TradingState), whole=st.booleans(), data=st.data())
    def a_person_stops_trading_and_resumes(
        self, state: TradingState, whole: bool, data: st.DataObject
    ) -> None:
        self._set_state(state, whole=whole)
        self.propose_an_entry(data.draw(st.sampled_from(SYMBOLS)), 5)
        self.exit_a_position(data=data, is_stop=False, cents=10_000, whole=True)
        self._set_state(TradingState.ACTIVE, whole=whole)

    @rule(data=st.data())
    def the_executor_restarts(self, data: st.DataObject) -> None:
        """And gets a message again: it decides nothing anew and reserves nothing more."""
        self.runtime = self.make()
        if self.books.traded:
            one = data.draw(st.sampled_from(self.books.traded))
            assert (
                review.decide(self.runtime, review.read(self.runtime, one.proposal.id)).id == one.decision.id
            )

    @invariant()
    def what_is_reserved_is_what_is_under_way(self) -> None:
        with self.runtime.unit_of_work() as uow:
            assert uow.ledger.reserved("main", "USDT") == self.books.reserved() <= FREE

    def _set_state(self, state: TradingState, *, whole: bool) -> None:
        at = datetime.now(UTC)
        with self.runtime.unit_of_work() as uow:
            if whole:
                uow.ledger.set_system_state(state, reason="a drill", at=at)
            else:
                uow.ledger.set_trading_state("main", state, reason="a drill", at=at)
        self.books.state = state

    def _is_under_way(self, symbol: str) -> bool:
        return any(one.proposal.symbol == symbol for one in self.books.pending())

    def _decide(self, one: Proposal) -> Decision:
        with self.runtime.unit_of_work() as uow:
            uow.ledger.save_proposal(one)
        decision = review.decide(self.runtime, review.read(self.runtime, one.id))
        if decision.verdict == "approved":
            order = order_for(one, decision)
            with self.runtime.unit_of_work() as uow:
                assert uow.ledger.claim_order(decision, order)
            self.books.traded.append(Traded(one, decision, order))
        return decision

    def _exit(self, symbol: str, price: Decimal, *, is_stop: bool, filled: Decimal = Decimal(1)) -> None:
        quantity, now = self.books.held[symbol].left, self.exchange.now
        reason = CloseReason.STOP_LOSS if is_stop else CloseReason.AGENT
        decision = self._decide(
            wish(OrderSide.SELL, str(quantity), symbol=symbol, close_reason=reason, expires_at=now + HOUR)
        )
        if self.books.state is TradingState.HALTED:
            assert decision.reason is ReasonCode.TRADING_HALTED
            return
        assert decision.verdict == "approved", f"no limit of entries holds an exit back: {decision}"
        self._settle(self.books.traded[-1], price, filled)

    def _settle(self, one: Traded, price: Decimal, part: Decimal = Decimal(1)) -> None:
        """The order ended with so much of it filled at a price, without fees."""
        order, filled = one.order, (one.proposal.quantity * part).quantize(Decimal("0.001"))
        notional, now = filled * price, self.exchange.now
        state = OrderState.FILLED if part == 1 else OrderState.CANCELED
        report = replace(placed(order, state, filled), filled_notional=notional)
        fills = [fill(order, filled, price=price, executed_at=now)] if filled else []
        with self.runtime.unit_of_work() as uow:
            uow.ledger.record_placed(report)
            market = self.exchange.market(one.proposal.symbol)
            uow.ledger.record_fills(order.client_order_id, fills, market=market)
        one.notional = notional
        if filled:
            self._book(one, filled, notional)

    def _book(self, one: Traded, filled: Decimal, notional: Decimal) -> None:
        symbol = one.proposal.symbol
        held = self.books.held.setdefault(symbol, Held())
        if one.is_entry:
            held.bought, held.cost = held.bought + filled, held.cost + notional
            return
        held.sold, held.proceeds = held.sold + filled, held.proceeds + notional
        if not held.left:
            del self.books.held[symbol]
            is_stop = one.proposal.close_reason is CloseReason.STOP_LOSS
            pnl = held.proceeds - held.cost
            self.books.closed.append(Closed(symbol, self.exchange.now, held.cost, pnl, is_stop))

    def _record_equity(self, total: Decimal) -> None:
        self.books.equity[self.exchange.now] = total
        record_worth(self.runtime, total)


def test_no_sequence_makes_the_kernel_approve_what_breaks_a_limit(ledger_url: str) -> None:
    exchange = StillExchange(str(FREE))  # type: ignore[abstract]
    exchange.bases = tuple(symbol.split("/")[0] for symbol in SYMBOLS)
    chosen = Settings(risk=LIMITS, market=listing(SYMBOLS))
    make = staticmethod(lambda: still_runtime(chosen, ledger_url, exchange))
    machine = type("Machine", (Trading,), {"make": make, "exchange": exchange, "url": ledger_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
