"""One proposal before the kernel: its verdict and its reservation in one transaction, the account locked.
What if the process dies here? Before the commit nothing happened, after it everything did: a repeat
returns what is stored. A decision that waits for a person is reviewed again, with a fresh snapshot and
every check, once the person has agreed; only the question itself is then answered.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from alina.domain.decisions import (
    Approval,
    Decision,
    Denied,
    NeedsApproval,
    Proposal,
    ReasonCode,
    content_hash,
)
from alina.errors import LedgerError
from alina.ledger.approvals import DENIED
from alina.orchestrator.runtime import Runtime, UnitOfWork
from alina.orchestrator.snapshot import MarketLook, figures, look, snapshot
from alina.risk import kernel

log = structlog.get_logger(__name__)

_WAITING = "needs_approval"


@dataclass(frozen=True, slots=True)
class Case:
    """A proposal, and what has been said of it so far."""

    proposal: Proposal
    decision: Decision | None
    #: what a person was asked and may have answered, if that is what the decision waits for
    approval: Approval | None
    #: when this was read, by the ledger's clock
    read_at: datetime | None
    #: whether the proposal is stored under the hash of something else: nothing may come of it but a denial
    is_forged: bool = False


def read(runtime: Runtime, proposal_id: UUID) -> Case:
    """The case of a proposal. Raises LedgerError for an unknown one and for one of another account."""
    with runtime.unit_of_work() as uow:
        proposal, stored_hash, decision, read_at = uow.ledger.proposal_and_decision(proposal_id)
        if proposal.account != runtime.account:  # its balances, its book and its keys are not ours
            raise LedgerError(
                f"proposal {proposal_id} is of account {proposal.account}: its executor decides"
            )
        is_waiting = decision is not None and decision.verdict == _WAITING
        approval = uow.ledger.approval(decision.id) if decision is not None and is_waiting else None
    is_forged = stored_hash != content_hash(proposal)
    return Case(proposal, decision, approval, read_at, is_forged)


def decide(runtime: Runtime, case: Case) -> Decision:
    """The stored decision, also one that was stored since the case was read, or a new one.

    Raises DatabaseUnavailable or ExchangeUnavailable (transient: repeat).
    """
    proposal, approval = case.proposal, case.approval
    if case.decision is not None and (approval is None or _may_be_answered(runtime, approval)):
        return case.decision
    seen = look(runtime, proposal)
    with runtime.unit_of_work() as uow:
        decision = _decide(runtime, uow, case, seen)
    log.info(
        "decided",
        proposal=str(proposal.id),
        symbol=proposal.symbol,
        side=proposal.side.value,
        verdict=decision.verdict,
        reason=decision.reason,
        message=decision.message,
    )
    return decision


def _may_be_answered(runtime: Runtime, approval: Approval) -> bool:
    """Whether a person still has time."""
    return approval.answer is None and runtime.clock.now() <= approval.expires_at


def _decide(
    runtime: Runtime,
    uow: UnitOfWork,
    case: Case,
    seen: MarketLook,
) -> Decision:
    """Review and store under the account's lock; what another has stored meanwhile stays."""
    proposal, approval = case.proposal, case.approval
    shown = snapshot(
        runtime,
        uow,
        proposal,
        seen=seen,
        balances_asked_at=case.read_at,
        agreed_hash=approval.content_hash if approval is not None else None,
    )
    verdict = (
        _forged(case)
        or _unanswered(approval, shown.now)
        or kernel.review(proposal, shown, runtime.limits, checks=runtime.checks)
    )
    figures_shown = figures(shown)
    if approval is None:
        return uow.ledger.save_decision(proposal, verdict, snapshot=figures_shown, decided_at=shown.now)
    if isinstance(verdict, NeedsApproval):  # a person is asked once
        verdict = Denied(reason=ReasonCode.APPROVAL_OF_ANOTHER_CONTENT, message=verdict.message)
    return uow.ledger.settle_decision(proposal, verdict, snapshot=figures_shown, decided_at=shown.now)


def _forged(case: Case) -> Denied | None:
    """Left undecided it would seem to be on its way for ever, and exits and stops wait for what is."""
    if not case.is_forged:
        return None
    message = f"proposal {case.proposal.id} is stored under the hash of other content"
    return Denied(reason=ReasonCode.OTHER_CONTENT, message=message)


def _unanswered(approval: Approval | None, now: datetime) -> Denied | None:
    """Why a person's answer, or its absence, denies; None: nobody was asked, or agreed in time."""
    if approval is None:
        return None
    if approval.answer == DENIED:
        return Denied(reason=ReasonCode.APPROVAL_REFUSED, message=f"refused by {approval.answered_by}")
    if approval.answer is None or now > approval.expires_at:
        return Denied(
            reason=ReasonCode.APPROVAL_EXPIRED,
            message=f"the answer counted until {approval.expires_at}, it is {now}",
        )
    return None
