"""Settings with a unit: durations, sizes, money and fractions. A bare number is refused."""

import re
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from alina.domain.market import timeframe_duration

_DURATION_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
#: any time minus this is still a time
_LONGEST = timedelta(days=36500)
_SIZE_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):  # from code, with its unit
        return value
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", str(value).strip())
    if match is None:
        raise ValueError(
            f"{value!r} is no duration: write a number and a unit, e.g. 500ms, 30s, 5m, 24h or 7d"
        )
    number, unit = float(match[1]), _DURATION_UNITS[match[2]]
    if number > _LONGEST / timedelta(**{unit: 1}):
        raise ValueError(f"{value!r} is too long: write at most {duration_text(_LONGEST)}")
    return timedelta(**{unit: number})


def duration_text(value: timedelta) -> str:
    """The shortest exact spelling: 90 s -> "90s", an hour -> "1h"."""
    for unit, name in reversed(_DURATION_UNITS.items()):
        step = timedelta(**{name: 1})
        if value % step == timedelta(0) and (value >= step or unit == "ms"):
            return f"{value // step}{unit}"
    return f"{value / timedelta(seconds=1)}s"


def _size(value: Any) -> int:
    match = re.fullmatch(r"([0-9]+)\s*(MB|GB|MiB|GiB)", str(value).strip())
    if match is None:
        raise ValueError(f"{value!r} is no size: write a whole number and a unit, e.g. 800MB or 47GB")
    return int(match[1]) * _SIZE_UNITS[match[2]]


def size_text(value: int) -> str:
    """The size in the largest unit that leaves a whole number."""
    unit = next(u for u in ("GB", "GiB", "MB", "MiB") if value % _SIZE_UNITS[u] == 0)
    return f"{value // _SIZE_UNITS[unit]}{unit}"


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool | float):
        raise ValueError(f"{value!r} is not exact: write it as text in quotes")  # noqa: TRY004  # pydantic wants ValueError
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is no number: write digits, e.g. 0.03 or 1000") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a finite number")
    return number


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration above zero is needed, e.g. 30s")
    return value


def _timeframe(value: str) -> str:
    timeframe_duration(value)
    return value


def _plain(value: Decimal) -> str:
    return f"{value:f}"


Duration = Annotated[
    timedelta, BeforeValidator(_duration), AfterValidator(_positive), PlainSerializer(duration_text)
]
Size = Annotated[int, BeforeValidator(_size), PlainSerializer(size_text)]
Amount = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0), PlainSerializer(_plain)]
PositiveAmount = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0), PlainSerializer(_plain)]
Fraction = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=1), PlainSerializer(_plain)]
SignedFraction = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=-1, le=1), PlainSerializer(_plain)]
Timeframe = Annotated[str, AfterValidator(_timeframe)]
