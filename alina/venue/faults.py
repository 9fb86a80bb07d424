"""Scripted failures, for tests of clients: a list of faults, each used up a number of times."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from alina.venue.refusal import Refusal


class FaultKind(StrEnum):
    #: the request is carried out and committed, then the connection is aborted without an answer
    ACCEPT_THEN_DROP = "accept_then_drop"
    #: HTTP 503 before anything is looked at
    ERROR_BEFORE = "error_before"
    #: wait, then carry on
    DELAY = "delay"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the next `count` requests of this method and path."""

    kind: FaultKind
    method: str
    path: str
    count: int = 1
    delay_seconds: Decimal = Decimal(0)


class FaultScript:
    """The faults still to come, in the order they were set."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, values: Mapping[str, Any]) -> None:
        """Raises Refusal for a fault that is none."""
        try:
            fault = Fault(
                kind=FaultKind(values["kind"]),
                method=str(values["method"]),
                path=str(values["path"]),
                count=int(values.get("count", 1)),
                delay_seconds=Decimal(str(values.get("delay_seconds", 0))),
            )
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise Refusal(-1100, f"no fault: {error!r}; see alina.venue.faults.Fault") from None
        self._faults.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, one use of it spent."""
        for index, fault in enumerate(self._faults):
            if (fault.method, fault.path) == (method, path):
                left = replace(fault, count=fault.count - 1)
                self._faults[index : index + 1] = [left] if left.count > 0 else []
                return fault
        return None
