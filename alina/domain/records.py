"""What every record refuses at construction, so that bad values never enter."""

from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from operator import attrgetter
from typing import Any, cast

from alina.errors import InvalidRecord

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


class Record:
    """Base of the frozen dataclasses: no float, no naive or non-UTC time, no NaN.

    Subclasses that check more override `__post_init__` and call `Record.__post_init__(self)`
    (a slotted dataclass breaks the bare `super()`).
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        for value in _values(type(self))(self):  # type: ignore[arg-type]  # mypy takes the class for its instance
            check = _CHECKS[type(value)]
            if check is not None and not check(value):
                _refuse(self)


@cache  # records are made by the thousand
def _names(kind: type[Record]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))  # type: ignore[arg-type]  # every subclass is a dataclass


@cache
def _values(kind: type[Record]) -> Callable[[Record], tuple[object, ...]]:
    """What reads the fields of a record."""
    names = _names(kind)  # type: ignore[arg-type]  # as above
    if len(names) > 1:
        return cast("Callable[[Record], tuple[object, ...]]", attrgetter(*names))
    return lambda record: tuple(getattr(record, name) for name in names)


class _Checks(dict[type, Callable[[Any], bool] | None]):
    """By the type of a value, what it must pass; None: it is exact by its nature."""

    def __missing__(self, kind: type) -> Callable[[Any], bool] | None:
        self[kind] = next((check for base, check in _EXACT.items() if issubclass(kind, base)), None)
        return self[kind]


def _is_utc(moment: datetime) -> bool:
    return moment.tzinfo is UTC or moment.utcoffset() == timedelta(0)


_EXACT: dict[type, Callable[[Any], bool]] = {
    float: lambda number: False,
    Decimal: Decimal.is_finite,
    datetime: _is_utc,
}
_CHECKS = _Checks()


def _refuse(record: Record) -> None:
    for name in _names(type(record)):  # type: ignore[arg-type]  # as above
        refuse_inexact(f"{type(record).__name__}.{name}", getattr(record, name))


def refuse_inexact(name: str, value: object) -> None:
    """Raise InvalidRecord for a float, a NaN or infinite Decimal, or a time that is not aware UTC."""
    if isinstance(value, float):
        raise InvalidRecord(f"{name} is the float {value!r}: build a Decimal from a string instead")
    if isinstance(value, Decimal) and not value.is_finite():
        raise InvalidRecord(f"{name} is {value}: a finite number is needed")
    if isinstance(value, datetime) and not _is_utc(value):
        raise InvalidRecord(f"{name} is {value!r}: an aware UTC datetime is needed")


def utc_from_ms(milliseconds: int) -> datetime:
    """An aware UTC time from integer milliseconds since the epoch, exact."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def ms_from_utc(moment: datetime) -> int:
    """Integer milliseconds since the epoch, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND
