"""Proposals, decisions and orders of a ledger in memory."""

from bisect import insort
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from alina.db.tables import OrderRow
from alina.domain.decisions import (
    Approval,
    Approved,
    Decision,
    Denied,
    Proposal,
    ReasonCode,
    Verdict,
    content_hash,
)
from alina.domain.orders import LedgerOrder, Order, OrderSide, OrderState, OrderType, PlacedOrder
from alina.domain.portfolio import CloseReason
from alina.errors import LedgerError
from alina.ledger.approvals import APPROVED, Approvals
from alina.ledger.decisions import Decisions, turnover, what_comes_with, words
from alina.ledger.in_memory_rows import PlainOrder, Reservation, Rows, StoredJson
from alina.ledger.orders import Orders, check_report, rank, refuse_unless_approved
from alina.ledger.part import found, record_of, values_of
from alina.ledger.proposals import Proposals

_NOTHING = Decimal(0)


class InMemoryProposals(Proposals):
    """The proposals' part."""

    _rows: Rows

    def save_proposal(self, proposal: Proposal) -> bool:
        rows = self._rows
        if proposal.id in rows.proposals:
            return False
        if proposal.run_id is not None and proposal.run_id in rows.proposal_by_run:
            raise LedgerError(f"run {proposal.run_id} has another proposal already: one run, one proposal")
        rows.proposals[proposal.id], rows.stored_at[proposal.id] = proposal, rows.wall()
        if proposal.run_id is not None:
            rows.proposal_by_run[proposal.run_id] = proposal.id
        if proposal.side is OrderSide.SELL:
            for sales in (rows.sales, rows.moving_sales):
                sales.setdefault((proposal.account, proposal.symbol), []).append(proposal)
        return True

    def proposal(self, proposal_id: UUID) -> Proposal:
        return found(self._rows.proposals.get(proposal_id), f"proposal {proposal_id}")

    def proposal_of_run(self, run_id: UUID) -> Proposal | None:
        proposal_id = self._rows.proposal_by_run.get(run_id)
        return None if proposal_id is None else self._rows.proposals[proposal_id]

    def undecided_proposals(self, *, older_than: timedelta) -> list[UUID]:
        rows, until = self._rows, self._rows.wall() - older_than
        return [
            one
            for one in rows.proposals
            if one not in rows.decision_by_proposal and rows.stored_at[one] <= until
        ]

    def has_pending_exit(self, account: str, symbol: str) -> bool:
        exits = [one for one in self._moving(account, symbol) if one.order_type is not OrderType.STOP_LIMIT]
        orders = [self._may_move(sale)[1] for sale in exits]
        return any(order is None or order.order_type is OrderType.MARKET for order in orders)

    def unsent_stops(self, account: str, symbol: str) -> list[UUID]:
        return [
            sale.id
            for sale in self._moving(account, symbol)
            if sale.order_type is OrderType.STOP_LIMIT and self._may_move(sale)[1] is None
        ]

    def stop_attempts(self, position_id: UUID) -> list[tuple[OrderType, bool]]:
        rows, position = self._rows, self._rows.positions.get(position_id)
        if position is None or position.opened_by is None:
            return []
        opened = rows.orders[position.opened_by].created_at
        attempts = []
        for sale in reversed(rows.sales.get((position.account, position.symbol), ())):
            if rows.stored_at[sale.id] <= opened:
                break
            decision_id = rows.decision_by_proposal.get(sale.id)
            if sale.close_reason is CloseReason.STOP_LOSS and decision_id is not None:
                order = rows.order_by_decision.get(decision_id)
                has_failed = rows.decisions[decision_id].verdict == "denied" or (
                    order is not None and order.state is OrderState.REJECTED
                )
                attempts.append((sale.order_type, has_failed))
        return attempts[::-1]

    def _moving(self, account: str, symbol: str) -> list[Proposal]:
        """The sales that are undecided, or approved and not settled; what is over is looked at once more."""
        still = []
        for sale in self._rows.moving_sales.pop((account, symbol), ()):
            may_move, order = self._may_move(sale)
            if may_move and (order is None or not order.settled):
                still.append(sale)
        self._rows.moving_sales[account, symbol] = still
        return still

    def _may_move(self, sale: Proposal) -> tuple[bool, OrderRow | None]:
        """Whether it is undecided or approved, and the order it has become."""
        decision_id = self._rows.decision_by_proposal.get(sale.id)
        if decision_id is None:
            return True, None
        may_move = self._rows.decisions[decision_id].verdict == "approved"
        return may_move, self._rows.order_by_decision.get(decision_id)


class InMemoryDecisions(Decisions, Approvals):
    """The decisions' part, with what persons say of them."""

    _rows: Rows

    def proposal_and_decision(
        self, proposal_id: UUID
    ) -> tuple[Proposal, str, Decision | None, datetime | None]:
        proposal = found(self._rows.proposals.get(proposal_id), f"proposal {proposal_id}")
        return proposal, content_hash(proposal), self.decision_of(proposal_id), None

    def save_decision(
        self, proposal: Proposal, verdict: Verdict, *, snapshot: Mapping[str, Any], decided_at: datetime
    ) -> Decision:
        self._refuse_unless_stored(proposal, verdict)
        return self.decision_of(proposal.id) or self._keep(proposal, verdict, snapshot, decided_at)

    def settle_decision(
        self,
        proposal: Proposal,
        verdict: Approved | Denied,
        *,
        snapshot: Mapping[str, Any],
        decided_at: datetime,
    ) -> Decision:
        self._refuse_unless_stored(proposal, verdict)
        stored = found(self.decision_of(proposal.id), f"decision of proposal {proposal.id}")
        if stored.verdict != "needs_approval":
            return stored
        if isinstance(verdict, Approved) and self.approval(stored.id).answer != APPROVED:
            raise LedgerError(f"nobody agreed to decision {stored.id}: answer it first")
        return self._keep(proposal, verdict, snapshot, decided_at)

    def all_decisions(self) -> list[Decision]:
        """Every one, oldest first."""
        return list(self._rows.decisions.values())

    def decision(self, decision_id: UUID) -> Decision:
        return found(self._rows.decisions.get(decision_id), f"decision {decision_id}")

    def decision_of(self, proposal_id: UUID) -> Decision | None:
        decision_id = self._rows.decision_by_proposal.get(proposal_id)
        return None if decision_id is None else self._rows.decisions[decision_id]

    def reserved(self, account: str, asset: str) -> Decimal:
        held = self._rows.held.values()
        return sum((r.amount for r in held if (r.account, r.asset) == (account, asset)), Decimal(0))

    def approval(self, decision_id: UUID) -> Approval:
        return found(self._rows.approvals.get(decision_id), f"approval of decision {decision_id}")

    def answer_approval(self, decision_id: UUID, answer: str, *, by: str) -> Approval:
        approval = self.approval(decision_id)
        if approval.answer is None and self.decision(decision_id).verdict == "needs_approval":
            approval = replace(approval, answer=answer, answered_by=by, answered_at=self._rows.wall())
            self._rows.approvals[decision_id] = approval
        if approval.answer != answer:
            raise LedgerError(f"decision {decision_id} is answered or settled already: an answer is final")
        return approval

    def _refuse_unless_stored(self, proposal: Proposal, verdict: Verdict) -> None:
        stored = found(self._rows.proposals.get(proposal.id), f"proposal {proposal.id}")
        is_stored = isinstance(verdict, Denied) or content_hash(proposal) == content_hash(stored)
        if isinstance(verdict, Approved):
            is_stored = is_stored and verdict.content_hash == content_hash(stored)
        if not is_stored:
            raise LedgerError(f"proposal {proposal.id} is stored with other content: review the stored one")

    def _keep(
        self, proposal: Proposal, verdict: Verdict, snapshot: Mapping[str, Any], decided_at: datetime
    ) -> Decision:
        word, reason, message = words(verdict)
        asset, amount, expires_at = what_comes_with(verdict)
        decision = Decision(
            id=uuid5(proposal.id, "decision"),
            proposal_id=proposal.id,
            verdict=word,
            reason=ReasonCode(reason) if reason is not None else None,
            message=message,
            content_hash=content_hash(proposal) if asset is not None else None,
            decided_at=decided_at,
            snapshot=StoredJson(snapshot),
        )
        self._rows.decisions[decision.id] = decision
        self._rows.decision_by_proposal[proposal.id] = decision.id
        if asset is not None and amount is not None:
            self._reserve(proposal, decision, asset, amount)
        if expires_at is not None:
            self._rows.approvals[decision.id] = Approval(
                decision_id=decision.id,
                proposal_id=proposal.id,
                content_hash=content_hash(proposal),
                expires_at=expires_at,
                answer=None,
                answered_by=None,
                answered_at=None,
            )
        return decision

    def _reserve(self, proposal: Proposal, decision: Decision, asset: str, amount: Decimal) -> None:
        reservation = Reservation(
            decision_id=decision.id,
            account=proposal.account,
            asset=asset,
            amount=amount,
            agent=proposal.agent,
            symbol=proposal.symbol,
            side=proposal.side,
            turnover=turnover(proposal, amount),
            decided_at=decision.decided_at,
            created_at=self._rows.wall(),
        )
        rows = self._rows
        rows.reservations[decision.id] = rows.held[decision.id] = reservation
        of_symbol = rows.reserved_by_symbol.setdefault((proposal.account, proposal.symbol), [])
        insort(of_symbol, reservation, key=lambda one: one.decided_at)
        insort(rows.reserved_at.setdefault(proposal.account, []), reservation.created_at)


class InMemoryOrders(Orders):
    """The orders' part. What settles them is the fills' part's `_settle_if_complete`."""

    _rows: Rows

    def claim_order(self, decision: Decision, order: Order) -> bool:
        rows, stored = self._rows, found(self._rows.decisions.get(decision.id), f"decision {decision.id}")
        refuse_unless_approved(stored, rows.proposals[stored.proposal_id], decision.content_hash, order)
        if rows.reservations[decision.id].state == "released" and decision.id not in rows.order_by_decision:
            raise LedgerError(f"the approval of decision {decision.id} was given up: propose the trade anew")
        if decision.id in rows.order_by_decision:
            return False
        now = rows.wall()
        row = PlainOrder(
            **values_of(order),
            decision_id=decision.id,
            content_hash=decision.content_hash,
            state=OrderState.SUBMITTING,
            exchange_order_id=None,
            filled_quantity=Decimal(0),
            filled_notional=Decimal(0),
            message="",
            created_at=now,
            submitted_at=now,
            acknowledged_at=None,
            updated_at=now,
            settled=False,
            attempts=1,
            reached_at=None,
        )
        rows.orders[order.client_order_id] = rows.unsettled[order.client_order_id] = row
        rows.order_by_decision[decision.id], rows.ordered[order.client_order_id] = row, order
        return True

    def order(self, client_order_id: str) -> LedgerOrder:
        return self._told(self._order(client_order_id))

    def order_of(self, decision_id: UUID) -> LedgerOrder | None:
        row = self._rows.order_by_decision.get(decision_id)
        return None if row is None else self._told(row)

    def record_placed(self, placed: PlacedOrder) -> None:
        row = self._order(placed.client_order_id)
        check_report(row, placed)
        if rank(placed.state) < rank(row.state) or placed.filled_quantity < row.filled_quantity:
            return
        row.state, row.exchange_order_id = placed.state, placed.exchange_order_id
        row.filled_quantity, row.filled_notional = placed.filled_quantity, placed.filled_notional
        row.updated_at = self._rows.wall()
        row.acknowledged_at = row.acknowledged_at or row.updated_at
        self._changed(row)
        self._settle_if_complete(row)

    def record_rejected(self, client_order_id: str, *, message: str) -> None:
        row = self._order(client_order_id)
        if row.state is OrderState.REJECTED:
            return
        if row.state is not OrderState.SUBMITTING:
            raise LedgerError(
                f"order {client_order_id} was {row.state.value} on the exchange, so it cannot be "
                "rejected now: reconcile it with the exchange"
            )
        row.state, row.message, row.updated_at = OrderState.REJECTED, message, self._rows.wall()
        self._changed(row)
        self._settle_if_complete(row)

    def unsettled_orders(self, *, older_than: timedelta = timedelta(0)) -> list[LedgerOrder]:
        until = self._rows.wall() - older_than
        return [self._told(row) for row in self._rows.unsettled.values() if row.created_at <= until]

    def submitted_before(self, client_order_id: str, age: timedelta) -> bool:
        return self._order(client_order_id).submitted_at <= self._rows.wall() - age

    def resting_sales(self, account: str, symbol: str) -> list[LedgerOrder]:
        return [
            self._told(row)
            for row in self._of_symbol(account, symbol)
            if row.side is OrderSide.SELL and row.order_type is not OrderType.MARKET
        ]

    def is_entering(self, account: str, symbol: str) -> bool:
        return any(row.side is OrderSide.BUY for row in self._of_symbol(account, symbol))

    def note_reached(self, client_order_id: str) -> None:
        row = self._order(client_order_id)
        row.reached_at = row.reached_at or self._rows.wall()

    def reached_before(self, client_order_id: str, age: timedelta) -> bool:
        reached_at = self._order(client_order_id).reached_at
        return reached_at is not None and reached_at <= self._rows.wall() - age

    def claim_resend(self, client_order_id: str, *, after_attempt: int) -> bool:
        row = self._order(client_order_id)
        if row.state is not OrderState.SUBMITTING or row.attempts != after_attempt:
            return False
        row.attempts, row.submitted_at = after_attempt + 1, self._rows.wall()
        self._changed(row)
        return True

    def give_up_approval(self, decision_id: UUID) -> bool:
        reservation = found(self._rows.reservations.get(decision_id), f"approval {decision_id}")
        if decision_id in self._rows.order_by_decision or reservation.state != "held":
            return False
        reservation.state = "released"
        self._let_go(decision_id, None)
        return True

    def approved_without_order(self, *, older_than: timedelta) -> list[UUID]:
        rows, until = self._rows, self._rows.wall() - older_than
        return [
            rows.decisions[one.decision_id].proposal_id
            for one in rows.held.values()
            if one.decision_id not in rows.order_by_decision and one.created_at <= until
        ]

    def _of_symbol(self, account: str, symbol: str) -> list[OrderRow]:
        """Those not settled."""
        return [
            row for row in self._rows.unsettled.values() if (row.account, row.symbol) == (account, symbol)
        ]

    def _order(self, client_order_id: str) -> OrderRow:
        return found(self._rows.orders.get(client_order_id), f"order {client_order_id}")

    def _told(self, row: OrderRow) -> LedgerOrder:
        """Its record, made anew only after a change."""
        name, records = row.client_order_id, self._rows.order_records
        if name not in records:
            records[name] = record_of(LedgerOrder, row, order=self._rows.ordered[name])
        return records[name]

    def _changed(self, row: OrderRow) -> None:
        self._rows.order_records.pop(row.client_order_id, None)

    def _let_go(self, decision_id: UUID, order: OrderRow | None) -> None:
        """A reservation is over: from now on it counts for its day with what it came to."""
        rows = self._rows
        reservation = rows.held.pop(decision_id)
        day = reservation.account, reservation.decided_at.date()
        rows.turned_over[day] = rows.turned_over.get(day, _NOTHING) + turned_over(reservation, order)

    def _settle_if_complete(self, row: OrderRow) -> None:
        raise NotImplementedError  # of the fills' part


def turned_over(one: Reservation, order: OrderRow | None) -> Decimal:
    """Quote that counts for the day: what was filled of a settled order, else what may be."""
    if order is not None and (order.settled or one.turnover is None):
        return order.filled_notional
    return one.turnover or _NOTHING
