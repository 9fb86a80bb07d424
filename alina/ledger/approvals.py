"""A person's word on decisions that need it, bound to the hash of what was asked."""

from uuid import UUID

from sqlalchemy import func, select, update

from alina.db.tables import ApprovalRow, DecisionRow
from alina.domain.decisions import Approval
from alina.errors import LedgerError
from alina.ledger.part import Part, found, record_of

APPROVED, DENIED = "approved", "denied"


class Approvals(Part):
    """The ledger's part that persons write."""

    def approval(self, decision_id: UUID) -> Approval:
        """What was asked and answered. Raises LedgerError if this decision never needed it."""
        row = self._session.get(ApprovalRow, decision_id, populate_existing=True)
        return record_of(Approval, found(row, f"approval of decision {decision_id}"))

    def open_approvals(self) -> list[Approval]:
        """Those whose decision still stands at needs_approval, answered or not, oldest first."""
        query = (
            select(ApprovalRow)
            .join(DecisionRow, DecisionRow.id == ApprovalRow.decision_id)
            .where(DecisionRow.verdict == "needs_approval")
            .order_by(ApprovalRow.created_at, ApprovalRow.decision_id)
        )
        return [record_of(Approval, row) for row in self._session.scalars(query)]

    def approvals_between(self, first: UUID, last: UUID) -> list[Approval]:
        """Those whose decision's id lies there, also the ones that are over."""
        rows = self._session.scalars(select(ApprovalRow).where(ApprovalRow.decision_id.between(first, last)))
        return [record_of(Approval, row) for row in rows]

    def answer_approval(self, decision_id: UUID, answer: str, *, by: str) -> Approval:
        """Store the answer, once; the same answer again changes nothing. The executor acts on it.

        Raises LedgerError if nothing was asked, or if it was answered otherwise or settled without.
        """
        still_open = (
            select(DecisionRow.id)
            .where(DecisionRow.id == decision_id, DecisionRow.verdict == "needs_approval")
            .exists()
        )
        self._session.execute(
            update(ApprovalRow)
            .where(ApprovalRow.decision_id == decision_id, ApprovalRow.answer.is_(None), still_open)
            .values(answer=answer, answered_by=by, answered_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
        approval = self.approval(decision_id)
        if approval.answer != answer:
            said = f"{approval.answer} by {approval.answered_by}" if approval.answer else "settled unanswered"
            raise LedgerError(f"decision {decision_id} is {said} already: an answer is final")
        return approval
