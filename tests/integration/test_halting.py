"""Whoever halts, nothing is sent any more: by the account, by the whole system, by a stop-file."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from system import HOLD, NOW, Died, RunningVenue, System, empty, proposal, system

from alina.domain.decisions import ReasonCode
from alina.domain.market import Balances
from alina.domain.orders import OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason, Equity, TradingState, WindDown
from alina.orchestrator import execution, halting, reconciliation, review, sweeping, winding_down

Make = Callable[..., System]
STATES = tuple(TradingState)


#: one for each system of these tests
VENUE_SYMBOLS = 120


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Iterator[Make]:
    empty(ledger_url)
    yield partial(system, venue, ledger_url)
    (venue.home / "STOP").unlink(missing_ok=True)


def set_states(one: System, own: TradingState, whole: TradingState) -> None:
    with one.work() as uow:
        uow.ledger.set_trading_state(one.runtime.account, own, reason="own", at=datetime.now(UTC))
        uow.ledger.set_system_state(whole, reason="of all", at=datetime.now(UTC))


def ask(one: System, wish: WindDown) -> None:
    state = TradingState.REDUCING if wish is WindDown.FLATTEN else TradingState.HALTED
    with one.work() as uow:
        uow.ledger.set_trading_state(one.runtime.account, state, reason="a drill", at=datetime.now(UTC))
        uow.ledger.ask_wind_down(one.runtime.account, wish)


def proposal_passes(one: System) -> bool:
    return one.execute(proposal(one).id).verdict == "approved"


def resting_buy(one: System) -> str:
    """A limit buy below the market; its client order id."""
    decision = one.execute(proposal(one, order_type=OrderType.LIMIT, limit_price=Decimal("103.00")).id)
    with one.work() as uow:
        known = uow.ledger.order_of(decision.id)
    assert known is not None
    assert known.state is OrderState.OPEN
    return known.order.client_order_id


@pytest.mark.parametrize("whole", STATES)
@pytest.mark.parametrize("own", STATES)
def test_the_stricter_of_account_and_system_counts(
    make: Make, own: TradingState, whole: TradingState
) -> None:
    one = make()
    set_states(one, own, whole)
    stricter = max(own, whole, key=lambda state: state.strictness)
    with one.work() as uow:
        account = uow.ledger.account(one.runtime.account)
    assert account.trading_state is stricter
    if stricter is not own:
        assert account.reason == "the whole system: of all"
    decision = one.execute(proposal(one).id)
    assert (decision.verdict == "approved") is (stricter is TradingState.ACTIVE)


@pytest.mark.parametrize("target", STATES)
@pytest.mark.parametrize("start", STATES)
def test_a_move_down_never_goes_up(make: Make, start: TradingState, target: TradingState) -> None:
    one = make()
    set_states(one, start, start)
    with one.work() as uow:
        for scope in (one.runtime.account, None):
            moved = halting.move_down(uow, scope, target, reason="a drill", at=datetime.now(UTC))
            assert moved is (target.strictness > start.strictness)
        stricter = max(start, target, key=lambda state: state.strictness)
        assert uow.ledger.system_state().trading_state is stricter
    assert one.trading_state() is stricter


def test_a_database_without_a_state_of_the_whole_system_trades_nothing(make: Make, ledger_url: str) -> None:
    one = make()
    empty(ledger_url)
    with one.work() as uow:
        assert uow.ledger.system_state().trading_state is TradingState.HALTED


def test_a_stop_file_stops_everything_but_cancels_and_its_removal_trades_again(make: Make) -> None:
    one = make()
    name = resting_buy(one)
    stop_file = one.runtime.settings.stop_file
    stop_file.touch()
    assert one.execute(proposal(one).id).reason is ReasonCode.TRADING_HALTED
    assert one.execute(proposal(one, OrderSide.SELL).id).reason is ReasonCode.TRADING_HALTED
    winding_down.cancel_open_orders(one.runtime)
    with one.work() as uow:
        assert uow.ledger.order(name).state is OrderState.CANCELED
    stop_file.unlink()
    assert proposal_passes(make())


def test_a_stop_file_that_cannot_be_looked_at_stops(make: Make) -> None:
    one = make()
    (one.runtime.settings.data_folder / "a-file").touch()
    assert halting.is_stopped(one.runtime.settings.data_folder / "a-file" / "STOP")


def test_an_order_approved_before_the_stop_file_is_not_sent_after_it(make: Make) -> None:
    one = make()
    wish = proposal(one)
    decision = review.decide(one.runtime, review.read(one.runtime, wish.id))
    assert decision.verdict == "approved"
    one.runtime.settings.stop_file.touch()
    assert one.execute(wish.id) == decision
    with one.work() as uow:
        known = uow.ledger.order_of(decision.id)
    assert known is not None
    assert (known.state, known.settled) == (OrderState.REJECTED, True)
    assert known.message.startswith("not sent")
    assert one.on_venue() == 0


class Sends:
    """The exchange of one executor, counting the orders that leave."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange
        self.left = 0

    def __getattr__(self, name: str) -> Any:
        self.left += name == "submit"
        return getattr(self._exchange, name)


@pytest.mark.parametrize("how", ["account", "system", "file"])
def test_under_load_no_executor_sends_more_after_the_halt_than_the_order_it_was_sending(
    make: Make, how: str
) -> None:
    ones = [make(risk={"max_trade_amount": "1000000"}) for _ in range(4)]
    base, sends = ones[0], [Sends(one.exchange) for one in ones]
    for one in ones:
        assert one.execute(proposal(one, quantity="300").id).verdict == "approved"
    ones = [one.with_parts(exchange=each) for one, each in zip(ones, sends, strict=True)]
    over = threading.Event()

    def trade(one: System) -> int:
        count = 0
        while not over.is_set():
            one.execute(proposal(one, OrderSide.SELL).id)
            count += 1
        return count

    def halt() -> None:
        at = datetime.now(UTC)
        if how == "file":
            base.runtime.settings.stop_file.touch()
        for one in ones if how == "account" else [base]:
            with one.work() as uow:
                if how == "account":
                    uow.ledger.set_trading_state(
                        one.runtime.account, TradingState.HALTED, reason="a drill", at=at
                    )
                elif how == "system":
                    uow.ledger.set_system_state(TradingState.HALTED, reason="a drill", at=at)

    with ThreadPoolExecutor(len(ones)) as pool:
        traders = [pool.submit(trade, one) for one in ones]
        _until(lambda: all(each.left >= 3 for each in sends), "orders leave")
        halt()
        left = [each.left for each in sends]
        tried = [len(_denied(one)) for one in ones]
        _until(
            lambda: all(len(_denied(one)) > before + 2 for one, before in zip(ones, tried, strict=True)),
            "every executor tries",
        )
        over.set()
        assert all(trader.result() > 0 for trader in traders)
    assert all(each.left <= before + 1 for each, before in zip(sends, left, strict=True))


def _denied(one: System) -> list[Any]:
    with one.work() as uow:
        trails = uow.ledger.decisions(limit=1000, symbol=one.symbol)
    return [trail for trail in trails if trail.decision.reason is ReasonCode.TRADING_HALTED]


def _until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 200
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_halt_with_cancel_leaves_no_order_open(make: Make) -> None:
    one = make()
    names = [resting_buy(one)]
    ask(one, WindDown.CANCEL)
    assert sweeping.sweep(one.runtime) == 1
    assert one.sent == [("trading.wind_down",)]
    assert winding_down.wind_down(one.runtime) == []
    with one.work() as uow:
        assert [uow.ledger.order(name).state for name in names] == [OrderState.CANCELED]
        account = uow.ledger.account(one.runtime.account)
        assert uow.ledger.reserved(one.runtime.account, "USDT") == 0
    assert (account.trading_state, account.wind_down) == (TradingState.HALTED, WindDown.NONE)
    assert one.exchange.open_orders(one.symbol) == []
    assert reconciliation.reconcile(one.runtime) == []


def test_a_halt_with_flatten_sells_what_is_held_through_the_kernel_and_then_halts(make: Make) -> None:
    one = make(HOLD)
    one.execute(proposal(one).id)
    ask(one, WindDown.FLATTEN)
    left = winding_down.wind_down(one.runtime)
    assert all("too little to be sold" in line for line in left)
    with one.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
        trail = uow.ledger.decisions(limit=1, symbol=one.symbol)[0]
    assert closed.close_reason is CloseReason.HALT
    assert trail.proposal.reduce_only
    assert one.trading_state() is TradingState.HALTED
    assert one.on_venue() == 2
    assert winding_down.wind_down(one.runtime) == []
    assert one.on_venue() == 2


def test_flattening_lets_no_entry_through(make: Make) -> None:
    one = make(HOLD)
    ask(one, WindDown.FLATTEN)
    assert one.execute(proposal(one).id).reason is ReasonCode.TRADING_REDUCING


def test_a_stop_file_keeps_flattening_from_selling_until_it_is_removed(make: Make) -> None:
    one = make(HOLD)
    one.execute(proposal(one).id)
    ask(one, WindDown.FLATTEN)
    one.runtime.settings.stop_file.touch()
    (line,) = winding_down.wind_down(one.runtime)
    assert one.symbol in line
    assert one.on_venue() == 1
    one.runtime.settings.stop_file.unlink()
    winding_down.wind_down(one.runtime)
    assert (one.on_venue(), one.trading_state()) == (2, TradingState.HALTED)


class Dying:
    """The exchange of a process that dies at its n-th request."""

    def __init__(self, exchange: Any, requests: int) -> None:
        self._exchange, self._left = exchange, requests

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*arguments: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise Died(name)
            answer = getattr(self._exchange, name)(*arguments, **more)
            self._left -= 1
            if self._left == 0:
                raise Died(name)
            return answer

        return request


def test_a_flattening_that_dies_at_every_request_sells_once_and_ends_halted(make: Make) -> None:
    step, died = 0, True
    while died:
        step, one, died = step + 1, make(HOLD), False
        one.execute(proposal(one).id)
        ask(one, WindDown.FLATTEN)
        try:
            winding_down.wind_down(one.with_parts(exchange=Dying(one.exchange, step)).runtime)
        except Died:
            died = True
        execution.settle_all(one.runtime)
        for _ in range(2):
            sweeping.sweep(one.runtime)
            one.deliver()
        assert one.on_venue() == 2, step
        assert one.trading_state() is TradingState.HALTED, step
        assert reconciliation.reconcile(one.runtime) == [], step
    assert step > 10


def test_what_a_person_wished_meanwhile_is_not_undone(make: Make) -> None:
    one = make(HOLD)
    one.execute(proposal(one).id)
    ask(one, WindDown.FLATTEN)
    with one.work() as uow:
        uow.ledger.set_trading_state(
            one.runtime.account, TradingState.ACTIVE, reason="", at=datetime.now(UTC)
        )
    assert winding_down.wind_down(one.runtime) == []
    assert one.trading_state() is TradingState.ACTIVE
    assert one.on_venue() == 1


def equity(one: System, total: str, at: datetime) -> None:
    with one.work() as uow:
        uow.ledger.record_equity(
            Equity(account=one.runtime.account, as_of=at, cash=Decimal(total), holdings=Decimal(0))
        )


@pytest.mark.parametrize(
    ("limits", "steps_back"),
    [
        ({"max_daily_loss": "100", "max_drawdown": None}, True),
        ({"max_daily_loss": "100.01", "max_drawdown": None}, False),
        ({"max_daily_loss": None, "max_drawdown": "0.1"}, True),
        ({"max_daily_loss": None, "max_drawdown": "0.1001"}, False),
        ({"max_daily_loss": None, "max_drawdown": None}, False),
    ],
)
def test_a_day_lost_or_a_drawdown_at_its_limit_steps_back(
    make: Make, limits: dict[str, str | None], steps_back: bool
) -> None:
    one = make(risk=limits)
    equity(one, "1000", NOW - timedelta(minutes=2))
    equity(one, "900", NOW)
    halting.watch_losses(one.runtime)
    assert one.trading_state() is (TradingState.REDUCING if steps_back else TradingState.ACTIVE)


def test_what_was_withdrawn_counts_as_lost_until_a_person_begins_a_new_peak(make: Make) -> None:
    one = make(risk={"max_daily_loss": "100", "max_drawdown": "0.1"})
    equity(one, "2000000", NOW - timedelta(minutes=2))
    for _ in range(2):
        one.resume()
        assert reconciliation.reconcile(one.runtime) == []
        assert one.trading_state() is TradingState.REDUCING
    with one.work() as uow:
        uow.ledger.begin_new_peak(one.runtime.account, reason="withdrew half", by="a person")
    one.resume()
    assert one.execute(proposal(one).id).reason is ReasonCode.UNKNOWN_FIGURE
    assert reconciliation.reconcile(one.runtime) == []
    assert one.trading_state() is TradingState.ACTIVE
    assert proposal_passes(one)


class WithdrawnMeanwhile:
    """An exchange that tells the balances; before they are kept a person withdraws and begins a new peak."""

    def __init__(self, one: System) -> None:
        self._one = one

    def __getattr__(self, name: str) -> Any:
        return getattr(self._one.exchange, name)

    def balances(self) -> Balances:
        balances = self._one.exchange.balances()
        with self._one.work() as uow:
            uow.ledger.begin_new_peak(self._one.runtime.account, reason="withdrew half", by="a person")
        return balances


def test_balances_that_were_read_before_a_withdrawal_do_not_open_the_new_peak(make: Make) -> None:
    one = make(risk={"max_drawdown": "0.1"})
    reconciliation.record_equity(one.with_parts(exchange=WithdrawnMeanwhile(one)).runtime)
    assert one.execute(proposal(one).id).reason is ReasonCode.UNKNOWN_FIGURE
    reconciliation.record_equity(one.runtime)
    assert proposal_passes(one)
