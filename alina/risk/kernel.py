"""The one gate between a proposal and an order. Fails closed."""

from collections.abc import Sequence

from alina.domain.decisions import Approved, Denied, Proposal, ReasonCode, Verdict, content_hash
from alina.risk.checks import CHECKS, Check, spend
from alina.risk.limits import Limits, Snapshot


def review(
    proposal: Proposal, snapshot: Snapshot, limits: Limits, *, checks: Sequence[Check] = CHECKS
) -> Verdict:
    """Approved for exactly this content, or the first denial. Never raises."""
    try:
        for check in checks:
            denied = check(proposal, snapshot, limits)
            if denied is not None:
                return denied
        asset, amount = spend(proposal, snapshot, limits)
        return Approved(content_hash=content_hash(proposal), reserve_asset=asset, reserve_amount=amount)
    except Exception as error:  # a check that fails for any reason is a denial
        return Denied(reason=ReasonCode.KERNEL_ERROR, message=f"{type(error).__name__}: {error}")
