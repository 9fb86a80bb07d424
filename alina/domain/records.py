"""What every record refuses at construction, so that bad values never enter."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache

from alina.errors import InvalidRecord

_CAN_BE_INEXACT = (float, Decimal, datetime)


class Record:
    """Base of the frozen dataclasses: no float, no naive or non-UTC time, no NaN.

    Subclasses that check more override `__post_init__` and call `Record.__post_init__(self)`
    (a slotted dataclass breaks the bare `super()`).
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for name in _names(type(self)):  # type: ignore[arg-type]  # mypy takes the class for its instance
            value = getattr(self, name)
            if isinstance(value, _CAN_BE_INEXACT):
                refuse_inexact(f"{type(self).__name__}.{name}", value)


@cache  # records are made by the thousand
def _names(kind: type[Record]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))  # type: ignore[arg-type]  # every subclass is a dataclass


def refuse_inexact(name: str, value: object) -> None:
    """Raise InvalidRecord for a float, a NaN or infinite Decimal, or a time that is not aware UTC."""
    if isinstance(value, float):
        raise InvalidRecord(f"{name} is the float {value!r}: build a Decimal from a string instead")
    if isinstance(value, Decimal) and not value.is_finite():
        raise InvalidRecord(f"{name} is {value}: a finite number is needed")
    if isinstance(value, datetime) and value.utcoffset() != timedelta(0):
        raise InvalidRecord(f"{name} is {value!r}: an aware UTC datetime is needed")


def utc_from_ms(milliseconds: int) -> datetime:
    """An aware UTC time from integer milliseconds since the epoch, exact."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


def ms_from_utc(moment: datetime) -> int:
    """Integer milliseconds since the epoch, rounded down."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
