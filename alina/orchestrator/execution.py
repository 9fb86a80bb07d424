"""From a proposal to a settled order. The only code that sends orders.

What if the process dies here?
  before the decision commits: nothing happened; the sweeper sends the proposal again.
  after the decision, before the claim: the sweeper finds an approved decision without an order; it is
  carried out only if it still stands.
  after the claim, before or during the request, or before its answer is stored: the order stays
  SUBMITTING; `settle` asks the exchange what became of it. It is sent again on one proof only, below.
  after a further attempt is counted: as after the claim.

Why can an order that is sent again not meet its first request? Each request bears the time of its attempt,
taken before that is committed (`submitted_at`), and the exchange refuses it `execution.receive_window`
later: a request that is stuck in a network, or in a process that stands still, is worth nothing by then.
Only who asks `settle_after` after the attempt, which is at least twice the window, and is told that there
is no such order, may count the next attempt; and only if the attempt is still the one that was asked
about. All this holds while the clocks here, of the database and of the exchange differ by less than half
of `settle_after`. Should they not, `reconcile` finds the second order by its fills and sets REDUCING.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import structlog

from alina.domain.decisions import Decision, Proposal
from alina.domain.market import Market
from alina.domain.orders import Fill, LedgerOrder, Order, OrderType, PlacedOrder, client_order_id_for
from alina.domain.portfolio import Position, TradingState
from alina.errors import (
    ExchangeError,
    ExchangeRefused,
    ExchangeUnavailable,
    LedgerError,
    OrderFateUnknown,
    OrderRejected,
)
from alina.exchange.budget import urgent
from alina.ledger.fills import is_third_asset
from alina.ledger.orders import NOT_SENT
from alina.orchestrator import halting, review
from alina.orchestrator.review import Case
from alina.orchestrator.runtime import Runtime

log = structlog.get_logger(__name__)


def execute(runtime: Runtime, proposal_id: UUID) -> Decision:
    """Decide a proposal and carry it out. Safe to repeat: one decision, one order, one submission.

    Raises DatabaseUnavailable or ExchangeUnavailable (transient: repeat), LedgerError for an unknown
    proposal and for one of another account.
    """
    case = review.read(runtime, proposal_id)
    with urgent(case.proposal.reduce_only):
        return _execute(runtime, case)


def _execute(runtime: Runtime, case: Case) -> Decision:
    is_open = case.decision is None and not case.is_forged
    made_way = is_open and _make_way(runtime, case.proposal)
    if made_way:  # what the stop held was given back after the case was read
        case = review.read(runtime, case.proposal.id)
    decision = review.decide(runtime, case)
    if decision.content_hash is None:
        if made_way:
            runtime.send("trading.protect")
        return decision
    try:
        claimed = _claim(runtime, decision)
    except LedgerError as error:
        _give_up(runtime, decision, reason=str(error))
        raise
    if claimed is not None:
        _submit(runtime, *claimed)
    settle(runtime, client_order_id_for(decision.id))
    return decision


def _make_way(runtime: Runtime, proposal: Proposal) -> bool:
    """Whether a stop was taken off the exchange so that this exit can sell what it holds.

    What the kernel would deny anyway takes none away. If the process dies after it, the exit is undecided
    and is sent again; if it is denied or too late by then, the stop is placed again.
    """
    if not proposal.reduce_only or proposal.trigger_price is not None:
        return False
    with runtime.unit_of_work() as uow:
        account = halting.in_force(runtime.stop_file, uow.ledger.account(proposal.account))
        held = uow.ledger.open_position(runtime.account, proposal.symbol)
    if held is None or proposal.quantity > held.quantity or account.trading_state is TradingState.HALTED:
        return False
    return proposal.expires_at >= runtime.clock.now() and withdraw(runtime, proposal.symbol)


def withdraw(runtime: Runtime, symbol: str) -> bool:
    """Cancel the sales of a symbol that rest, and settle what became of them. Whether there were any.

    Raises ExchangeUnavailable (transient), also while the exchange has not said that one is over.
    """
    with runtime.unit_of_work() as uow:
        resting = [known.order for known in uow.ledger.resting_sales(runtime.account, symbol)]
    for order in resting:
        runtime.exchange.cancel(symbol, order.client_order_id)
        if not settle(runtime, order.client_order_id).settled:
            raise ExchangeUnavailable(
                f"order {order.client_order_id} was cancelled and is not over yet: it is asked for again"
            )
    return bool(resting)


def _claim(runtime: Runtime, decision: Decision) -> tuple[Order, datetime] | None:
    """The order, stored as SUBMITTING, and its attempt's time, if this caller is the one to send it.

    An approval that no longer stands ends as a rejected order that was never sent, which gives its
    reservation back.
    """
    with runtime.unit_of_work() as uow:
        proposal = uow.ledger.proposal(decision.proposal_id)
        account = uow.ledger.lock_account(proposal.account)
        order, signed_at = _order(proposal, decision), datetime.now(UTC)
        if not uow.ledger.claim_order(decision, order):
            return None
        state = halting.in_force(runtime.stop_file, account).trading_state  # the last look before the request
        obstacle = _obstacle(runtime, proposal, decision, state)
        if obstacle is None:
            return order, signed_at
        uow.ledger.record_rejected(order.client_order_id, message=f"{NOT_SENT}: {obstacle}")
    log.warning("approval not carried out", order=order.client_order_id, reason=obstacle)
    return None


def _obstacle(runtime: Runtime, proposal: Proposal, decision: Decision, state: TradingState) -> str | None:
    """Why an approval no longer stands: somebody stopped trading since, or its price is too old by now."""
    if state is TradingState.HALTED or (state is TradingState.REDUCING and not proposal.reduce_only):
        return f"trading state is {state.value}"
    return _too_old(runtime, decision)


def _too_old(runtime: Runtime, decision: Decision) -> str | None:
    age, limit = runtime.clock.now() - decision.decided_at, runtime.settings.risk.max_price_age
    return f"approved {age} ago, and a price is good for {limit}" if age > limit else None


def _give_up(runtime: Runtime, decision: Decision, *, reason: str) -> None:
    """Release what an approval holds that the ledger refuses to carry out, once it is too old anyway.

    Until then the sweeper sends it again: what made it refuse may be put right.
    """
    if _too_old(runtime, decision) is None:
        return
    with runtime.unit_of_work() as uow:
        if uow.ledger.give_up_approval(decision.id):
            log.error("approval given up", decision=str(decision.id), reason=reason)


def _order(proposal: Proposal, decision: Decision) -> Order:
    return Order(
        client_order_id=client_order_id_for(decision.id),
        account=proposal.account,
        symbol=proposal.symbol,
        side=proposal.side,
        order_type=proposal.order_type,
        quantity=proposal.quantity,
        limit_price=proposal.limit_price,
        trigger_price=proposal.trigger_price,
    )


def _submit(runtime: Runtime, order: Order, signed_at: datetime) -> None:
    """Send the claimed order once. Whatever is not the exchange's clear word leaves it SUBMITTING."""
    try:
        placed = runtime.exchange.submit(order, signed_at=signed_at)
    except OrderRejected as error:
        log.warning("order rejected", order=order.client_order_id, error=str(error))
        with runtime.unit_of_work() as uow:
            uow.ledger.record_rejected(order.client_order_id, message=str(error))
        return
    except OrderFateUnknown as error:
        log.warning("order fate unknown, asking the exchange", order=order.client_order_id, error=str(error))
        return
    _record(runtime, placed)


def _record(runtime: Runtime, placed: PlacedOrder) -> None:
    """Store what the exchange says of an order at once: the acknowledgement does not wait for its fills."""
    with runtime.unit_of_work() as uow:
        uow.ledger.record_placed(placed)


def settle(runtime: Runtime, client_order_id: str) -> LedgerOrder:
    """Bring one order up to the exchange's word: its state, its fills, its position.

    An order that the exchange does not know `execution.settle_after` after its newest attempt was never
    there: it is sent again if that is allowed, or rejected. Raises ExchangeUnavailable (transient).
    """
    with runtime.unit_of_work() as uow:
        known = uow.ledger.order(client_order_id)
        # before the question: an absence seen earlier proves nothing
        is_due = uow.ledger.submitted_before(client_order_id, runtime.settings.execution.settle_after)
    if known.settled:
        return known
    symbol = known.order.symbol
    if not known.state.is_final:
        placed = runtime.exchange.find(symbol, client_order_id)
        if placed is None:
            return _absent(runtime, known) if is_due else known
        _record(runtime, placed)
    with runtime.unit_of_work() as uow:
        known = uow.ledger.order(client_order_id)
    if known.exchange_order_id is not None:
        market = runtime.exchange.market(symbol)
        fills = runtime.exchange.fills(symbol, exchange_order_id=known.exchange_order_id)
        rates = fee_rates(runtime, market, fills)
        with runtime.unit_of_work() as uow:
            uow.ledger.lock_account(known.order.account)
            uow.ledger.record_fills(client_order_id, fills, market=market, fee_rates=rates)
            known = uow.ledger.order(client_order_id)
    if known.settled:
        _after_settlement(runtime, known)
    return known


def fee_rates(runtime: Runtime, market: Market, fills: Sequence[Fill]) -> dict[str, Decimal]:
    """The price now of every third asset that fees were taken in, as far as it is traded for the quote."""
    rates = {}
    for asset in {fill.fee_asset for fill in fills if is_third_asset(fill, market)}:
        try:
            rates[asset] = runtime.exchange.ticker(f"{asset}/{market.quote}").last
        except ExchangeRefused as error:
            log.warning("fee not in the position's cost", asset=asset, error=str(error))
    return rates


def _absent(runtime: Runtime, known: LedgerOrder) -> LedgerOrder:
    """The exchange never had this attempt of the order: make the next one, or give the order up."""
    name = known.order.client_order_id
    is_stop = known.order.trigger_price is not None  # a new one is placed if there is still need
    if known.attempts <= runtime.settings.resends and not is_stop:
        signed_at = _claim_resend(runtime, known)
        if signed_at is not None:
            log.warning("order sent again", order=name, attempt=known.attempts + 1)
            _submit(runtime, known.order, signed_at)
            return settle(runtime, name)
    with runtime.unit_of_work() as uow:
        uow.ledger.lock_account(known.order.account)
        newest = uow.ledger.order(name)
        if (newest.state, newest.attempts) != (known.state, known.attempts):
            return newest  # somebody else has moved it since we asked
        uow.ledger.record_rejected(name, message="the exchange knows no order of this id: it never arrived")
        return uow.ledger.order(name)


def _claim_resend(runtime: Runtime, known: LedgerOrder) -> datetime | None:
    """The time of one more attempt, counted; None where the approval no longer stands or it is another's."""
    with runtime.unit_of_work() as uow:
        account = uow.ledger.lock_account(known.order.account)
        decision = uow.ledger.decision(known.decision_id)
        proposal = uow.ledger.proposal(decision.proposal_id)
        state = halting.in_force(runtime.stop_file, account).trading_state
        obstacle = _obstacle(runtime, proposal, decision, state)
        if obstacle is None and proposal.expires_at <= runtime.clock.now():
            obstacle = f"the proposal expired at {proposal.expires_at}"
        if obstacle is not None:
            log.warning("order not sent again", order=known.order.client_order_id, reason=obstacle)
            return None
        signed_at = datetime.now(UTC)
        is_ours = uow.ledger.claim_resend(known.order.client_order_id, after_attempt=known.attempts)
    return signed_at if is_ours else None


def _after_settlement(runtime: Runtime, known: LedgerOrder) -> None:
    """Fresh balances for the agents, and the evaluation of what this order closed."""
    try:
        balances = runtime.exchange.balances()
    except ExchangeError as error:  # reconcile reads them again soon
        log.warning("balances not read", error=str(error))
        balances = None
    with runtime.unit_of_work() as uow:
        if balances is not None:
            uow.ledger.record_balances(known.order.account, balances, at=runtime.clock.now())
        closed = [position.id for position in uow.ledger.unevaluated_trades()]
        held = uow.ledger.open_position(known.order.account, known.order.symbol)
    if known.order.order_type is OrderType.MARKET and held is not None and _waits_on_exchange(runtime, held):
        runtime.send("trading.protect")
    for position_id in closed:
        runtime.send("learning.evaluate", str(position_id))


def _waits_on_exchange(runtime: Runtime, position: Position) -> bool:
    """Whether a position's stop belongs on the exchange."""
    return position.stop_price is not None and runtime.settings.trading.stop_orders == "exchange"


def settle_all(runtime: Runtime) -> list[str]:
    """Settle every order that is not settled yet; one that fails does not stop the others.

    Returns what the exchange says of an order and the ledger contradicts, one line each.
    """
    with runtime.unit_of_work() as uow:
        pending = [known for known in uow.ledger.unsettled_orders() if known.order.account == runtime.account]
    contradictions = []
    for known in pending:
        try:
            settle(runtime, known.order.client_order_id)
        except ExchangeError as error:
            log.warning("order not settled", order=known.order.client_order_id, error=str(error))
        except LedgerError as error:
            contradictions.append(str(error))
    return contradictions
