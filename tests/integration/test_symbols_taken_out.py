"""What is left in a symbol that `market.symbols` names no more, or that the exchange lists no more."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from system import HOLD, RunningVenue, System, empty, proposal, system

from alina.domain.portfolio import CloseReason, TradingState, WindDown
from alina.errors import ExchangeRefused
from alina.orchestrator import polling, reconciliation, winding_down

Make = Callable[..., System]
#: the market stands at 105
BELOW, ABOVE = Decimal(100), Decimal(1000)


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    """A system that holds one of a symbol, and whose settings then name another one instead."""
    empty(ledger_url)

    def taken_out(stop_orders: str = "software", **entry: Any) -> System:
        one = system(venue, ledger_url, HOLD, trading={"stop_orders": stop_orders})
        assert one.execute(proposal(one, **entry).id).verdict == "approved"
        one.deliver()
        market = one.runtime.settings.market.model_copy(update={"symbols": (venue.symbol(),)})
        return one.with_parts(settings=one.runtime.settings.model_copy(update={"market": market}))

    return taken_out


def closed_as(one: System) -> list[CloseReason | None]:
    with one.work() as uow:
        return [trade.close_reason for trade in uow.ledger.closed_trades(account=one.runtime.account)]


@pytest.mark.parametrize(
    ("exits", "reason"),
    [
        ({"stop_price": ABOVE}, CloseReason.STOP_LOSS),
        ({"stop_price": BELOW, "take_profit_price": BELOW}, CloseReason.TAKE_PROFIT),
    ],
)
def test_its_exits_are_still_looked_at(make: Make, exits: dict[str, Decimal], reason: CloseReason) -> None:
    one = make(**exits)
    polling.poll(one.runtime)
    one.deliver()
    assert closed_as(one) == [reason]


def test_its_trades_and_its_worth_are_still_in_the_books(make: Make) -> None:
    one = make()
    before = reconciliation.record_equity(one.runtime)
    assert before.holdings > 100
    assert reconciliation.reconcile(one.runtime) == []
    assert one.trading_state() is TradingState.ACTIVE


def test_its_trades_are_in_the_books_when_nothing_is_held_any_more(make: Make) -> None:
    one = make(stop_price=ABOVE)
    polling.poll(one.runtime)
    one.deliver()
    assert reconciliation.reconcile(one.runtime) == []


def test_its_orders_are_cancelled_with_all_others(make: Make) -> None:
    one = make("exchange", stop_price=BELOW)
    assert len(one.exchange.open_orders(one.symbol)) == 1
    with one.work() as uow:
        uow.ledger.ask_wind_down(one.runtime.account, WindDown.CANCEL)
    (line,) = winding_down.wind_down(one.runtime)
    assert f"{one.symbol} is held" in line
    assert one.exchange.open_orders(one.symbol) == []


class Delisted:
    """The exchange, which knows one symbol no more."""

    def __init__(self, exchange: Any, symbol: str) -> None:
        self._exchange, self._symbol = exchange, symbol

    def __getattr__(self, name: str) -> Any:
        answer = getattr(self._exchange, name)

        def ask(*arguments: Any, **options: Any) -> Any:
            if self._symbol in arguments:
                raise ExchangeRefused(f"there is no {self._symbol}")
            return answer(*arguments, **options)

        return ask if callable(answer) else answer


def test_a_symbol_that_the_exchange_lists_no_more_is_a_difference_and_keeps_nothing_else(
    make: Make, venue: RunningVenue
) -> None:
    one = make()
    gone = one.symbol
    other = replace(one, symbol=one.runtime.settings.market.symbols[0])
    exchange = Delisted(one.exchange, gone)
    other = other.with_parts(exchange=exchange)
    polling.poll_symbol(other.runtime, other.symbol)
    assert other.execute(proposal(other, stop_price=ABOVE).id).verdict == "approved"

    said = f"{gone}: the exchange refuses to tell its orders and trades"
    assert reconciliation.reconcile(other.runtime) == [said]
    assert other.trading_state() is TradingState.REDUCING
    assert 100 < reconciliation.record_equity(other.runtime).holdings < 200
    other.resume()
    assert reconciliation.reconcile(other.runtime) == []
    assert other.trading_state() is TradingState.ACTIVE
    polling.poll(other.runtime)
    other.deliver()
    assert closed_as(other) == [CloseReason.STOP_LOSS]


@pytest.mark.parametrize("wish", [WindDown.CANCEL, WindDown.FLATTEN])
def test_winding_down_ends_though_what_is_held_is_listed_no_more(make: Make, wish: WindDown) -> None:
    one = make()
    with one.work() as uow:
        uow.ledger.set_trading_state(
            one.runtime.account, TradingState.REDUCING, reason="a drill", at=one.runtime.clock.now()
        )
        uow.ledger.ask_wind_down(one.runtime.account, wish)
    (line,) = winding_down.wind_down(one.with_parts(exchange=Delisted(one.exchange, one.symbol)).runtime)
    assert f"{one.symbol} is held" in line
    with one.work() as uow:
        account = uow.ledger.account(one.runtime.account)
    assert account.wind_down is WindDown.NONE
    assert (account.trading_state is TradingState.HALTED) == (wish is WindDown.FLATTEN)


def test_what_cannot_be_cancelled_does_not_keep_the_others(make: Make) -> None:
    one = make("exchange", stop_price=BELOW)
    first = one.runtime.settings.market.symbols[0]
    with one.work() as uow:
        uow.ledger.ask_wind_down(one.runtime.account, WindDown.CANCEL)
    winding_down.wind_down(one.with_parts(exchange=Delisted(one.exchange, first)).runtime)
    assert one.exchange.open_orders(one.symbol) == []


def test_a_wanted_symbol_of_which_the_exchange_refuses_to_speak_is_a_difference_each_time(make: Make) -> None:
    one = make()
    wanted = one.runtime.settings.market.symbols[0]
    refused = one.with_parts(exchange=Delisted(one.exchange, wanted))
    for _ in range(2):
        said = f"{wanted}: the exchange refuses to tell its orders and trades"
        assert reconciliation.reconcile(refused.runtime) == [said]
