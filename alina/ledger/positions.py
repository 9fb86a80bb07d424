"""Positions and closed trades, as the fills made them."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from alina.db.tables import (
    BalanceRow,
    DecisionRow,
    EvaluationRow,
    FillRow,
    OrderRow,
    PositionRow,
    ProposalRow,
)
from alina.domain.decisions import Proposal
from alina.domain.evaluation import Evaluation
from alina.domain.portfolio import CloseReason, Position
from alina.errors import LedgerError
from alina.ledger.part import Part, found, locked_account, record_of, values_of
from alina.ledger.settlement import is_under_way, open_position_row


class Positions(Part):
    """The positions' part of the ledger, with the scores of closed ones."""

    def open_position(self, account: str, symbol: str) -> Position | None:
        """The account's open position in a symbol. While its sale is settling it may hold nothing."""
        row = open_position_row(self._session, account, symbol)
        return record_of(Position, row) if row is not None else None

    def open_positions(self, account: str) -> list[Position]:
        """Every open position of an account, by symbol."""
        query = select(PositionRow).where(PositionRow.account == account, PositionRow.closed_at.is_(None))
        rows = self._session.scalars(
            query.order_by(PositionRow.symbol).execution_options(populate_existing=True)
        )
        return [record_of(Position, row) for row in rows]

    def told_of(self, position: Position) -> Decimal | None:
        """Base that the exchange said its account holds; None: not said since the position's newest fill."""
        newest = select(func.max(FillRow.executed_at)).where(FillRow.position_id == position.id)
        return self._session.scalar(
            select(BalanceRow.free + BalanceRow.locked).where(
                BalanceRow.account == position.account,
                BalanceRow.asset == position.symbol.partition("/")[0],
                BalanceRow.as_of >= newest.scalar_subquery(),
            )
        )

    def close_dust(self, account: str, symbol: str, *, at: datetime, reason: CloseReason) -> bool:
        """Close the open position though something is left, its cost lost; the rest stays in the balance.

        False where there is none, or an order of the symbol is under way.
        """
        locked_account(self._session, account)
        row = open_position_row(self._session, account, symbol)
        if row is None or is_under_way(self._session, account, symbol):
            return False
        row.closed_at, row.close_reason = at, reason
        self._session.flush()
        return True

    def closed_trades(self, *, account: str | None = None, limit: int = 50) -> list[Position]:
        """Closed positions, newest first."""
        query = select(PositionRow).where(PositionRow.closed_at.is_not(None))
        if account is not None:
            query = query.where(PositionRow.account == account)
        rows = self._session.scalars(
            query.order_by(PositionRow.closed_at.desc(), PositionRow.id).limit(limit)
        )
        return [record_of(Position, row) for row in rows]

    def position(self, position_id: UUID) -> Position:
        """One position, open or closed. Raises LedgerError if unknown."""
        row = self._session.get(PositionRow, position_id, populate_existing=True)
        return record_of(Position, found(row, f"position {position_id}"))

    def position_proposal(self, position_id: UUID) -> Proposal:
        """The proposal that opened a position. Raises LedgerError if unknown."""
        query = (
            select(ProposalRow)
            .join(DecisionRow, DecisionRow.proposal_id == ProposalRow.id)
            .join(OrderRow, OrderRow.decision_id == DecisionRow.id)
            .join(PositionRow, PositionRow.opened_by == OrderRow.client_order_id)
            .where(PositionRow.id == position_id)
        )
        return record_of(Proposal, found(self._session.scalar(query), f"position {position_id}"))

    def unevaluated_trades(self) -> list[Position]:
        """Closed positions of our agents without an evaluation, oldest first."""
        query = (
            select(PositionRow)
            .outerjoin(EvaluationRow, EvaluationRow.position_id == PositionRow.id)
            .where(PositionRow.closed_at.is_not(None), EvaluationRow.position_id.is_(None))
            .where(PositionRow.opened_by.is_not(None))
            .order_by(PositionRow.closed_at, PositionRow.id)
        )
        return [record_of(Position, row) for row in self._session.scalars(query)]

    def save_evaluation(self, evaluation: Evaluation) -> None:
        """Store the score of a closed position; the first one stays.

        Raises LedgerError if the position is unknown or open.
        """
        if self.position(evaluation.position_id).closed_at is None:
            raise LedgerError(f"position {evaluation.position_id} is open: evaluate it when it is closed")
        self._session.execute(insert(EvaluationRow).values(**values_of(evaluation)).on_conflict_do_nothing())

    def evaluations(self, *, agent: str | None = None, since: datetime | None = None) -> list[Evaluation]:
        """Scores of the trades an agent opened, from this market time on, newest first."""
        query = select(EvaluationRow).join(PositionRow, PositionRow.id == EvaluationRow.position_id)
        if agent is not None:
            query = query.where(PositionRow.agent == agent)
        if since is not None:
            query = query.where(EvaluationRow.evaluated_at >= since)
        rows = self._session.scalars(
            query.order_by(EvaluationRow.evaluated_at.desc(), EvaluationRow.position_id)
        )
        return [record_of(Evaluation, row) for row in rows]
