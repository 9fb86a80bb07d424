"""Check and reserve are one transaction: however many ask at once, a limit admits exactly what it admits."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from ledger_cases import NOON
from ledger_cases import proposal as wish
from sqlalchemy import NullPool, create_engine, text
from still_exchange import StillExchange, listing, still_runtime
from system import UNLIMITED, empty

from alina.config import Settings
from alina.domain.decisions import Decision, ReasonCode
from alina.orchestrator import review
from alina.orchestrator.runtime import Runtime

THREADS = 8
SYMBOLS = tuple(f"T{number:04}/USDT" for number in range(1000))
#: a buy of 1 reserves 101.2
LIMITS: dict[str, tuple[dict[str, Any], str, ReasonCode]] = {
    "daily volume": ({"max_daily_volume": "1012"}, "1000000", ReasonCode.MAX_DAILY_VOLUME),
    "open positions": ({"max_open_positions": 10}, "1000000", ReasonCode.MAX_OPEN_POSITIONS),
    "exposure": ({"max_exposure": "1113.1999"}, "1000000", ReasonCode.MAX_EXPOSURE),
    "order rate": ({"max_order_rate": 10}, "1000000", ReasonCode.MAX_ORDER_RATE),
    "free balance": ({}, "1012", ReasonCode.INSUFFICIENT_BALANCE),
}


def make(url: str, limits: dict[str, Any], quote: str = "1000000") -> Runtime:
    empty(url)
    risk: Any = {**UNLIMITED, "cooldown": "1ms", **limits}
    settings = Settings(risk=risk, market=listing(SYMBOLS))  # type: ignore[arg-type]
    return still_runtime(settings, url, StillExchange(quote))


def proposals(runtime: Runtime, count: int) -> list[UUID]:
    """So many entries, each in a symbol of its own."""
    wishes = [wish(symbol=symbol, expires_at=NOON.replace(year=2027)) for symbol in SYMBOLS[:count]]
    with runtime.unit_of_work() as uow:
        for one in wishes:
            uow.ledger.save_proposal(one)
    return [one.id for one in wishes]


def decide_all(runtime: Runtime, ids: list[UUID]) -> Counter[ReasonCode | None]:
    with ThreadPoolExecutor(THREADS) as pool:
        return Counter(pool.map(lambda one: review.decide(runtime, review.read(runtime, one)).reason, ids))


def held(url: str) -> list[Decimal]:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return list(
            connection.execute(text("SELECT amount FROM reservations WHERE state = 'held'")).scalars()
        )


def test_of_1000_concurrent_proposals_a_limit_for_10_admits_exactly_10(ledger_url: str) -> None:
    limits, quote, why = LIMITS["daily volume"]
    runtime = make(ledger_url, limits, quote)
    verdicts = decide_all(runtime, proposals(runtime, 1000))
    assert verdicts == {None: 10, why: 990}
    assert held(ledger_url) == [Decimal("101.2")] * 10


@pytest.mark.parametrize(("limits", "quote", "why"), LIMITS.values(), ids=LIMITS.keys())
def test_every_limit_that_counts_reservations_admits_exactly_10(
    ledger_url: str, limits: dict[str, Any], quote: str, why: ReasonCode
) -> None:
    runtime = make(ledger_url, limits, quote)
    assert decide_all(runtime, proposals(runtime, 60)) == {None: 10, why: 50}
    assert len(held(ledger_url)) == 10


def test_one_proposal_decided_by_many_at_once_reserves_once(ledger_url: str) -> None:
    runtime = make(ledger_url, {})
    (one,) = proposals(runtime, 1)
    assert decide_all(runtime, [one] * 40) == {None: 40}
    assert held(ledger_url) == [Decimal("101.2")]


class Answering(StillExchange):
    """The same, where something happens at each question."""

    def __init__(self, quote: str = "1000000") -> None:
        super().__init__(quote)
        self.happens: Callable[[str], None] = lambda _: None

    def __getattribute__(self, name: str) -> Any:
        answer = super().__getattribute__(name)
        if name not in {"market", "ticker", "order_book", "balances", "clock_difference_ms"}:
            return answer

        def ask(*arguments: Any, **options: Any) -> Any:
            told = answer(*arguments, **options)
            self.happens(name)
            return told

        return ask


def answering(url: str, quote: str = "1000000") -> tuple[Runtime, Answering]:
    exchange = Answering(quote)
    return replace(make(url, {}), exchange=exchange), exchange


def decide(runtime: Runtime, proposal_id: UUID) -> Decision:
    return review.decide(runtime, review.read(runtime, proposal_id))


def test_no_answer_of_the_exchange_is_waited_for_while_the_account_is_locked(ledger_url: str) -> None:
    runtime, exchange = answering(ledger_url)
    asked = []

    def lock_the_account(name: str) -> None:
        with create_engine(ledger_url, poolclass=NullPool).begin() as connection:
            connection.execute(text("SELECT FROM accounts FOR NO KEY UPDATE NOWAIT"))
        asked.append(name)

    exchange.happens = lock_the_account
    (one,) = proposals(runtime, 1)
    assert decide(runtime, one).verdict == "approved"
    assert set(asked) == {"market", "ticker", "order_book", "clock_difference_ms", "balances"}


def test_what_was_settled_after_the_balances_were_asked_for_is_not_spent_again(ledger_url: str) -> None:
    """The balances show it still, and its reservation is gone."""
    runtime, exchange = answering(ledger_url, quote="150")
    first, second, third = proposals(runtime, 3)
    decision = decide(runtime, first)
    assert decision.verdict == "approved"

    def settle(name: str) -> None:
        if name == "balances":
            with runtime.unit_of_work() as uow:
                uow.ledger.give_up_approval(decision.id)

    exchange.happens = settle
    assert decide(runtime, second).reason is ReasonCode.INSUFFICIENT_BALANCE
    assert held(ledger_url) == []
    assert decide(runtime, third).verdict == "approved"
