"""Proposals: wishes to trade, immutable once stored."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import and_, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from alina.db.tables import DecisionRow, OrderRow, PositionRow, ProposalRow
from alina.domain.decisions import Proposal, content_hash
from alina.domain.orders import OrderSide, OrderState, OrderType
from alina.domain.portfolio import CloseReason
from alina.errors import LedgerError
from alina.ledger.part import Part, found, is_older, record_of, values_of


class Proposals(Part):
    """The proposals' part of the ledger."""

    def save_proposal(self, proposal: Proposal) -> bool:
        """Store it; False if its id is there already, and what is stored first stays.

        Raises LedgerError if its run has another proposal.
        """
        values = values_of(proposal) | {"content_hash": content_hash(proposal)}
        new = self._session.scalar(
            insert(ProposalRow).values(**values).on_conflict_do_nothing().returning(ProposalRow.id)
        )
        if new is None and self._session.get(ProposalRow, proposal.id) is None:
            raise LedgerError(f"run {proposal.run_id} has another proposal already: one run, one proposal")
        return new is not None

    def proposal(self, proposal_id: UUID) -> Proposal:
        """One proposal. Raises LedgerError if unknown."""
        row = self._session.get(ProposalRow, proposal_id)
        return record_of(Proposal, found(row, f"proposal {proposal_id}"))

    def proposal_of_run(self, run_id: UUID) -> Proposal | None:
        """The proposal a run ended with, if any."""
        row = self._session.scalar(select(ProposalRow).where(ProposalRow.run_id == run_id))
        return record_of(Proposal, row) if row is not None else None

    def undecided_proposals(self, *, older_than: timedelta) -> list[UUID]:
        """Proposals stored at least so long ago without a decision, oldest first."""
        query = (
            select(ProposalRow.id)
            .outerjoin(DecisionRow, DecisionRow.proposal_id == ProposalRow.id)
            .where(DecisionRow.id.is_(None), is_older(ProposalRow.created_at, older_than))
            .order_by(ProposalRow.created_at)
        )
        return list(self._session.scalars(query))

    def has_pending_exit(self, account: str, symbol: str) -> bool:
        """Whether a sale is undecided, or approved and not settled.

        A stop is none, and no other sale once it may rest: an exit takes its place.
        """
        is_under_way = ~OrderRow.settled & (OrderRow.order_type == OrderType.MARKET)
        sale = (
            select(ProposalRow.id)
            .outerjoin(DecisionRow, DecisionRow.proposal_id == ProposalRow.id)
            .outerjoin(OrderRow, OrderRow.decision_id == DecisionRow.id)
            .where(ProposalRow.account == account, ProposalRow.symbol == symbol)
            .where(ProposalRow.side == OrderSide.SELL, ProposalRow.order_type != OrderType.STOP_LIMIT)
            .where(DecisionRow.id.is_(None) | (DecisionRow.verdict == "approved"))
            .where(OrderRow.client_order_id.is_(None) | is_under_way)
        )
        return self._session.scalar(select(exists(sale))) is True

    def unsent_stops(self, account: str, symbol: str) -> list[UUID]:
        """Protective stops that are undecided, or approved without an order; oldest first."""
        query = (
            select(ProposalRow.id)
            .outerjoin(DecisionRow, DecisionRow.proposal_id == ProposalRow.id)
            .outerjoin(OrderRow, OrderRow.decision_id == DecisionRow.id)
            .where(ProposalRow.account == account, ProposalRow.symbol == symbol)
            .where(ProposalRow.order_type == OrderType.STOP_LIMIT)
            .where(DecisionRow.id.is_(None) | (DecisionRow.verdict == "approved"))
            .where(OrderRow.client_order_id.is_(None))
            .order_by(ProposalRow.created_at)
        )
        return list(self._session.scalars(query))

    def stop_attempts(self, position_id: UUID) -> list[tuple[OrderType, bool]]:
        """The sales by stop that were decided since the position was opened: their type, and if they failed.

        Failed: denied by the kernel, or never taken by the exchange. Oldest first.
        """
        opened = (
            select(OrderRow.created_at, PositionRow.account, PositionRow.symbol)
            .join(PositionRow, PositionRow.opened_by == OrderRow.client_order_id)
            .where(PositionRow.id == position_id)
            .subquery()
        )
        has_failed = (DecisionRow.verdict == "denied") | (OrderRow.state == OrderState.REJECTED)
        query = (
            select(ProposalRow.order_type, func.coalesce(has_failed, False))
            .join(
                opened, and_(opened.c.account == ProposalRow.account, opened.c.symbol == ProposalRow.symbol)
            )
            .join(DecisionRow, DecisionRow.proposal_id == ProposalRow.id)
            .outerjoin(OrderRow, OrderRow.decision_id == DecisionRow.id)
            .where(ProposalRow.created_at > opened.c.created_at)
            .where(ProposalRow.close_reason == CloseReason.STOP_LOSS)
            .order_by(ProposalRow.created_at)
        )
        return [(row[0], row[1]) for row in self._session.execute(query)]
