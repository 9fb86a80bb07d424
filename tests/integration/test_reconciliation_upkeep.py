"""What looks after the system: sweeps, safe mode, equity, upkeep."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import uuid4

import pytest
from system import (
    HOLD,
    HOUR,
    NOW,
    SELL,
    RunningVenue,
    System,
    empty,
    proposal,
    system,
)

from alina.domain.market import Balance
from alina.domain.orders import Fill, OrderSide
from alina.domain.portfolio import TradingState
from alina.domain.ports import Fact
from alina.domain.runs import RunState
from alina.errors import ExchangeUnavailable
from alina.orchestrator import comparison, cycle, halting, health, maintenance, reconciliation, sweeping

Make = Callable[..., System]


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(system, venue, ledger_url)


def test_the_sweeper_sends_whatever_should_have_moved_on(make: Make) -> None:
    one = make()
    with one.work() as uow:
        cycle.start(one.runtime, uow, agent="trading", symbol=one.symbol, as_of=NOW, key="cut-off")
    wish = proposal(one)
    deadline = time.monotonic() + 200
    while sweeping.sweep(one.runtime) < 2 and time.monotonic() < deadline:
        one.sent.clear()  # a row counts as stuck once it is a few milliseconds old
    assert one.sent == [
        ("market.run_cycle", "trading", one.symbol, NOW.isoformat(), "cut-off"),
        ("trading.execute_proposal", str(wish.id)),
    ]


def test_the_sweeper_sends_a_closed_trade_that_nobody_evaluated(make: Make) -> None:
    one = make()
    one.run()
    one.deliver()
    one.answering(SELL).run("the-sale")
    while one.sent and one.sent[0][0] != "learning.evaluate":
        one.deliver_next()
    one.sent.clear()  # the broker lost it
    assert sweeping.sweep(one.runtime) == 1
    one.deliver()
    assert sweeping.sweep(one.runtime) == 0
    with one.work() as uow:
        assert len(uow.ledger.evaluations()) == 1


def test_the_sweeper_leaves_what_is_young_and_what_is_done(make: Make) -> None:
    one = make(HOLD, error_handling={"stuck_after": "1h"})
    one.run()
    proposal(one)
    assert sweeping.sweep(one.runtime) == 0


def failed(one: System, count: int) -> None:
    failing = one.answering({"text": "no JSON"})
    for number in range(count):
        assert failing.run(f"failure-{uuid4().hex}-{number}").state is RunState.FAILED


def test_enough_failed_runs_enter_safe_mode_and_only_a_person_leaves_it(make: Make) -> None:
    one = make(error_handling={"safe_mode_errors": 3})
    failed(one, 2)
    halting.watch_failures(one.runtime)
    assert one.trading_state() is TradingState.ACTIVE
    failed(one, 1)
    assert "safe mode" in health.check(one.runtime)["failures"]
    reconciliation.reconcile(one.runtime)
    assert one.trading_state() is TradingState.REDUCING
    with one.work() as uow:
        uow.ledger.set_trading_state(
            one.runtime.account, TradingState.ACTIVE, reason="", at=datetime.now(UTC)
        )
    halting.watch_failures(one.runtime)
    assert one.trading_state() is TradingState.ACTIVE  # what the person looked into counts no more
    failed(one, 3)
    halting.watch_failures(one.runtime)
    assert one.trading_state() is TradingState.REDUCING


def test_safe_mode_never_loosens_a_halt(make: Make) -> None:
    one = make(error_handling={"safe_mode_errors": 1})
    with one.work() as uow:
        uow.ledger.set_trading_state(one.runtime.account, TradingState.HALTED, reason="by hand", at=NOW)
    failed(one, 1)
    halting.watch_failures(one.runtime)
    assert one.trading_state() is TradingState.HALTED


def test_orders_that_the_exchange_refuses_enter_safe_mode_too(make: Make, venue: RunningVenue) -> None:
    one = make(error_handling={"safe_mode_errors": 1})
    assert one.trading_state() is TradingState.ACTIVE
    venue.fail("error_before", "POST", "/api/v3/order")
    one.execute(proposal(one).id)
    reconciliation.reconcile(one.runtime)
    assert one.trading_state() is TradingState.REDUCING


def test_a_healthy_system_is_ok_in_every_part(make: Make) -> None:
    report = health.check(make().runtime)
    assert report.keys() == {"database", "exchange", "candles", "clock", "disk", "failures"}
    assert all(text.startswith("ok") for text in report.values()), report


def test_candles_that_the_exchange_does_not_tell_are_a_sick_part(make: Make) -> None:
    one = make()
    market = one.runtime.settings.market.model_copy(update={"timeframe": "7m"})
    sick = one.with_parts(settings=one.runtime.settings.model_copy(update={"market": market}))
    assert "has no 7m candles: set market.timeframe" in health.check(sick.runtime)["candles"]


def test_an_exchange_that_is_away_is_one_sick_part(make: Make, venue: RunningVenue) -> None:
    one = make()
    venue.fail("error_before", "GET", "/api/v3/time")
    report = health.check(one.runtime)
    assert report["exchange"].startswith("ExchangeUnavailable")
    assert report["database"].startswith("ok")


def test_a_reconciliation_without_an_exchange_says_so_and_changes_nothing(
    make: Make, venue: RunningVenue
) -> None:
    one = make()
    venue.fail("error_before", "GET", "/api/v3/account")
    with pytest.raises(ExchangeUnavailable):
        reconciliation.reconcile(one.runtime)
    assert one.trading_state() is TradingState.ACTIVE


def test_equity_is_cash_and_holdings_at_the_last_price(make: Make) -> None:
    one = make()
    one.execute(proposal(one).id)
    equity = reconciliation.record_equity(one.runtime)
    balances = one.exchange.balances()
    held = balances[one.symbol.split("/")[0]].total
    assert equity.cash == balances["USDT"].total
    assert equity.holdings == held * one.exchange.ticker(one.symbol).last
    with one.work() as uow:
        assert uow.ledger.equity_curve(one.runtime.account) == [equity]


def fill(side: OrderSide, fee: str, fee_asset: str) -> Fill:
    return Fill(
        trade_id="1",
        exchange_order_id="1",
        symbol="BTC/USDT",
        side=side,
        quantity=Decimal("0.3"),
        price=Decimal("100.07"),
        fee=Decimal(fee),
        fee_asset=fee_asset,
        is_maker=False,
        executed_at=NOW,
    )


def holding(**amounts: str) -> dict[str, Balance]:
    return {
        asset: Balance(asset=asset, free=Decimal(amount), locked=Decimal(0))
        for asset, amount in amounts.items()
    }


def test_balances_are_compared_to_the_last_digit_fees_in_any_asset() -> None:
    opening = holding(USDT="1000", BNB="1")
    after = holding(USDT="969.979", BTC="0.2997", BNB="1")
    buy = fill(OrderSide.BUY, "0.0003", "BTC")
    assert comparison.compare_balances(opening, after, [buy]) == []
    off = after | holding(USDT="969.97900000000000001")
    assert len(comparison.compare_balances(opening, off, [buy])) == 1
    in_bnb = holding(USDT="969.979", BTC="0.3", BNB="0.999")
    assert (
        comparison.compare_balances(opening, in_bnb, [replace(buy, fee=Decimal("0.001"), fee_asset="BNB")])
        == []
    )
    assert comparison.compare_balances(opening, opening | holding(DOGE="1"), []) == [
        "DOGE: 0 by the ledger's fills, 1 on the exchange"
    ]


def test_upkeep_drops_only_facts_superseded_longer_ago_than_the_retention(make: Make) -> None:
    one = make(memory={"retention": "10d"})

    def fact(age: timedelta) -> Fact:
        return Fact(
            id=uuid4(),
            subject=one.symbol,
            predicate="note",
            text=f"known for {age}",
            valid_at=NOW - age,
            invalid_at=None,
            created_at=NOW - age,
            expired_at=None,
            source_id=None,
        )

    oldest, older, newest = (fact(timedelta(days=days)) for days in (30, 20, 5))
    with one.work() as uow:
        uow.memory.remember(oldest)
        uow.memory.supersede(oldest.id, by=older)
        uow.memory.supersede(older.id, by=newest)
    assert maintenance.maintain(one.runtime) == {"facts": 1}
    with one.work() as uow:
        assert uow.memory.get([oldest.id, older.id, newest.id]) == uow.memory.get([older.id, newest.id])
        assert uow.memory.recall(one.symbol, "known", as_of=NOW - 10 * 24 * HOUR, limit=5)[0].id == older.id
