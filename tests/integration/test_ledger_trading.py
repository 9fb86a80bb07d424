"""From a proposal to an order in the ledger: who may store what, and what is found again after a crash."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from ledger_cases import (
    HOUR,
    IN_POSTGRES,
    MARKET,
    NOON,
    SYMBOL,
    approve,
    approved,
    claim,
    fill,
    order_for,
    placed,
    proposal,
    run,
    trade,
)

from alina.domain.activity import ActivityQuery
from alina.domain.decisions import Denied, NeedsApproval, ReasonCode, content_hash
from alina.domain.orders import OrderSide, OrderState, OrderType
from alina.errors import LedgerError
from alina.ledger import Ledger

NOW = timedelta(0)


def test_a_proposal_is_stored_once_and_read_back_to_the_digit(ledger: Ledger) -> None:
    wish = proposal(
        quantity="0.12345678901234567890",
        order_type=OrderType.LIMIT,
        limit_price=Decimal("99.990"),
        stop_price=Decimal("95"),
        take_profit_price=Decimal("110"),
        close_after=NOON + HOUR,
        run_id=ledger.start_run(run()).id,
    )
    assert ledger.save_proposal(wish)
    assert not ledger.save_proposal(replace(wish, rationale="another"))
    assert ledger.proposal(wish.id) == wish
    assert wish.run_id is not None
    assert ledger.proposal_of_run(wish.run_id) == wish
    assert ledger.proposal_of_run(uuid4()) is None
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.proposal(uuid4())


def test_a_run_has_at_most_one_proposal(ledger: Ledger) -> None:
    run_id = ledger.start_run(run()).id
    ledger.save_proposal(proposal(run_id=run_id))
    with pytest.raises(LedgerError, match="one run, one proposal"):
        ledger.save_proposal(proposal(run_id=run_id))


def test_what_waits_for_a_decision_or_an_order_is_found_again(ledger: Ledger) -> None:
    wish = proposal()
    ledger.save_proposal(wish)
    assert ledger.undecided_proposals(older_than=NOW) == [wish.id]
    assert ledger.undecided_proposals(older_than=HOUR) == []

    decision = approve(ledger, wish)
    assert ledger.undecided_proposals(older_than=NOW) == []
    assert ledger.approved_without_order(older_than=NOW) == [wish.id]
    assert ledger.approved_without_order(older_than=HOUR) == []

    ledger.claim_order(decision, order_for(wish, decision))
    assert ledger.approved_without_order(older_than=NOW) == []


def test_a_decision_is_made_once_and_holds_its_reservation(ledger: Ledger) -> None:
    wish = proposal()
    decision = approve(ledger, wish)
    assert (decision.verdict, decision.content_hash) == ("approved", content_hash(wish))
    assert decision == ledger.decision(decision.id) == ledger.decision_of(wish.id)

    no = Denied(reason=ReasonCode.COOLDOWN, message="too soon")
    assert ledger.save_decision(wish, no, snapshot={}, decided_at=NOON + HOUR) == decision
    assert ledger.save_decision(wish, approved(wish), snapshot={}, decided_at=NOON) == decision
    assert ledger.reserved("main", "USDT") == 101
    assert ledger.reserved("main", "BTC") == ledger.reserved("other", "USDT") == 0


def test_a_denial_keeps_its_reason_its_figures_and_reserves_nothing(ledger: Ledger) -> None:
    wish = proposal()
    ledger.save_proposal(wish)
    no = Denied(reason=ReasonCode.STALE_PRICE, message="price of 11:00")
    snapshot = {"bid": Decimal("99.90"), "as_of": NOON, "ask": None}
    decision = ledger.save_decision(wish, no, snapshot=snapshot, decided_at=NOON)
    assert (decision.verdict, decision.reason, decision.message) == (
        "denied",
        ReasonCode.STALE_PRICE,
        "price of 11:00",
    )
    assert decision.snapshot == {"bid": "99.90", "as_of": NOON.isoformat(), "ask": None}
    assert ledger.reserved("main", "USDT") == 0
    with pytest.raises(LedgerError, match="is denied"):
        ledger.claim_order(decision, order_for(wish, decision))


def test_a_proposal_that_needs_a_person_says_until_when(ledger: Ledger) -> None:
    wish = proposal()
    ledger.save_proposal(wish)
    ask = NeedsApproval(message="large", expires_at=NOON + HOUR)
    decision = ledger.save_decision(wish, ask, snapshot={}, decided_at=NOON)
    assert (decision.verdict, decision.message) == ("needs_approval", "large (until 2026-03-01 13:00 UTC)")


def test_only_the_stored_content_can_be_approved(ledger: Ledger) -> None:
    wish = proposal()
    ledger.save_proposal(wish)
    larger = replace(wish, quantity=Decimal(2))
    for seen, verdict in ((larger, approved(larger)), (wish, approved(larger)), (larger, approved(wish))):
        with pytest.raises(LedgerError, match="other content"):
            ledger.save_decision(seen, verdict, snapshot={}, decided_at=NOON)
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.save_decision(proposal(), approved(wish), snapshot={}, decided_at=NOON)


def test_an_order_is_claimed_by_one_caller_only(ledger: Ledger) -> None:
    wish = proposal()
    decision = approve(ledger, wish)
    order = order_for(wish, decision)
    assert ledger.order_of(decision.id) is None
    assert ledger.claim_order(decision, order)
    assert not ledger.claim_order(decision, order)
    known = ledger.order(order.client_order_id)
    assert (known.order, known.state, known.settled) == (order, OrderState.SUBMITTING, False)
    assert known.acknowledged_at is None
    assert ledger.order_of(decision.id) == known


def test_an_order_that_is_not_what_was_approved_is_refused(ledger: Ledger) -> None:
    wish = proposal()
    decision = approve(ledger, wish)
    order = order_for(wish, decision)
    for wrong in (
        replace(order, quantity=Decimal("1.00000001")),
        replace(order, symbol="ETH/USDT"),
        replace(order, side=OrderSide.SELL),
        replace(order, account="other"),
        replace(order, order_type=OrderType.LIMIT, limit_price=Decimal(1)),
    ):
        with pytest.raises(LedgerError, match="not what decision"):
            ledger.claim_order(decision, wrong)
    with pytest.raises(LedgerError, match="not named after its decision"):
        ledger.claim_order(decision, replace(order, client_order_id="al-mine"))
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.claim_order(replace(decision, id=uuid4()), order)


def test_an_order_moves_forward_and_an_older_report_changes_nothing(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    for state, filled in (
        (OrderState.OPEN, "0"),
        (OrderState.PARTIALLY_FILLED, "0.2"),
        (OrderState.PARTIALLY_FILLED, "0.4"),
        (OrderState.OPEN, "0"),
        (OrderState.PARTIALLY_FILLED, "0.3"),
    ):
        ledger.record_placed(placed(order, state, filled))
    known = ledger.order(order.client_order_id)
    assert (known.state, known.filled_quantity) == (OrderState.PARTIALLY_FILLED, Decimal("0.4"))
    assert known.acknowledged_at is not None
    assert known.exchange_order_id == f"x-{order.client_order_id}"

    ledger.record_placed(placed(order, OrderState.CANCELED, "0.4"))
    for filled in ("0", "0.4"):
        ledger.record_placed(placed(order, OrderState.OPEN, filled))
    after = ledger.order(order.client_order_id)
    assert after.state is OrderState.CANCELED
    assert after.acknowledged_at == known.acknowledged_at


def test_only_sales_that_wait_for_their_price_rest(ledger: Ledger) -> None:
    priced = {"order_type": OrderType.LIMIT, "limit_price": Decimal(110)}
    for wish in (proposal(**priced), proposal(OrderSide.SELL)):
        claim(ledger, wish)
    assert ledger.resting_sales("main", SYMBOL) == []
    order = claim(ledger, proposal(OrderSide.SELL, **priced))
    assert [known.order for known in ledger.resting_sales("main", SYMBOL)] == [order]


def test_a_report_that_contradicts_an_earlier_one_is_refused(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    ledger.record_placed(placed(order, OrderState.PARTIALLY_FILLED, "0.5"))
    for contradiction in (
        placed(order, OrderState.CANCELED, "0.4"),
        placed(order, OrderState.FILLED, "2"),
        replace(placed(order, OrderState.FILLED, "1"), symbol="ETH/USDT"),
        replace(placed(order, OrderState.FILLED, "1"), exchange_order_id="another"),
    ):
        with pytest.raises(LedgerError, match="compare both"):
            ledger.record_placed(contradiction)
    ledger.record_placed(placed(order, OrderState.CANCELED, "0.5"))
    with pytest.raises(LedgerError, match="compare both"):
        ledger.record_placed(placed(order, OrderState.FILLED, "1"))
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.record_placed(placed(replace(order, client_order_id="ghost"), OrderState.OPEN))


def test_a_rejected_order_releases_its_reservation_and_never_comes_back(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    ledger.record_rejected(order.client_order_id, message="no such symbol")
    ledger.record_rejected(order.client_order_id, message="again")
    known = ledger.order(order.client_order_id)
    assert (known.state, known.message, known.settled) == (OrderState.REJECTED, "no such symbol", True)
    assert ledger.reserved("main", "USDT") == 0
    with pytest.raises(LedgerError, match="compare both"):
        ledger.record_placed(placed(order, OrderState.OPEN))


def test_an_acknowledged_order_cannot_be_rejected_by_us(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    ledger.record_placed(placed(order, OrderState.OPEN))
    with pytest.raises(LedgerError, match="reconcile it"):
        ledger.record_rejected(order.client_order_id, message="not found")


def test_an_order_is_settled_when_every_fill_is_recorded(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    assert [known.order for known in ledger.unsettled_orders()] == [order]
    assert ledger.unsettled_orders(older_than=HOUR) == []
    ledger.record_placed(placed(order, OrderState.FILLED, "1"))
    ledger.record_fills(order.client_order_id, [fill(order, "0.4", "1")], market=MARKET)
    assert not ledger.order(order.client_order_id).settled
    assert ledger.reserved("main", "USDT") == 101

    ledger.record_fills(order.client_order_id, [fill(order, "0.6", "2")], market=MARKET)
    assert ledger.order(order.client_order_id).settled
    assert ledger.unsettled_orders() == []
    assert ledger.reserved("main", "USDT") == 0


def test_fills_may_be_known_before_the_final_report(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    ledger.record_placed(placed(order, OrderState.OPEN))
    ledger.record_fills(order.client_order_id, [fill(order, "1")], market=MARKET)
    assert not ledger.order(order.client_order_id).settled
    ledger.record_placed(placed(order, OrderState.FILLED, "1"))
    assert ledger.order(order.client_order_id).settled


def test_an_order_canceled_unfilled_is_settled_at_once(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    ledger.record_placed(placed(order, OrderState.EXPIRED))
    assert ledger.record_fills(order.client_order_id, [], market=MARKET) == 0
    assert ledger.order(order.client_order_id).settled
    assert ledger.reserved("main", "USDT") == 0
    assert ledger.open_position("main", SYMBOL) is None


def test_more_fills_than_a_final_order_reports_is_a_contradiction(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    ledger.record_placed(placed(order, OrderState.CANCELED, "0.5"))
    with pytest.raises(LedgerError, match=r"add up to 0\.6"):
        ledger.record_fills(order.client_order_id, [fill(order, "0.6")], market=MARKET)


def test_the_submission_time_is_committed_with_the_claim(ledger: Ledger) -> None:
    order = claim(ledger, proposal())
    assert ledger.submitted_before(order.client_order_id, NOW)
    assert not ledger.submitted_before(order.client_order_id, HOUR)
    with pytest.raises(LedgerError, match="not in the ledger"):
        ledger.submitted_before("ghost", NOW)


def last_entry(ledger: Ledger, symbol: str = SYMBOL) -> datetime | None:
    query = ActivityQuery(
        account="main",
        agent="trading",
        symbol=symbol,
        side=OrderSide.BUY,
        now=NOON + 3 * HOUR,
        lookback=24 * HOUR,
        recent=24 * HOUR,
    )
    return ledger.activity(query).last_entry_at


def test_the_last_entry_is_the_newest_approved_buy_that_was_not_rejected(ledger: Ledger) -> None:
    assert last_entry(ledger) is None
    approve(ledger, proposal(), NOON)
    assert last_entry(ledger) == NOON
    rejected = claim(ledger, proposal(), NOON + HOUR)
    assert last_entry(ledger) == NOON + HOUR
    ledger.record_rejected(rejected.client_order_id, message="no")
    claim(ledger, proposal(OrderSide.SELL), NOON + 2 * HOUR)
    denied = proposal()
    ledger.save_proposal(denied)
    no = Denied(reason=ReasonCode.COOLDOWN, message="")
    ledger.save_decision(denied, no, snapshot={}, decided_at=NOON + 3 * HOUR)
    assert last_entry(ledger) == NOON
    assert last_entry(ledger, "ETH/USDT") is None


def test_an_exit_is_pending_until_it_is_denied_or_settled(ledger: Ledger) -> None:
    trade(ledger, proposal())
    assert not ledger.has_pending_exit("main", SYMBOL)
    denied, sale = proposal(OrderSide.SELL), proposal(OrderSide.SELL)
    ledger.save_proposal(denied)
    assert ledger.has_pending_exit("main", SYMBOL)
    no = Denied(reason=ReasonCode.TRADING_HALTED, message="")
    ledger.save_decision(denied, no, snapshot={}, decided_at=NOON)
    assert not ledger.has_pending_exit("main", SYMBOL)
    decision = approve(ledger, sale)
    assert ledger.has_pending_exit("main", SYMBOL)
    order = order_for(sale, decision)
    ledger.claim_order(decision, order)
    ledger.record_placed(placed(order, OrderState.FILLED, "1"))
    assert ledger.has_pending_exit("main", SYMBOL)
    ledger.record_fills(order.client_order_id, [fill(order, "1")], market=MARKET)
    assert not ledger.has_pending_exit("main", SYMBOL)


@IN_POSTGRES
def test_decisions_come_with_what_led_to_them_and_what_came_of_them(ledger: Ledger) -> None:
    started = ledger.start_run(run())
    wish = proposal(run_id=started.id)
    order = claim(ledger, wish, NOON)
    ether = proposal(symbol="ETH/USDT")
    approve(ledger, ether, NOON + HOUR)
    newest, oldest = ledger.decisions(limit=10)
    assert (newest.proposal, newest.order, newest.run) == (ether, None, None)
    assert (oldest.proposal, oldest.run) == (wish, started)
    assert oldest.order == ledger.order(order.client_order_id)
    assert oldest.decision == ledger.decision_of(wish.id)
    assert ledger.decisions(limit=10, symbol=SYMBOL) == [oldest]
    assert ledger.decisions(limit=1) == [newest]
