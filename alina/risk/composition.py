"""Checks made of checks: all, any and not.

An unknown never becomes an approval. Three things see to it: a check that lacks a figure raises `Unknown`,
and no composite catches anything; a denial whose reason `is_unknown` is the answer of every composite that
meets it, `not_` included; a check that is switched off is refused inside `any` and `not`, where its silence
would count as a yes or a no (see `registry.build`).
"""

from alina.domain.decisions import Denied, Proposal, ReasonCode
from alina.risk.amounts import Check, deny, is_protective
from alina.risk.limits import Limits, Snapshot

#: characters of a plugin's message
_LONGEST = 500


def all_of(*checks: Check) -> Check:
    """Passes where every one passes; else the first denial."""

    def composed(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Denied | None:
        for check in checks:
            denied = check(proposal, snapshot, limits)
            if denied is not None:
                return denied
        return None

    return composed


def any_of(*checks: Check) -> Check:
    """Passes where one passes and none before it is unknown; else the first unknown or the last denial.

    Raises ValueError without a check: nothing would ever pass, or everything.
    """
    if not checks:
        raise ValueError("any_of needs a check")

    def composed(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Denied | None:
        denied = None
        for check in checks:
            denied = check(proposal, snapshot, limits)
            if denied is None or denied.reason.is_unknown:
                return denied
        return denied

    return composed


def not_(check: Check, name: str) -> Check:
    """Passes where the check denies for a reason it knows. About entries: no negation holds an exit back."""

    def composed(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Denied | None:
        if proposal.reduce_only:
            return None
        denied = check(proposal, snapshot, limits)
        if denied is None:
            return deny(ReasonCode.NEGATED_CHECK, f"{name} holds, and must not")
        return denied if denied.reason.is_unknown else None

    return composed


def guarded(check: Check, name: str) -> Check:
    """Somebody else's check: it cannot hold a protective exit back, borrow our codes, or pass by failing."""

    def composed(proposal: Proposal, snapshot: Snapshot, limits: Limits) -> Denied | None:
        if is_protective(proposal):
            return None
        try:
            denied = check(proposal, snapshot, limits)
        except Exception as error:  # whatever it is, it is no approval
            return deny(ReasonCode.PLUGIN_UNKNOWN, _shown(f"{name}: {type(error).__name__}: {error}"))
        if denied is None:
            return None
        if not isinstance(denied, Denied):
            return deny(ReasonCode.PLUGIN_UNKNOWN, _shown(f"{name}: neither None nor Denied: {denied!r}"))
        reason = denied.reason if denied.reason >= ReasonCode.PLUGIN else ReasonCode.PLUGIN
        reason = ReasonCode.PLUGIN_UNKNOWN if denied.reason.is_unknown else reason
        return deny(reason, _shown(f"{name}: {denied.message}"))

    return composed


def _shown(said: str) -> str:
    """What a row and a terminal take of it: a plugin may quote whatever stands on a chain."""
    return "".join(sign if sign.isprintable() else " " for sign in said[:_LONGEST])
