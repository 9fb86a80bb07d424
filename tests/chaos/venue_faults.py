"""Every way in which the venue fails an order, and what may be known of the order afterwards.

`ORDER_FAULTS` has at least one case of every kind: the import fails on a kind without one.
"""

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from alina.venue.faults import FaultKind

Settings = Mapping[str, Any]
PLACE_ORDER = {"method": "POST", "path": "/api/v3/order"}
#: how long the venue says nothing, or does not show an order
SECONDS = "0.5"


class Outcome(StrEnum):
    """What the answer to a submit proves."""

    REFUSED = "refused"
    ACCEPTED = "accepted"
    #: only asking by client order id can tell
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class OrderFault:
    """One way to fail a POST of an order."""

    kind: FaultKind
    #: the most that a client may conclude; UNKNOWN is never wrong
    proves: Outcome
    settings: Settings

    @property
    def name(self) -> str:
        return " ".join([self.kind, *(f"{name}={value}" for name, value in self.settings.items())])

    @property
    def is_placed(self) -> bool:
        """Whether the venue has the order."""
        return self.kind.carries_out

    @property
    def hides(self) -> bool:
        """Whether queries deny the order for a while."""
        return "hidden_seconds" in self.settings

    def script(self, **more: Any) -> dict[str, Any]:
        """The fields of the fault, for `FaultDoor.add`."""
        return {"kind": str(self.kind), **PLACE_ORDER, **self.settings, **more}


@dataclass(frozen=True, slots=True)
class FaultDoor:
    """The fault door of the venue at `url`."""

    url: str

    def add(self, **fault: Any) -> None:
        """Script a fault; its fields are those of `alina.venue.faults.Fault`."""
        self._ask("POST", fault)

    def report(self) -> dict[str, dict[str, int]]:
        """How many requests `met` each kind, and how many uses of each are `left`."""
        report: dict[str, dict[str, int]] = self._ask("GET")
        return report

    def clear(self) -> None:
        """Forget the faults still to come."""
        self._ask("DELETE")

    def _ask(self, method: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/venue/v1/faults", method=method, data=data)  # noqa: S310  # loopback
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


_HIDDEN = {"hidden_seconds": SECONDS}
_WAITING = {"seconds": SECONDS}
_STATUSES: tuple[Settings, ...] = tuple({"status": status} for status in (500, 502, 503, 504))

_CASES: Mapping[FaultKind, tuple[Outcome, tuple[Settings, ...]]] = {
    FaultKind.ACCEPT_THEN_FIN: (Outcome.UNKNOWN, ({}, _HIDDEN)),
    FaultKind.ACCEPT_THEN_RST: (Outcome.UNKNOWN, ({}, _HIDDEN)),
    FaultKind.ACCEPT_THEN_HANG: (Outcome.UNKNOWN, (_WAITING, _WAITING | {"hidden_seconds": "1"})),
    FaultKind.ERROR_AFTER: (Outcome.UNKNOWN, _STATUSES),
    FaultKind.TIMEOUT_AFTER: (Outcome.UNKNOWN, ({}, _HIDDEN)),
    FaultKind.TRUNCATED_BODY: (Outcome.UNKNOWN, ({}, _HIDDEN)),
    FaultKind.HTML_200: (Outcome.UNKNOWN, ({}, _HIDDEN)),
    FaultKind.DUPLICATED_RESPONSE: (Outcome.ACCEPTED, ({},)),
    FaultKind.LATE_DUPLICATE: (Outcome.ACCEPTED, ({},)),
    FaultKind.DELAYED_VISIBILITY: (Outcome.ACCEPTED, (_HIDDEN,)),
    FaultKind.DELAYED_TRADES: (Outcome.ACCEPTED, (_HIDDEN,)),
    FaultKind.PARTIAL_FILL_THEN_DROP: (Outcome.UNKNOWN, ({}, _HIDDEN)),
    FaultKind.DELAY: (Outcome.ACCEPTED, (_WAITING,)),
    FaultKind.ERROR_BEFORE: (Outcome.UNKNOWN, (*_STATUSES, {"status": 403})),
    FaultKind.TIMEOUT_BEFORE: (Outcome.UNKNOWN, ({},)),
    FaultKind.HTML_200_BEFORE: (Outcome.UNKNOWN, ({},)),
    FaultKind.TOO_MANY_REQUESTS: (Outcome.REFUSED, ({}, {"retry_after": 1})),
    FaultKind.BANNED: (Outcome.REFUSED, ({}, {"retry_after": 1})),
    FaultKind.CLOCK_DRIFT: (Outcome.REFUSED, ({},)),
}

ORDER_FAULTS = tuple(
    OrderFault(kind, _CASES[kind][0], settings) for kind in FaultKind for settings in _CASES[kind][1]
)
