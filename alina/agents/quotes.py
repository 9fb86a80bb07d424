"""Does a rationale rest on what was told? Its figures and symbols are looked up in the prompt's own data.

A figure that nobody told is invented, or copied from an example: no reason to trade.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal
from typing import Any

_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w)")
_SYMBOL = re.compile(r"\b[A-Z0-9]{2,15}/[A-Z0-9]{2,15}\b")
#: whole numbers up to it count things: two candles, the last 3 days
_COUNTS = 10
#: nobody writes a number that long
_LONG = Context(prec=1000)


def untold_figures(text: str, told: Iterable[str]) -> list[str]:
    """The numbers in `text` that are none of those in `told`, not even rounded; small counts aside.

    Signs and thousands separators do not matter: 96,500 was told by 96500.4, and so was 96500.
    """
    known = [number for each in told for number in _numbers(each).values()]
    return [
        written
        for written, number in _numbers(text).items()
        if not _is_count(number) and not any(_is_rounded(number, exact) for exact in known)
    ]


def texts_in(context: Any) -> Iterator[str]:
    """Every text and number in plain data, however deep."""
    if isinstance(context, Mapping):
        context = [*context, *context.values()]
    if isinstance(context, list | tuple):
        for each in context:
            yield from texts_in(each)
    else:
        yield str(context)


def other_symbols(text: str, symbol: str) -> list[str]:
    """The symbols in `text` but this one."""
    return [each for each in _SYMBOL.findall(text) if each != symbol]


def _numbers(text: str) -> dict[str, Decimal]:
    """As written -> its value."""
    return {found: Decimal(found.replace(",", "")) for found in _NUMBER.findall(text)}


def _is_count(number: Decimal) -> bool:
    return number <= _COUNTS and number == number.to_integral_value()


def _is_rounded(number: Decimal, exact: Decimal) -> bool:
    """Whether `number` is `exact`, rounded or cut to as many decimals as it has itself."""
    digits = Decimal(1).scaleb(int(number.as_tuple().exponent))
    return any(exact.quantize(digits, way, _LONG) == number for way in (ROUND_HALF_UP, ROUND_DOWN))
