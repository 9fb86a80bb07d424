"""The checks that `risk.checks` of config.yaml names, built-in ones and those of installed packages.

A package offers a check as an entry point of the group `alina.risk_checks`: a callable
(Proposal, Snapshot, Limits) -> Denied | None, with reason codes from 900 to 989, or from 990 on where it
could not tell.
"""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

from alina.errors import ConfigError
from alina.risk.amounts import Check, limit_of
from alina.risk.checks import BUILT_IN, POLICY, VALIDITY
from alina.risk.checks.market import assets
from alina.risk.composition import all_of, any_of, guarded, not_
from alina.risk.limits import Limits

GROUP = "alina.risk_checks"
#: stands for every built-in check, in their order
ALL_BUILT_IN = "built_in"

Spec = str | Mapping[str, Any]


def build(specs: Sequence[Spec], limits: Limits) -> tuple[Check, ...]:
    """The kernel's checks: first what keeps an order valid, always; then these, in this order.

    Raises ConfigError for an unknown name or shape, for a composite that a null limit would decide, and for
    a limit that is set and that none of them looks at.
    """
    checks = list(VALIDITY)
    for spec in specs:
        checks += POLICY if spec == ALL_BUILT_IN else (_check(spec, limits, is_decisive=False),)
    _refuse_idle_limits(set(_names(specs)), limits)
    return tuple(checks)


def _refuse_idle_limits(named: set[str], limits: Limits) -> None:
    """A limit that nobody looks at protects nothing: it is switched off by name, by null, or not at all."""
    if ALL_BUILT_IN in named:
        return
    idle = [check.__name__ for check in POLICY if check.__name__ not in named and _is_set(check, limits)]
    if idle:
        raise ConfigError(
            f"risk.checks leaves out {', '.join(idle)}, whose limits are set: add {ALL_BUILT_IN} or these "
            "names, or set the limits to null"
        )


def _is_set(check: Check, limits: Limits) -> bool:
    if check is assets:  # of two lists, and an empty one denies nothing
        return bool(limits.denied_assets) or limits.allowed_assets is not None
    name = limit_of(check)
    return name is not None and getattr(limits, name) is not None


def _names(specs: Sequence[Any]) -> Iterator[str]:
    """Every check that is named, at any depth."""
    for spec in specs:
        if isinstance(spec, str):
            yield spec
            continue
        (inner,) = spec.values()
        yield from _names(inner if isinstance(inner, list | tuple) else [inner])


def _check(spec: Spec, limits: Limits, *, is_decisive: bool) -> Check:
    """The check of one entry. `is_decisive`: below any or not, where a check that is off would count."""
    if isinstance(spec, str):
        return _named(spec, limits, is_decisive=is_decisive)
    if not isinstance(spec, Mapping) or len(spec) != 1:
        raise ConfigError(f"risk.checks: {spec!r}: write a name, or one of all, any and not with its own")
    ((kind, inner),) = spec.items()
    if kind == "not" and isinstance(inner, str | Mapping):
        return not_(_check(inner, limits, is_decisive=True), str(inner))
    if kind in {"all", "any"} and isinstance(inner, list | tuple) and inner:
        decisive = is_decisive or kind == "any"
        members = (_check(one, limits, is_decisive=decisive) for one in inner)
        return all_of(*members) if kind == "all" else any_of(*members)
    raise ConfigError(f"risk.checks: {spec!r}: write all: [NAME, ...], any: [NAME, ...] or not: NAME")


def _named(name: str, limits: Limits, *, is_decisive: bool) -> Check:
    check = BUILT_IN.get(name)
    if check is None:
        return _offered(name)
    limit = limit_of(check)
    if is_decisive and limit is not None and not _is_set(check, limits):
        raise ConfigError(
            f"risk.checks: {name} is off while risk.{limit} is null or empty, so it cannot stand below any "
            "or not: set that limit, or take the check out"
        )
    return check


def _offered(name: str) -> Check:
    """A plugin's check."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        known = ", ".join(sorted({ALL_BUILT_IN, *BUILT_IN, *points}))
        raise ConfigError(f"risk.checks: {name!r} is no known check: known are {known}; install its package")
    try:
        return guarded(points[name].load(), name)
    except Exception as error:  # a plugin's import may raise anything
        raise ConfigError(
            f"risk.checks: {name} cannot be loaded ({error}): mend or remove its package"
        ) from error
