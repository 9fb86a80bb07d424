"""No sequence of proposals, fills, exits and days makes the kernel approve what breaks a limit.

A model beside the ledger keeps its own books of what happened and computes every limit again from them; the
ledger's own figures are never asked. Everything goes through the real review on a real Postgres.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from ledger_cases import fill, order_for, placed
from ledger_cases import proposal as wish
from still_exchange import StillExchange, listing, still_runtime
from system import empty

from alina import bootstrap
from alina.config import Settings
from alina.domain.decisions import Decision, Proposal, ReasonCode
from alina.domain.orders import Order, OrderSide, OrderState
from alina.domain.portfolio import CloseReason, Equity
from alina.orchestrator import review
from alina.orchestrator.runtime import Runtime

SYMBOLS = ("AA/USDT", "BB/USDT", "CC/USDT")
HOUR = timedelta(hours=1)
#: what a market buy of 1 at 100 may cost at most
WORST = Decimal("101.2")
VOLUME, LOSS, POSITIONS, EXPOSURE = Decimal(600), Decimal(12), 2, Decimal(350)
COOLDOWN, LOOKBACK, STOPS, LOSSES, DRAWDOWN = 2 * HOUR, 36 * HOUR, 2, 2, Decimal("0.1")
LIMITS = {
    "max_trade_amount": "400",
    "max_daily_volume": str(VOLUME),
    "max_daily_loss": str(LOSS),
    "max_open_positions": POSITIONS,
    "max_exposure": str(EXPOSURE),
    "max_symbol_exposure": None,
    "cooldown": "2h",
    "lookback": "36h",
    "max_stop_losses": STOPS,
    "max_symbol_stop_losses": None,
    "max_losses_in_a_row": LOSSES,
    "max_drawdown": str(DRAWDOWN),
    "max_order_rate": None,
    "duplicate_window": None,
}


@dataclass
class Traded:
    """One approved order and what came of it, as the model saw it."""

    proposal: Proposal
    decision: Decision
    order: Order
    #: filled quote; None: not settled yet
    notional: Decimal | None = None


@dataclass
class Closed:
    """One closed trade."""

    at: datetime
    pnl: Decimal
    is_stop: bool


@dataclass
class Books:
    """What happened, by the model."""

    traded: list[Traded] = field(default_factory=list)
    #: symbol -> quantity and cost of the open position
    held: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    closed: list[Closed] = field(default_factory=list)
    equity: list[Decimal] = field(default_factory=lambda: [Decimal(10_000)])

    def pending(self) -> list[Traded]:
        return [one for one in self.traded if one.notional is None]

    def broken(self, quantity: Decimal, symbol: str, now: datetime) -> set[ReasonCode]:
        """Every limit that a buy now would break."""
        day = now.replace(hour=0)
        cost = quantity * WORST
        entering = [one for one in self.pending() if one.proposal.side is OrderSide.BUY]
        today = [one for one in self.traded if one.decision.decided_at >= day]
        volume = sum((_volume(one) for one in today), Decimal(0))
        exposure = sum((held[1] for held in self.held.values()), Decimal(0))
        exposure += sum((one.proposal.quantity * WORST for one in entering), Decimal(0))
        recent = [one for one in self.closed if one.at >= now - LOOKBACK]
        since_a_win = [one.pnl < 0 for one in recent]
        losses = next((n for n, lost in enumerate(reversed(since_a_win)) if not lost), len(since_a_win))
        entries = [
            one.decision.decided_at
            for one in self.traded
            if one.proposal.side is OrderSide.BUY
            and one.proposal.symbol == symbol
            and (one.notional is None or one.notional > 0)
        ]
        rules = {
            ReasonCode.MAX_TRADE_AMOUNT: quantity * 100 > 400,
            ReasonCode.MAX_DAILY_VOLUME: volume + cost > VOLUME,
            ReasonCode.MAX_DAILY_LOSS: -sum(one.pnl for one in self.closed if one.at >= day) >= LOSS,
            ReasonCode.MAX_EXPOSURE: exposure + cost > EXPOSURE,
            ReasonCode.MAX_OPEN_POSITIONS: len({*self.held, *(one.proposal.symbol for one in entering)})
            >= POSITIONS,
            ReasonCode.COOLDOWN: any(now - entry < COOLDOWN for entry in entries),
            ReasonCode.STOP_LOSSES: sum(one.is_stop for one in recent) >= STOPS,
            ReasonCode.CONSECUTIVE_LOSSES: losses >= LOSSES,
            ReasonCode.MAX_DRAWDOWN: self.equity[-1] <= max(self.equity) * (1 - DRAWDOWN),
            ReasonCode.POSITION_ALREADY_OPEN: symbol in self.held,
        }
        return {reason for reason, is_broken in rules.items() if is_broken}


def _volume(one: Traded) -> Decimal:
    if one.notional is not None:
        return one.notional
    price = WORST if one.proposal.side is OrderSide.BUY else Decimal(100)
    return one.proposal.quantity * price


class Trading(RuleBasedStateMachine):
    """Entries, fills, rejections, exits and time, in any order."""

    runtime: Runtime
    exchange: StillExchange
    url: str

    def __init__(self) -> None:
        super().__init__()
        empty(self.url)
        type(self).exchange.now = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
        self.books = Books()
        bootstrap.prepare_ledger(self.runtime.settings, database_url=self.url)
        with self.runtime.unit_of_work() as uow:
            uow.ledger.record_balances("main", self.exchange.balances(), at=self.exchange.now)
        self._record_equity(Decimal(10_000))

    @rule(symbol=st.sampled_from(SYMBOLS), tenths=st.integers(5, 45))
    def propose_an_entry(self, symbol: str, tenths: int) -> None:
        quantity, now = Decimal(tenths) / 10, self.exchange.now
        broken = self.books.broken(quantity, symbol, now)
        decision = self._decide(wish(symbol=symbol, quantity=str(quantity), expires_at=now + HOUR))
        if broken:
            assert decision.reason in broken, (broken, decision)
        else:
            assert decision.verdict == "approved", decision

    @rule(symbol=st.sampled_from(SYMBOLS), tenths=st.integers(5, 25), cents=st.integers(9_000, 10_500))
    def lose_or_win_a_trade(self, symbol: str, tenths: int, cents: int) -> None:
        """An entry, its fill and its exit at once: how most limits are reached."""
        if any(one.proposal.symbol == symbol for one in self.books.pending()):
            return  # the ledger keeps a position open while an order of its symbol is under way
        known = len(self.books.traded)
        self.propose_an_entry(symbol, tenths)
        if len(self.books.traded) > known:
            self._settle(self.books.traded[-1], Decimal(100))
            self._exit(symbol, Decimal(cents) / 100, is_stop=cents < 9_300)

    @rule(data=st.data(), cents=st.integers(9_000, 10_120))
    def fill_an_order(self, data: st.DataObject, cents: int) -> None:
        if self.books.pending():
            self._settle(data.draw(st.sampled_from(self.books.pending())), Decimal(cents) / 100)

    @rule(data=st.data())
    def reject_an_order(self, data: st.DataObject) -> None:
        if not self.books.pending():
            return
        one = data.draw(st.sampled_from(self.books.pending()))
        with self.runtime.unit_of_work() as uow:
            uow.ledger.record_rejected(one.order.client_order_id, message="a test")
        one.notional = Decimal(0)

    @rule(data=st.data(), is_stop=st.booleans(), cents=st.integers(8_000, 12_000))
    def exit_a_position(self, data: st.DataObject, is_stop: bool, cents: int) -> None:
        pending = {one.proposal.symbol for one in self.books.pending()}
        free = sorted(self.books.held.keys() - pending)
        if not free:
            return
        symbol = data.draw(st.sampled_from(free))
        self._exit(symbol, Decimal(cents) / 100, is_stop=is_stop)

    @rule(hours=st.integers(1, 3))
    def time_passes(self, hours: int) -> None:
        self.exchange.now += hours * HOUR

    @rule(percent=st.integers(85, 115))
    def equity_moves(self, percent: int) -> None:
        self.exchange.now += 24 * HOUR  # else the day's loss would stop entries first
        self._record_equity(Decimal(10_000) * percent / 100)
        self.exchange.now += 24 * HOUR

    @invariant()
    def what_is_reserved_is_what_is_under_way(self) -> None:
        expected = sum(
            (one.proposal.quantity * WORST for one in self.books.pending() if one.proposal.side == "buy"),
            Decimal(0),
        )
        with self.runtime.unit_of_work() as uow:
            assert uow.ledger.reserved("main", "USDT") == expected

    def _decide(self, one: Proposal) -> Decision:
        with self.runtime.unit_of_work() as uow:
            uow.ledger.save_proposal(one)
        decision = review.decide(self.runtime, one.id)
        if decision.verdict == "approved":
            order = order_for(one, decision)
            with self.runtime.unit_of_work() as uow:
                assert uow.ledger.claim_order(decision, order)
            self.books.traded.append(Traded(one, decision, order))
        return decision

    def _exit(self, symbol: str, price: Decimal, *, is_stop: bool) -> None:
        quantity, now = self.books.held[symbol][0], self.exchange.now
        reason = CloseReason.STOP_LOSS if is_stop else CloseReason.AGENT
        decision = self._decide(
            wish(OrderSide.SELL, str(quantity), symbol=symbol, close_reason=reason, expires_at=now + HOUR)
        )
        assert decision.verdict == "approved", "no limit of entries holds an exit back"
        self._settle(self.books.traded[-1], price)

    def _settle(self, one: Traded, price: Decimal) -> None:
        """The order filled whole at a price, without fees."""
        order, quantity, symbol = one.order, one.proposal.quantity, one.proposal.symbol
        notional, now = quantity * price, self.exchange.now
        report = placed(order, OrderState.FILLED, quantity)
        with self.runtime.unit_of_work() as uow:
            uow.ledger.record_placed(report)
            uow.ledger.record_fills(
                order.client_order_id,
                [fill(order, quantity, price=price, executed_at=now)],
                market=self.exchange.market(symbol),
            )
        one.notional = report.filled_notional
        if one.proposal.side is OrderSide.BUY:
            held, cost = self.books.held.get(symbol, (Decimal(0), Decimal(0)))
            self.books.held[symbol] = (held + quantity, cost + notional)
            return
        _, cost = self.books.held.pop(symbol)
        is_stop = one.proposal.close_reason is CloseReason.STOP_LOSS
        self.books.closed.append(Closed(now, notional - cost, is_stop))

    def _record_equity(self, total: Decimal) -> None:
        self.books.equity.append(total)
        with self.runtime.unit_of_work() as uow:
            uow.ledger.record_equity(
                Equity(account="main", as_of=self.exchange.now, cash=total, holdings=Decimal(0))
            )


def test_no_sequence_makes_the_kernel_approve_what_breaks_a_limit(ledger_url: str) -> None:
    exchange = StillExchange()
    exchange.bases = tuple(symbol.split("/")[0] for symbol in SYMBOLS)
    settings_of_all = Settings(risk=LIMITS, market=listing(SYMBOLS))  # type: ignore[arg-type]
    runtime = still_runtime(settings_of_all, ledger_url, exchange)
    machine = type("Machine", (Trading,), {"runtime": runtime, "exchange": exchange, "url": ledger_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
