"""The one gate between a proposal and an order. Fails closed."""

from collections.abc import Sequence

from alina.domain.decisions import (
    Approved,
    Denied,
    NeedsApproval,
    Proposal,
    ReasonCode,
    Verdict,
    content_hash,
)
from alina.risk.amounts import Unknown, notional, spend
from alina.risk.checks import CHECKS, Check
from alina.risk.limits import Limits, Snapshot


def review(
    proposal: Proposal, snapshot: Snapshot, limits: Limits, *, checks: Sequence[Check] = CHECKS
) -> Verdict:
    """Approved for exactly this content, the first denial, or a question to a person. Never raises."""
    try:
        for check in checks:
            denied = check(proposal, snapshot, limits)
            if denied is not None:
                return denied
        asset, amount = spend(proposal, snapshot, limits)
        agreed = _agreement_missing(proposal, snapshot, limits)
        if agreed is not None:
            return agreed
        return Approved(content_hash=content_hash(proposal), reserve_asset=asset, reserve_amount=amount)
    except Unknown as unknown:
        return unknown.denied
    except Exception as error:  # a check that fails for any reason is a denial
        return Denied(reason=ReasonCode.KERNEL_ERROR, message=f"{type(error).__name__}: {error}")


def _agreement_missing(
    proposal: Proposal, snapshot: Snapshot, limits: Limits
) -> NeedsApproval | Denied | None:
    """What stands between a sound entry and its order: a person's yes to exactly this content."""
    if limits.approval_above is None or proposal.reduce_only:
        return None
    amount = notional(proposal, snapshot)
    if amount <= limits.approval_above or snapshot.agreed_hash == content_hash(proposal):
        return None
    if snapshot.agreed_hash is not None:
        return Denied(
            reason=ReasonCode.APPROVAL_OF_ANOTHER_CONTENT,
            message=f"a person agreed to {snapshot.agreed_hash}, this is {content_hash(proposal)}",
        )
    return NeedsApproval(
        message=f"notional {amount} is above {limits.approval_above}",
        expires_at=min(proposal.expires_at, snapshot.now + limits.approval_ttl),
    )
