"""Scripted failures, for tests of clients: what is to go wrong, with which requests, and how often it did."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from random import Random
from typing import Any

from alina.venue.refusal import Refusal

ANY = "*"
#: what a fault without a method or a path may meet; the venue's own doors stay whole
_API = ("/api/", "/0/")


class FaultKind(StrEnum):
    """In all of the first group the request is carried out and committed before anything goes wrong."""

    #: the connection is closed (FIN) without an answer
    ACCEPT_THEN_FIN = "accept_then_fin"
    #: the connection is reset (RST) without an answer
    ACCEPT_THEN_RST = "accept_then_rst"
    #: nothing is said for `seconds`, then the connection is closed
    ACCEPT_THEN_HANG = "accept_then_hang"
    #: answered with `status` (503) and no JSON
    ERROR_AFTER = "error_after"
    #: answered with -1007: "execution status unknown"
    TIMEOUT_AFTER = "timeout_after"
    #: half of the answer's body, then the connection is closed
    TRUNCATED_BODY = "truncated_body"
    #: answered with status 200 and a page of HTML
    HTML_200 = "html_200"
    #: the bytes of the answer come twice on one connection, at once
    DUPLICATED_RESPONSE = "duplicated_response"
    #: the second copy comes as the answer to the next request on that connection
    LATE_DUPLICATE = "late_duplicate"
    #: answered as ever, but queries do not show the order for `hidden_seconds`
    DELAYED_VISIBILITY = "delayed_visibility"
    #: answered as ever and shown, but its trades are in no list for `hidden_seconds`
    DELAYED_TRADES = "delayed_trades"
    #: the book holds half of what the order asks for; then as ACCEPT_THEN_FIN
    PARTIAL_FILL_THEN_DROP = "partial_fill_then_drop"
    #: wait `seconds`, then carry on
    DELAY = "delay"

    #: from here on nothing of the request is looked at: answered with `status` (503) and no JSON
    ERROR_BEFORE = "error_before"
    #: answered with -1007, though nothing was done
    TIMEOUT_BEFORE = "timeout_before"
    #: answered with status 200 and a page of HTML
    HTML_200_BEFORE = "html_200_before"
    #: 429, with Retry-After where `retry_after` is set
    TOO_MANY_REQUESTS = "too_many_requests"
    #: 418, likewise
    BANNED = "banned"
    #: -1021: the timestamp is outside of the receive window
    CLOCK_DRIFT = "clock_drift"

    @property
    def carries_out(self) -> bool:
        """Whether the request has its effect."""
        return self not in _WITHOUT_EFFECT


_WITHOUT_EFFECT = frozenset(
    {
        FaultKind.ERROR_BEFORE,
        FaultKind.TIMEOUT_BEFORE,
        FaultKind.HTML_200_BEFORE,
        FaultKind.TOO_MANY_REQUESTS,
        FaultKind.BANNED,
        FaultKind.CLOCK_DRIFT,
    }
)
#: names that scripts from before used
_FORMER_KINDS = {"accept_then_drop": FaultKind.ACCEPT_THEN_FIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to `count` of the requests of this method and path, each with this probability."""

    kind: FaultKind
    #: "POST", or "*"
    method: str = ANY
    #: "/api/v3/order", or "*" for all of the API
    path: str = ANY
    count: int = 1
    probability: Decimal = Decimal(1)
    #: of the draws: the same requests meet the same faults
    seed: int = 0
    #: how long ACCEPT_THEN_HANG and DELAY wait
    seconds: Decimal = Decimal(0)
    #: how long no query shows an order that the request placed; for every kind that carries out
    hidden_seconds: Decimal = Decimal(0)
    #: HTTP; None: the kind's own
    status: int | None = None
    #: seconds
    retry_after: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.probability <= 1 or min(self.seconds, self.hidden_seconds) < 0:
            raise ValueError("count from 1, probability above 0 up to 1, seconds from 0")
        hides = self.kind in (FaultKind.DELAYED_VISIBILITY, FaultKind.DELAYED_TRADES)
        if hides and not self.hidden_seconds:
            raise ValueError(f"{self.kind} needs hidden_seconds")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Fault":
        """Raises Refusal for a fault that is none."""
        try:
            given = {_FORMER_NAMES.get(name, name): value for name, value in values.items()}
            kind = str(given.pop("kind"))
            read = {name: _READERS[name](value) for name, value in given.items() if value is not None}
            return cls(kind=_FORMER_KINDS.get(kind) or FaultKind(kind), **read)
        except (LookupError, TypeError, ValueError, AttributeError, InvalidOperation) as error:
            raise Refusal(-1100, f"no fault: {error!r}; see alina.venue.faults.Fault") from None

    def fits(self, method: str, path: str) -> bool:
        return self.method in (ANY, method) and (
            self.path == path or (self.path == ANY and path.startswith(_API))
        )


_FORMER_NAMES = {"delay_seconds": "seconds"}


def _exact(value: object) -> Decimal:
    return Decimal(str(value))


_READERS: dict[str, Any] = {
    "method": str,
    "path": str,
    "count": int,
    "probability": _exact,
    "seed": int,
    "seconds": _exact,
    "hidden_seconds": _exact,
    "status": int,
    "retry_after": int,
}


@dataclass(slots=True)
class _Waiting:
    """A fault with what is left of it."""

    fault: Fault
    left: int
    draws: Random

    def happens(self, method: str, path: str) -> bool:
        return self.fault.fits(method, path) and self.draws.random() < self.fault.probability


@dataclass(slots=True)
class FaultScript:
    """The faults still to come, in the order they were set, and how many requests met each kind."""

    met: Counter[FaultKind] = field(default_factory=Counter)
    _waiting: list[_Waiting] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        # repeatable, not secret
        self._waiting.append(_Waiting(fault, fault.count, Random(fault.seed)))  # noqa: S311

    def clear(self) -> None:
        """Forget the faults still to come."""
        self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, one use of it spent."""
        for one in self._waiting:
            if one.happens(method, path):
                one.left -= 1
                if not one.left:
                    self._waiting.remove(one)
                self.met[one.fault.kind] += 1
                return one.fault
        return None

    def report(self) -> dict[str, dict[str, int]]:
        """How many requests met each kind, and how many uses of each are left."""
        left: Counter[FaultKind] = Counter()
        for one in self._waiting:
            left[one.fault.kind] += one.left
        return {
            "met": {str(kind): count for kind, count in self.met.items()},
            "left": {str(kind): count for kind, count in left.items()},
        }
