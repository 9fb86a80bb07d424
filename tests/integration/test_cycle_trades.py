"""The main path over a real venue, ledger and memory: from a candle to a remembered trade."""

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID, uuid4

import pytest
from system import (
    BUY,
    HOLD,
    HOUR,
    KEYS,
    NOW,
    SELL,
    RunningVenue,
    System,
    proposal,
    system,
)

from alina.bootstrap import make_exchange
from alina.domain.orders import OrderState
from alina.domain.ports import Fact
from alina.domain.runs import RunState
from alina.errors import ConfigError, ModelBusy
from alina.llm.opening import make_model
from alina.orchestrator import comparison, cycle, polling, protection, reconciliation, replay, sweeping

Make = Callable[..., System]


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    return partial(system, venue, ledger_url)


def test_a_trade_from_the_buy_to_a_remembered_fact_leaves_the_books_equal(make: Make) -> None:
    buyer = make()
    run = buyer.run()
    assert run.state is RunState.PROPOSED
    buyer.deliver()
    with buyer.work() as uow:
        wish = uow.ledger.proposal_of_run(run.id)
        position = uow.ledger.open_position(buyer.runtime.account, buyer.symbol)
        assert wish is not None
        assert position is not None
        decision = uow.ledger.decision_of(wish.id)
        assert decision is not None
        order = uow.ledger.order_of(decision.id)
        reserved = uow.ledger.reserved(buyer.runtime.account, "USDT")
    assert order is not None
    assert (order.state, order.settled, order.filled_quantity) == (OrderState.FILLED, True, wish.quantity)
    assert position.stop_price == wish.stop_price
    assert position.take_profit_price == wish.take_profit_price
    assert position.close_after == wish.close_after
    assert (position.agent, position.bought_quantity > 0, reserved) == ("trading", True, 0)
    assert reconciliation.reconcile(buyer.runtime) == []

    seller = buyer.answering(SELL)
    seller.run("the-sale")
    seller.deliver()
    assert reconciliation.reconcile(seller.runtime) == []
    with seller.work() as uow:
        closed = uow.ledger.position(position.id)
        (evaluation,) = uow.ledger.evaluations(agent="trading")[:1]
        facts = uow.memory.recall(seller.symbol, "closed trade", as_of=NOW + HOUR, limit=5)
        fills = uow.ledger.fills(seller.runtime.account, seller.symbol)
        opening = uow.ledger.opening_balances(seller.runtime.account)
        assert uow.ledger.open_position(seller.runtime.account, seller.symbol) is None
    assert closed.closed_at is not None
    assert (evaluation.position_id, evaluation.run_id, evaluation.pnl) == (
        position.id,
        run.id,
        closed.realised_pnl,
    )
    assert closed.realised_pnl < 0  # bought at the ask, sold at the bid, two fees
    assert [fact.source_id for fact in facts] == [position.id]
    assert seller.on_venue() == 2
    assert comparison.compare_balances(opening, seller.exchange.balances(), fills) == []


def test_the_same_task_twice_gives_one_run_one_proposal_one_order(make: Make) -> None:
    one = make()
    first, again = one.run(), one.run()
    assert (again.id, again.state, again.summary) == (first.id, first.state, first.summary)
    assert len(one.sent) == 1
    (proposal_id,) = one.sent[0][1:]
    first_decision, *others = [one.execute(UUID(proposal_id)) for _ in range(3)]
    assert others == [first_decision] * 2
    assert one.on_venue() == 1
    assert comparison.look(one.runtime).differences == []


def at_once(*calls: Callable[[], object]) -> list[object]:
    """The results of calls that run at the same time; an error in one is an error here."""
    barrier, results, errors = threading.Barrier(len(calls)), [], []

    def work(call: Callable[[], object]) -> None:
        try:
            barrier.wait(200)
            results.append(call())
        except BaseException as error:  # shown below, in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def test_two_deliveries_at_once_give_one_run_one_proposal_one_order(make: Make, venue: RunningVenue) -> None:
    one = make(execution={"settle_after": "30s"})
    other = one.with_parts(exchange=make_exchange(one.runtime.settings, KEYS))  # a client is of one thread
    runs = at_once(one.run, other.run)
    assert len({run.id for run in runs}) == 1
    assert len(one.sent) == 1
    proposal_id = UUID(one.sent.pop()[1])
    decisions = at_once(lambda: one.execute(proposal_id), lambda: other.execute(proposal_id))
    assert len({decision.id for decision in decisions}) == 1
    assert one.on_venue() == 1
    assert reconciliation.reconcile(one.runtime) == []
    other.exchange.close()


def test_a_poll_starts_one_run_a_candle_and_stores_no_forming_candle(make: Make) -> None:
    one = make()
    assert polling.poll(one.runtime) == 1
    assert polling.poll(one.runtime) == 0
    ((task, agent, symbol, as_of, _),) = one.sent
    assert (task, agent, symbol, as_of) == ("market.run_cycle", "trading", one.symbol, NOW.isoformat())
    one.deliver()
    with one.work() as uow:
        assert uow.ledger.open_position(one.runtime.account, one.symbol) is not None


def test_an_answer_malformed_twice_is_a_failed_run_with_both_calls_and_no_proposal(make: Make) -> None:
    one = make({"text": "BUY!"})
    run = one.run()
    assert run.state is RunState.FAILED
    assert one.sent == []
    with one.work() as uow:
        stored = uow.ledger.run(run.id)
        assert uow.ledger.proposal_of_run(run.id) is None
    assert [call.attempt for call in stored.calls] == [1, 2]
    assert [call.completion.text for call in stored.calls] == ["BUY!", "BUY!"]
    assert stored.prompt_revision_id is not None


def test_an_answer_repaired_at_the_second_attempt_is_a_decision(make: Make) -> None:
    one = make({"text": "BUY!"}, BUY)  # attempt 1 has the candle's number as seed, attempt 2 the next
    run = one.run(as_of=NOW - HOUR * (cycle.candle_number(NOW, "1h") % 2))
    assert run.state is RunState.PROPOSED
    assert len(run.calls) == 2


def test_a_hold_and_a_doubtful_buy_propose_nothing(make: Make) -> None:
    assert make(HOLD).run("held").state is RunState.HELD
    doubtful = make({**BUY, "confidence": 40}).run("doubtful")
    assert (doubtful.state, "confidence 40" in doubtful.summary) == (RunState.HELD, True)


def test_a_missed_deadline_leaves_the_run_to_be_repeated(make: Make) -> None:
    late = make({"error": "busy"})
    with pytest.raises(ModelBusy):
        late.run()
    assert sweeping.sweep(late.runtime) > 0
    late.answering(BUY).deliver()
    with late.work() as uow:
        (run,) = uow.ledger.runs(symbol=late.symbol)
    assert run.state is RunState.PROPOSED


def test_a_run_delivered_after_its_proposal_would_have_expired_asks_nobody(make: Make) -> None:
    one = make(trading={"proposal_ttl": "1h"})
    run = one.run(as_of=NOW - 2 * HOUR)
    assert (run.state, run.calls, one.sent) == (RunState.GATED, (), [])


def test_an_agent_that_is_not_configured_is_named_with_the_remedy(make: Make) -> None:
    one = make()
    with pytest.raises(ConfigError, match=r"trading\.agents"):
        cycle.run(one.runtime, agent_name="nobody", symbol=one.symbol, as_of=NOW, key="k")


def fact(one: System, text: str, *, created: timedelta, valid: timedelta | None = None) -> Fact:
    return Fact(
        id=uuid4(),
        subject=one.symbol,
        predicate="closed_trade",
        text=text,
        valid_at=NOW + (valid if valid is not None else created),
        invalid_at=None,
        created_at=NOW + created,
        expired_at=None,
        source_id=None,
    )


def test_the_prompt_recalls_no_fact_from_after_as_of(make: Make) -> None:
    one = make(memory={"recall_limit": 10})
    past = fact(one, "known before", created=-HOUR)
    with one.work() as uow:
        uow.memory.remember(past)
        uow.memory.remember(fact(one, "learnt after", created=timedelta(seconds=1), valid=-HOUR))
        uow.memory.remember(fact(one, "true after", created=-HOUR, valid=timedelta(seconds=1)))
    run = one.run()
    assert run.fact_ids == (past.id,)
    prompt = run.calls[0].request.messages[-1].content
    assert "known before" in prompt
    assert "after" not in prompt.replace("What happened before", "")


def test_the_prompt_shows_no_candle_from_after_as_of(make: Make) -> None:
    one = make()
    earlier = one.run(as_of=NOW - HOUR)
    with one.work() as uow:
        closes = uow.candles.history(one.symbol, "1h", until=NOW - HOUR, limit=6)
    assert earlier.context["closes"] == [f"{candle.close.normalize():f}" for candle in closes]


def test_a_decision_is_replayed_bit_for_bit(make: Make) -> None:
    one = make({"text": "BUY!"}, BUY)
    run = one.run(as_of=NOW - HOUR * (cycle.candle_number(NOW, "1h") % 2))
    with one.work() as uow:
        stored = uow.ledger.run(run.id)
    replayed = replay.replay(stored, lambda _: one.runtime.model())
    assert [call.is_equal for call in replayed] == [True, True]
    other = one.answering(BUY)
    replayed = replay.replay(stored, lambda _: other.runtime.model())
    assert not replay.is_same(replayed)
    assert [call.changed for call in replayed] == [("sha256",), ("sha256",)]
    assert f"-sha256: {run.calls[0].completion.model.sha256}" in replayed[0].difference()


def test_a_decision_of_the_real_model_is_replayed_bit_for_bit(make: Make) -> None:
    one = make(
        execution={"task_soft_time_limit": "90s", "task_time_limit": "2m", "concurrency": 1},
        models={"deadline": "60s", "max_tokens": 96, "threads": 1},
    )
    settings = one.runtime.settings
    model = make_model(settings)
    run = one.with_parts(model=lambda: model).run()
    assert run.calls, run.summary
    with one.work() as uow:
        stored = uow.ledger.run(run.id)
    replayed = replay.replay(stored, lambda identity: make_model(settings, identity))
    assert all(call.is_equal for call in replayed)
    assert replayed[0].then


def with_exit(one: System, **changes: object) -> System:
    """A position whose proposal said when it must be closed."""
    one.execute(proposal(one, **changes).id)
    return one


@pytest.mark.parametrize(
    ("protection_of", "reason"),
    [
        ({"stop_price": Decimal(1000)}, "stop_loss"),
        ({"take_profit_price": Decimal(1)}, "take_profit"),
        ({"close_after": NOW}, "time_limit"),
    ],
)
def test_a_due_position_is_closed_without_a_model(
    make: Make, protection_of: dict[str, object], reason: str
) -> None:
    one = with_exit(make(HOLD), **protection_of)
    polling.poll(one.runtime)
    one.deliver()
    with one.work() as uow:
        (closed,) = uow.ledger.closed_trades(account=one.runtime.account)
    assert closed.close_reason == reason
    assert comparison.look(one.runtime).differences == []


def test_a_position_that_is_not_due_stays(make: Make) -> None:
    one = with_exit(
        make(HOLD), stop_price=Decimal(1), take_profit_price=Decimal(1000), close_after=NOW + HOUR
    )
    protection.propose_exits(one.runtime, one.symbol)
    assert one.sent == []
