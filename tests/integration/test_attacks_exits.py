"""Attacks on what protects: no row that an agent may write keeps a stop, an exit or a person's wish away."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from attack_cases import login
from sqlalchemy import NullPool, create_engine, text
from system import RunningVenue, System, proposal, system

from alina.db.roles import AGENT
from alina.domain.decisions import ReasonCode
from alina.domain.market import Ticker
from alina.domain.orders import OrderSide, OrderType
from alina.domain.portfolio import CloseReason, TradingState, WindDown
from alina.exchange.candle_store import LOCAL
from alina.orchestrator import polling, reconciliation, stops, sweeping, winding_down

Make = Callable[..., System]
#: the market stands at 105
STOP = Decimal(100)


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    """A system that holds one, its stop at 100 still to be placed."""

    def entered() -> System:
        one = system(venue, ledger_url, trading={"stop_orders": "exchange"})
        assert one.execute(proposal(one, stop_price=STOP).id).verdict == "approved"
        one.sent.clear()
        return one

    return entered


@pytest.fixture
def forge(ledger_url: str) -> Callable[..., None]:
    """Stores a sale as an agent's login may, under a hash of nothing."""
    return partial(_forge, login(ledger_url, AGENT))


Forge = Callable[..., None]
_FORGED = """
INSERT INTO proposals (id, account, agent, symbol, side, order_type, quantity, limit_price, trigger_price,
                       reference_price, reduce_only, confidence, rationale, as_of, expires_at, content_hash)
SELECT gen_random_uuid(), account, agent, symbol, 'sell', :order_type, 0.5, :price, :price, 100, true, 50, '',
       as_of, '9999-01-01Z', repeat('0', 64)
FROM proposals WHERE account = :account LIMIT 1
"""


def _forge(agent_url: str, one: System, order_type: OrderType = OrderType.MARKET) -> None:
    price = Decimal(1) if order_type is OrderType.STOP_LIMIT else None
    values = {"account": one.runtime.account, "order_type": order_type.value, "price": price}
    with create_engine(agent_url, poolclass=NullPool).begin() as connection:
        connection.execute(text(_FORGED), values)


def resting(one: System) -> list[Decimal | None]:
    """The trigger prices of the sales that rest."""
    with one.work() as uow:
        return [
            known.order.trigger_price for known in uow.ledger.resting_sales(one.runtime.account, one.symbol)
        ]


def test_exits_that_agents_propose_do_not_keep_what_a_person_wants_sold(make: Make, forge: Forge) -> None:
    one = make()
    forge(one)
    proposal(one, OrderSide.SELL, "0.5")  # sound, and nobody asks the executor to decide it
    with one.work() as uow:
        account = one.runtime.account
        uow.ledger.set_trading_state(account, TradingState.REDUCING, reason="a drill", at=datetime.now(UTC))
        uow.ledger.ask_wind_down(account, WindDown.FLATTEN)
    assert winding_down.wind_down(one.runtime) == []
    assert one.held() is None


def test_a_forged_exit_is_denied_when_it_is_swept_up(make: Make, forge: Forge) -> None:
    one = make()
    forge(one)
    sweeping.sweep(one.runtime)
    one.deliver()
    with one.work() as uow:
        newest = uow.ledger.decisions(limit=1, symbol=one.symbol)[0].decision
        assert newest.reason is ReasonCode.OTHER_CONTENT
        assert not uow.ledger.has_pending_exit(one.runtime.account, one.symbol)


def test_a_forged_stop_keeps_neither_the_books_nor_the_stop(make: Make, forge: Forge) -> None:
    one = make()
    forge(one, OrderType.STOP_LIMIT)
    for _ in range(2):  # the first pass denies the forged one
        assert reconciliation.reconcile(one.runtime) == []
    assert resting(one) == [STOP]


def test_a_stop_of_an_agents_own_does_not_stand_in_for_the_positions(make: Make) -> None:
    one = make()
    proposal(
        one,
        OrderSide.SELL,
        "0.999",  # all there is to sell
        order_type=OrderType.STOP_LIMIT,
        trigger_price=Decimal(90),
        limit_price=Decimal(90),
        close_reason=CloseReason.STOP_LOSS,
    )
    stops.protect(one.runtime)
    assert resting(one) == [Decimal(90)]
    stops.protect(one.runtime)
    assert resting(one) == [STOP]


def test_a_candle_that_cannot_be_read_keeps_no_exit_of_any_symbol(
    make: Make, venue: RunningVenue, ledger_url: str
) -> None:
    one, poisoned = make(), venue.symbol()
    with create_engine(login(ledger_url, AGENT), poolclass=NullPool).begin() as connection:
        values = {"symbol": poisoned, "exchange": LOCAL}
        connection.execute(text(_UNREADABLE_CANDLE), values)
    market = one.runtime.settings.market.model_copy(update={"symbols": (poisoned, one.symbol)})
    one = one.with_parts(
        exchange=Fallen(one.exchange, below=STOP),
        settings=one.runtime.settings.model_copy(update={"market": market}),
    )
    with suppress(ValueError):  # the candles
        polling.poll(one.runtime)
    assert [message[0] for message in one.sent] == ["trading.execute_proposal"]


class Fallen:
    """The exchange, after its prices have fallen."""

    def __init__(self, exchange: Any, *, below: Decimal) -> None:
        self._exchange, self._bid = exchange, below - 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def ticker(self, symbol: str) -> Ticker:
        ticker: Ticker = replace(self._exchange.ticker(symbol), bid=self._bid)
        return ticker


_UNREADABLE_CANDLE = """
INSERT INTO candles (exchange, symbol, timeframe, open_time, open, high, low, close, volume)
VALUES (:exchange, :symbol, '1h', '20000-01-01', 1, 1, 1, 1, 1)
"""


def test_a_run_that_cannot_be_read_keeps_nothing_but_runs(make: Make, ledger_url: str) -> None:
    one = make()
    wish = proposal(one)
    with create_engine(login(ledger_url, AGENT), poolclass=NullPool).begin() as connection:
        connection.execute(text(_UNREADABLE), {"key": f"{one.symbol}:unreadable"})
    sweeping.sweep(one.runtime)
    assert ("trading.execute_proposal", str(wish.id)) in one.sent


_UNREADABLE = """
INSERT INTO runs (id, key, agent, symbol, timeframe, as_of, state, summary, context, fact_ids)
VALUES (gen_random_uuid(), :key, 'trading', 'BTC/USDT', '1h', '4000-01-01 BC', 'started', '', '{}', '{}')
"""
