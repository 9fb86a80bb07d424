"""The kernel is shown what is known now: figures that have aged are no figures."""

from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from ledger_cases import HOUR, trade
from ledger_cases import proposal as wish
from sqlalchemy import text
from still_exchange import NOW, StillExchange, record_worth, still_runtime
from system import UNLIMITED, candle, empty

from alina.config import Settings
from alina.domain.decisions import ReasonCode
from alina.domain.market import OrderBook
from alina.domain.orders import OrderSide
from alina.domain.portfolio import CloseReason
from alina.errors import ExchangeUnavailable
from alina.orchestrator import review
from alina.orchestrator.runtime import Runtime

SYMBOL = "BTC/USDT"
WORTH = Decimal(1000)


def make(url: str, **limits: object) -> Runtime:
    empty(url)
    settings = Settings(risk={**UNLIMITED, "cooldown": "1ms", **limits})  # type: ignore[arg-type]
    return still_runtime(settings, url, StillExchange())


def reason(runtime: Runtime, after: timedelta = timedelta(0)) -> ReasonCode | None:
    """Why an entry is denied, so much later."""
    runtime.exchange.now = NOW + after  # type: ignore[attr-defined]
    entry = wish(id=uuid4(), expires_at=NOW + 99 * HOUR)
    with runtime.unit_of_work() as uow:
        uow.ledger.save_proposal(entry)
    return review.decide(runtime, review.read(runtime, entry.id)).reason


def test_volume_is_known_only_while_candles_come_in(ledger_url: str) -> None:
    runtime = make(ledger_url, min_volume_ratio="0.1")
    assert reason(runtime) is ReasonCode.UNKNOWN_FIGURE
    candles = [candle(SYMBOL, NOW - number * HOUR, "100", "100") for number in range(1, 21)]
    with runtime.unit_of_work() as uow:
        uow.candles.save(candles)
    assert reason(runtime) is None
    assert reason(runtime, 2 * HOUR - timedelta(seconds=1)) is None
    assert reason(runtime, 2 * HOUR) is ReasonCode.UNKNOWN_FIGURE


def test_a_days_loss_is_not_guessed_before_the_equity_was_ever_recorded(ledger_url: str) -> None:
    runtime = make(ledger_url, max_daily_loss="10")
    assert reason(runtime) is ReasonCode.UNKNOWN_FIGURE
    record_worth(runtime, WORTH)
    assert reason(runtime) is None


def test_an_equity_recorded_too_long_ago_is_none_until_it_is_recorded_again(ledger_url: str) -> None:
    runtime = make(ledger_url, max_drawdown="0.1", max_equity_age="1h")
    record_worth(runtime, WORTH)
    with runtime.unit_of_work() as uow:
        uow.ledger._session.execute(text("UPDATE equity SET recorded_at = recorded_at - interval '2 hours'"))
    assert reason(runtime) is ReasonCode.STALE_EQUITY
    record_worth(runtime, WORTH)
    assert reason(runtime) is None


def test_a_market_whose_time_runs_ahead_of_the_walls_ages_no_equity(ledger_url: str) -> None:
    runtime = make(ledger_url, max_drawdown="0.1", max_equity_age="1h")
    record_worth(runtime, WORTH)
    assert reason(runtime, 50 * HOUR) is None


def test_an_equity_of_a_market_time_to_come_is_none_until_a_new_peak_leaves_it_behind(
    ledger_url: str,
) -> None:
    runtime = make(ledger_url, max_drawdown="0.1")
    runtime.exchange.now = NOW + HOUR  # type: ignore[attr-defined]
    record_worth(runtime, WORTH)
    runtime.exchange.now = NOW  # type: ignore[attr-defined]
    record_worth(runtime, WORTH)
    assert reason(runtime) is ReasonCode.STALE_EQUITY
    with runtime.unit_of_work() as uow:
        uow.ledger.begin_new_peak("main", reason="the clock was wrong", by="a person")
    assert reason(runtime) is ReasonCode.UNKNOWN_FIGURE
    record_worth(runtime, WORTH)
    assert reason(runtime) is None


class Unreadable(StillExchange):
    """It tells prices and balances, and neither its book nor its time."""

    def order_book(self, symbol: str, *, depth: int) -> OrderBook:
        raise ExchangeUnavailable("no book")

    def clock_difference_ms(self) -> int:
        raise ExchangeUnavailable("no time")


@pytest.mark.parametrize("why", CloseReason)
def test_no_exit_waits_for_what_only_limits_ask_for(ledger_url: str, why: CloseReason) -> None:
    """An agent's is held against the book, and denied without it."""
    empty(ledger_url)
    exchange = Unreadable()  # type: ignore[abstract]
    exchange.bases = ("BTC",)
    runtime = still_runtime(Settings(), ledger_url, exchange)
    exit_now = wish(OrderSide.SELL, close_reason=why)
    with runtime.unit_of_work() as uow:
        trade(uow.ledger, wish(), at=NOW)
        uow.ledger.save_proposal(exit_now)
    expected = ReasonCode.UNKNOWN_BOOK if why is CloseReason.AGENT else None
    assert review.decide(runtime, review.read(runtime, exit_now.id)).reason is expected
