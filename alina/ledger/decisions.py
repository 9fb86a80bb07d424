"""Decisions: one verdict a proposal, and the reservation that an approval holds."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import func, select

from alina.db.engine import json_text
from alina.db.tables import DecisionRow, ProposalRow, ReservationRow
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
from alina.domain.orders import OrderSide, OrderType
from alina.domain.portfolio import CloseReason
from alina.errors import LedgerError
from alina.ledger.part import Part, Prepared, first_row, found, record_of

#: what comes with the verdict of `decided`: an approval's reservation, or the question to a person
_AND_WHAT_COMES_WITH_IT = """
, reserved AS (
    INSERT INTO reservations
        (decision_id, account, asset, amount, agent, symbol, side, turnover, decided_at)
    SELECT decided.id, p.account, $10, $11, p.agent, p.symbol, p.side,
           CASE WHEN p.side = 'buy' THEN $11
                WHEN p.order_type <> 'stop_limit' THEN p.quantity * p.reference_price END, $9
    FROM decided JOIN proposals p ON p.id = $2 WHERE $10 IS NOT NULL
), asked AS (
    INSERT INTO approvals (decision_id, proposal_id, content_hash, expires_at)
    SELECT id, $2, $3, $12 FROM decided WHERE $12 IS NOT NULL
)
SELECT id FROM decided
"""
_TYPES = (
    *("uuid", "uuid", "text", "text", "integer", "text", "text", "jsonb", "timestamptz"),
    *("text", "numeric", "timestamptz"),
)
#: The verdict of a proposal stored with exactly this content, all in one round trip: the account is locked.
_DECIDE = Prepared(
    "alina_decide",
    _TYPES,
    f"""
WITH decided AS (
    INSERT INTO decisions
        (id, proposal_id, verdict, reason, message, content_hash, snapshot, decided_at)
    SELECT $1, id, $4, $5, $6, $7, $8, $9 FROM proposals WHERE id = $2 AND content_hash = $3
    ON CONFLICT DO NOTHING
    RETURNING id
){_AND_WHAT_COMES_WITH_IT}""",  # noqa: S608  # text of this module only
)
#: the same for one that waited for a person
_SETTLE = Prepared(
    "alina_settle",
    _TYPES,
    f"""
WITH decided AS (
    UPDATE decisions
    SET verdict = $4, reason = $5, message = $6, content_hash = $7, snapshot = $8, decided_at = $9
    WHERE id = $1 AND verdict = 'needs_approval'
        AND EXISTS (SELECT FROM proposals WHERE id = $2 AND content_hash = $3)
    RETURNING id
){_AND_WHAT_COMES_WITH_IT}""",  # noqa: S608  # text of this module only
)
_PROPOSAL = tuple(field.name for field in fields(Proposal))
_DECISION = tuple(field.name for field in fields(Decision))
_REVIEWED = Prepared(
    "alina_reviewed",
    ("uuid",),
    f"""
SELECT {", ".join(f"p.{name}" for name in _PROPOSAL)}, {", ".join(f"d.{name}" for name in _DECISION)}
FROM proposals p LEFT JOIN decisions d ON d.proposal_id = p.id
WHERE p.id = $1
""",  # noqa: S608  # names of fields only
)


class Decisions(Part):
    """The decisions' part of the ledger."""

    def proposal_and_decision(self, proposal_id: UUID) -> tuple[Proposal, Decision | None]:
        """One proposal and what was decided of it so far. Raises LedgerError if unknown."""
        row = found(first_row(self._session, (_REVIEWED, (proposal_id,))), f"proposal {proposal_id}")
        wish = dict(zip(_PROPOSAL, row, strict=False))
        reason = wish["close_reason"]
        wish["side"], wish["order_type"] = OrderSide(wish["side"]), OrderType(wish["order_type"])
        wish["close_reason"] = CloseReason(reason) if reason is not None else None
        proposal = Proposal(**wish)
        decided = dict(zip(_DECISION, row[len(_PROPOSAL) :], strict=True))
        if decided["id"] is None:
            return proposal, None
        return proposal, Decision(**decided | {"reason": _reason(decided["reason"])})

    def save_decision(
        self, proposal: Proposal, verdict: Verdict, *, snapshot: Mapping[str, Any], decided_at: datetime
    ) -> Decision:
        """Store the verdict, with a held reservation if it approves; a stored decision stays as it is.

        Raises LedgerError if the proposal is not stored with this content, or if something else
        was approved.
        """
        return self._store(_DECIDE, proposal, verdict, snapshot, decided_at)

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
        return self._store(_SETTLE, proposal, verdict, snapshot, decided_at)

    def _store(
        self,
        statement: Prepared,
        proposal: Proposal,
        verdict: Verdict,
        snapshot: Mapping[str, Any],
        decided_at: datetime,
    ) -> Decision:
        """What the statement stores, or what is stored already."""
        decision_id, proposed_hash = uuid5(proposal.id, "decision"), content_hash(proposal)
        if isinstance(verdict, Approved) and verdict.content_hash != proposed_hash:
            self._refuse_other_content(proposal, verdict.content_hash)
        shown, (word, reason, message) = json_text(snapshot), words(verdict)
        asset, amount, expires_at = what_comes_with(verdict)
        approved_hash = proposed_hash if asset is not None else None
        told = (word, reason, message, approved_hash, shown, decided_at)
        parameters = (decision_id, proposal.id, proposed_hash, *told, asset, amount, expires_at)
        if first_row(self._session, (statement, parameters)) is None:
            self._refuse_other_content(proposal, proposed_hash)
            return self.decision(decision_id)
        return Decision(
            id=decision_id,
            proposal_id=proposal.id,
            verdict=word,
            reason=_reason(reason),
            message=message,
            content_hash=approved_hash,
            decided_at=decided_at,
            snapshot=json.loads(shown),
        )

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

    def _refuse_other_content(self, proposal: Proposal, reviewed_hash: str) -> None:
        stored = found(self._session.get(ProposalRow, proposal.id), f"proposal {proposal.id}")
        if {reviewed_hash, content_hash(proposal)} != {stored.content_hash}:
            raise LedgerError(f"proposal {proposal.id} is stored with other content: review the stored one")


def decision_of_row(row: DecisionRow) -> Decision:
    """The decision of its row."""
    return record_of(Decision, row, reason=_reason(row.reason))


def _reason(code: int | None) -> ReasonCode | None:
    return ReasonCode(code) if code is not None else None


def words(verdict: Verdict) -> tuple[str, int | None, str]:
    """The verdict, its reason and its message, as they are stored."""
    match verdict:
        case Approved():
            return "approved", None, ""
        case Denied():
            return "denied", verdict.reason.value, verdict.message
        case NeedsApproval():
            until = f"{verdict.message} (until {verdict.expires_at:%Y-%m-%d %H:%M} UTC)"
            return "needs_approval", None, until


def what_comes_with(verdict: Verdict) -> tuple[str | None, Decimal | None, datetime | None]:
    """Asset and amount to reserve; until when a person may answer."""
    match verdict:
        case Approved():
            return verdict.reserve_asset, verdict.reserve_amount, None
        case Denied():
            return None, None, None
        case NeedsApproval():
            return None, None, verdict.expires_at
