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
from alina.db.prepared import Call, Prepared
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
from alina.ledger.part import Part, first_row, found, leave, locked_account, record_of

#: of a decision's row: what both statements take, in their order
_VERDICT = ("uuid", "uuid", "text", "integer", "text", "text", "jsonb", "timestamptz")
#: the row refuses a second one of a proposal, and an approval of other content than is stored
_DECIDE = Prepared(
    "alina_decide",
    _VERDICT,
    """
INSERT INTO decisions (id, proposal_id, verdict, reason, message, content_hash, snapshot, decided_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
""",
)
#: the same for one that waited for a person
_SETTLE = Prepared(
    "alina_settle",
    _VERDICT,
    """
UPDATE decisions
SET verdict = $3, reason = $4, message = $5, content_hash = $6, snapshot = $7, decided_at = $8
WHERE id = $1 AND proposal_id = $2
""",
)
_RESERVE = Prepared(
    "alina_reserve",
    ("uuid", "text", "text", "numeric", "text", "text", "text", "numeric", "timestamptz"),
    """
INSERT INTO reservations (decision_id, account, asset, amount, agent, symbol, side, turnover, decided_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
""",
)
_ASK = Prepared(
    "alina_ask",
    ("uuid", "uuid", "text", "timestamptz"),
    "INSERT INTO approvals (decision_id, proposal_id, content_hash, expires_at) VALUES ($1, $2, $3, $4)",
)
_PROPOSAL = tuple(field.name for field in fields(Proposal))
_DECISION = tuple(field.name for field in fields(Decision))
_REVIEWED = Prepared(
    "alina_reviewed",
    ("uuid",),
    f"""
SELECT {", ".join(f"p.{name}" for name in _PROPOSAL)}, {", ".join(f"d.{name}" for name in _DECISION)},
       p.content_hash, clock_timestamp()
FROM proposals p LEFT JOIN decisions d ON d.proposal_id = p.id
WHERE p.id = $1
""",  # noqa: S608  # names of fields only
)


class Decisions(Part):
    """The decisions' part of the ledger."""

    def proposal_and_decision(
        self, proposal_id: UUID
    ) -> tuple[Proposal, str, Decision | None, datetime | None]:
        """One proposal, the hash it is stored under, what was decided of it so far, and when that was read.

        The time is the ledger's clock's; None: a ledger without one. Raises LedgerError if unknown.
        """
        row = found(first_row(self._session, (_REVIEWED, (proposal_id,))), f"proposal {proposal_id}")
        wish = dict(zip(_PROPOSAL, row, strict=False))
        reason = wish["close_reason"]
        wish["side"], wish["order_type"] = OrderSide(wish["side"]), OrderType(wish["order_type"])
        wish["close_reason"] = CloseReason(reason) if reason is not None else None
        proposal = Proposal(**wish)
        *decision, stored_hash, read_at = row[len(_PROPOSAL) :]
        decided = dict(zip(_DECISION, decision, strict=True))
        if decided["id"] is None:
            return proposal, stored_hash, None, read_at
        decided["reason"] = _reason(decided["reason"])
        return proposal, stored_hash, Decision(**decided), read_at

    def save_decision(
        self, proposal: Proposal, verdict: Verdict, *, snapshot: Mapping[str, Any], decided_at: datetime
    ) -> Decision:
        """Store the verdict, with a held reservation if it approves; a stored decision stays as it is.

        The account is locked. Nobody waits for what is stored: it leaves with the next message or COMMIT.
        Raises LedgerError if the proposal is not stored with this content, unless it is denied, or if
        something else was approved.
        """
        if self._undecided != (proposal.id, content_hash(proposal)):
            stored = self._stored(proposal, verdict)
            if stored is not None:
                return stored
        self._undecided = None
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

        The account is locked. Raises LedgerError if the proposal is not stored with this content, unless it
        is denied; Postgres itself refuses an approval that nobody agreed to.
        """
        stored = found(self._stored(proposal, verdict), f"decision of proposal {proposal.id}")
        if stored.verdict != "needs_approval":
            return stored
        return self._store(_SETTLE, proposal, verdict, snapshot, decided_at)

    def _store(
        self,
        statement: Prepared,
        proposal: Proposal,
        verdict: Verdict,
        snapshot: Mapping[str, Any],
        decided_at: datetime,
    ) -> Decision:
        """Leave the verdict, and what comes with it, for the next message."""
        decision_id, proposed_hash = uuid5(proposal.id, "decision"), content_hash(proposal)
        if isinstance(verdict, Approved) and verdict.content_hash != proposed_hash:
            raise _other_content(proposal)
        shown, (word, reason, message) = json_text(snapshot), words(verdict)
        asset, amount, expires_at = what_comes_with(verdict)
        approved_hash = proposed_hash if asset is not None else None
        told = (word, reason, message, approved_hash, shown, decided_at)
        calls: list[Call] = [(statement, (decision_id, proposal.id, *told))]
        if asset is not None and amount is not None:
            whose = (proposal.agent, proposal.symbol, proposal.side.value)
            counts = (turnover(proposal, amount), decided_at)
            calls.append((_RESERVE, (decision_id, proposal.account, asset, amount, *whose, *counts)))
        if expires_at is not None:
            calls.append((_ASK, (decision_id, proposal.id, proposed_hash, expires_at)))
        leave(self._session, *calls)
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

    def _stored(self, proposal: Proposal, verdict: Verdict) -> Decision | None:
        """What was decided of a proposal that is stored with this content, its account locked.

        Of other content only a denial may be stored.
        """
        stored = found(self._session.get(ProposalRow, proposal.id), f"proposal {proposal.id}")
        if not isinstance(verdict, Denied) and content_hash(proposal) != stored.content_hash:
            raise _other_content(proposal)
        locked_account(self._session, proposal.account)
        return self.decision_of(proposal.id)


def _other_content(proposal: Proposal) -> LedgerError:
    return LedgerError(f"proposal {proposal.id} is stored with other content: review the stored one")


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


def turnover(proposal: Proposal, amount: Decimal) -> Decimal | None:
    """Quote that an approval counts for until its order is settled; None: of a stop only what is filled."""
    if proposal.side is OrderSide.BUY:
        return amount
    is_stop = proposal.order_type is OrderType.STOP_LIMIT
    return None if is_stop else proposal.quantity * proposal.reference_price
