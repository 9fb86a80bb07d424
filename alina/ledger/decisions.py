"""Decisions: one verdict a proposal, and the reservation that an approval holds."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Uuid, bindparam, func, select, text, update

from alina.db.engine import json_text
from alina.db.tables import DecisionRow, OrderRow, ProposalRow, ReservationRow
from alina.domain.decisions import (
    Approved,
    Decision,
    Denied,
    NeedsApproval,
    Proposal,
    ReasonCode,
    Verdict,
    content_hash,
)
from alina.domain.orders import OrderSide, OrderState
from alina.errors import LedgerError
from alina.ledger.part import Part, found, record_of

#: the verdict of a proposal stored with exactly this content, and with it the reservation of an approval or
#: the question to a person: all in one round trip, since the account is locked
_DECIDE = text("""
WITH stored AS (
    INSERT INTO decisions
        (id, proposal_id, verdict, reason, message, content_hash, snapshot, decided_at)
    SELECT :id, p.id, :verdict, CAST(:reason AS integer), :message, CAST(:content_hash AS text),
           CAST(:snapshot AS jsonb), :decided_at
    FROM proposals p WHERE p.id = :proposal_id AND p.content_hash = :proposed_hash
    ON CONFLICT DO NOTHING
    RETURNING id
), reserved AS (
    INSERT INTO reservations (decision_id, account, asset, amount)
    SELECT id, :account, :asset, CAST(:amount AS numeric) FROM stored WHERE CAST(:asset AS text) IS NOT NULL
), asked AS (
    INSERT INTO approvals (decision_id, proposal_id, content_hash, expires_at)
    SELECT id, :proposal_id, :proposed_hash, CAST(:expires_at AS timestamptz) FROM stored
    WHERE CAST(:expires_at AS timestamptz) IS NOT NULL
)
SELECT id FROM stored
""").bindparams(bindparam("id", type_=Uuid()), bindparam("proposal_id", type_=Uuid()))


class Decisions(Part):
    """The decisions' part of the ledger."""

    def save_decision(
        self, proposal: Proposal, verdict: Verdict, *, snapshot: Mapping[str, Any], decided_at: datetime
    ) -> Decision:
        """Store the verdict, with a held reservation if it approves; a stored decision stays as it is.

        Raises LedgerError if the proposal is not stored with this content, or if something else
        was approved.
        """
        decision_id = uuid5(proposal.id, "decision")
        columns = {"snapshot": dict(snapshot), "decided_at": decided_at, **_columns(verdict)}
        if not isinstance(verdict, Approved) or verdict.content_hash == content_hash(proposal):
            row = self._insert(decision_id, proposal, columns, verdict)
            if row is not None:
                return row
        self._check_content(proposal, verdict)
        return self.decision(decision_id)

    def _insert(
        self, decision_id: UUID, proposal: Proposal, columns: Mapping[str, Any], verdict: Verdict
    ) -> Decision | None:
        """The new decision with what it brings along; None if one is stored, or the proposal is another."""
        snapshot = json_text(columns["snapshot"])
        parameters = {
            **dict.fromkeys(("reason", "content_hash", "asset", "amount", "expires_at")),
            **columns,
            "snapshot": snapshot,
            "id": decision_id,
            "proposal_id": proposal.id,
            "account": proposal.account,
            "proposed_hash": content_hash(proposal),
        }
        if isinstance(verdict, Approved):
            parameters |= {"asset": verdict.reserve_asset, "amount": verdict.reserve_amount}
        elif isinstance(verdict, NeedsApproval):
            parameters["expires_at"] = verdict.expires_at
        if self._session.execute(_DECIDE, parameters).scalar() is None:
            return None
        stored = {"content_hash": None, **columns, "snapshot": json.loads(snapshot)}
        stored["reason"] = verdict.reason if isinstance(verdict, Denied) else None
        return Decision(id=decision_id, proposal_id=proposal.id, **stored)

    def settle_decision(
        self,
        proposal: Proposal,
        verdict: Approved | Denied,
        *,
        snapshot: Mapping[str, Any],
        decided_at: datetime,
    ) -> Decision:
        """Move the proposal's decision from needs_approval to its end, once; a settled one stays as it is.

        Raises LedgerError if the proposal is not stored with this content; Postgres itself refuses an
        approval that nobody agreed to.
        """
        decision_id = uuid5(proposal.id, "decision")
        self._check_content(proposal, verdict)
        row = self._session.scalar(
            update(DecisionRow)
            .where(DecisionRow.id == decision_id, DecisionRow.verdict == "needs_approval")
            .values(snapshot=dict(snapshot), decided_at=decided_at, **_columns(verdict))
            .returning(DecisionRow)
            .execution_options(synchronize_session=False, populate_existing=True)
        )
        if row is None:
            return self.decision(decision_id)
        if isinstance(verdict, Approved):
            reservation = ReservationRow(
                decision_id=decision_id,
                account=proposal.account,
                asset=verdict.reserve_asset,
                amount=verdict.reserve_amount,
            )
            self._session.add(reservation)
            self._session.flush()
        return decision_of_row(row)

    def decision(self, decision_id: UUID) -> Decision:
        """One decision. Raises LedgerError if unknown."""
        row = self._session.get(DecisionRow, decision_id, populate_existing=True)
        return decision_of_row(found(row, f"decision {decision_id}"))

    def decision_of(self, proposal_id: UUID) -> Decision | None:
        """What was decided of a proposal; None: nothing yet."""
        row = self._session.scalar(select(DecisionRow).where(DecisionRow.proposal_id == proposal_id))
        return decision_of_row(row) if row is not None else None

    def reserved(self, account: str, asset: str) -> Decimal:
        """What approved orders that are not settled may still spend of an asset."""
        held = select(func.sum(ReservationRow.amount)).where(
            ReservationRow.account == account, ReservationRow.asset == asset, ReservationRow.state == "held"
        )
        return self._session.scalar(held) or Decimal(0)

    def last_entry_at(self, account: str, symbol: str) -> datetime | None:
        """Market time of the newest approved buy; what the exchange rejected was no entry."""
        query = (
            select(func.max(DecisionRow.decided_at))
            .join(ProposalRow, ProposalRow.id == DecisionRow.proposal_id)
            .outerjoin(OrderRow, OrderRow.decision_id == DecisionRow.id)
            .where(ProposalRow.account == account, ProposalRow.symbol == symbol)
            .where(ProposalRow.side == OrderSide.BUY, DecisionRow.verdict == "approved")
            .where(OrderRow.state.is_distinct_from(OrderState.REJECTED))
        )
        return self._session.scalar(query)

    def _check_content(self, proposal: Proposal, verdict: Verdict) -> None:
        stored = found(self._session.get(ProposalRow, proposal.id), f"proposal {proposal.id}")
        hashes = {stored.content_hash, content_hash(proposal)}
        if isinstance(verdict, Approved):
            hashes.add(verdict.content_hash)
        if len(hashes) != 1:
            raise LedgerError(f"proposal {proposal.id} is stored with other content: review the stored one")


def decision_of_row(row: DecisionRow) -> Decision:
    """The decision of its row."""
    return record_of(Decision, row, reason=ReasonCode(row.reason) if row.reason is not None else None)


def _columns(verdict: Verdict) -> dict[str, Any]:
    match verdict:
        case Approved():
            return {"verdict": "approved", "message": "", "content_hash": verdict.content_hash}
        case Denied():
            return {"verdict": "denied", "message": verdict.message, "reason": verdict.reason.value}
        case NeedsApproval():
            until = f"{verdict.message} (until {verdict.expires_at:%Y-%m-%d %H:%M} UTC)"
            return {"verdict": "needs_approval", "message": until}
