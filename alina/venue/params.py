"""The parameters of one request, refused in Binance's words where they are missing or malformed."""

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from alina.venue.refusal import Refusal

_E = TypeVar("_E", bound=StrEnum)
_AMOUNT = r"([0-9]{1,20})(\.[0-9]{1,20})?"
#: what every signed request may bear
OF_SIGNATURES = ("timestamp", "recvWindow", "signature")
#: of whole numbers: a thousand times as much is still a number of 64 bits
_MOST_DIGITS = 15
_CLIENT_ORDER_ID = r"[a-zA-Z0-9-_.:/]{1,36}"


class Params:
    """Query and form parameters by name."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Raises Refusal -1102 where it is missing."""
        value = self._values.get(name, "")
        if not value:
            raise Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return value

    def integer(self, name: str, *, most_digits: int = _MOST_DIGITS) -> int:
        return int(self._legal(name, self.text(name), f"[0-9]{{1,{most_digits}}}"))

    def optional_integer(self, name: str, *, most_digits: int = _MOST_DIGITS) -> int | None:
        return self.integer(name, most_digits=most_digits) if self.has(name) else None

    def amount(self, name: str) -> Decimal:
        return Decimal(self._legal(name, self.text(name), _AMOUNT))

    def optional_client_order_id(self, name: str) -> str | None:
        return self._legal(name, self._values[name], _CLIENT_ORDER_ID) if self.has(name) else None

    def limit(self, *, default: int, most: int) -> int:
        """How many rows are wanted, at most `most`."""
        return min(self.optional_integer("limit") or default, most)

    def choice(self, name: str, kind: type[_E], code: int, words: str) -> _E:
        """One of an enumeration. Raises the Refusal `code` with `words` for any other."""
        try:
            return kind(self.text(name))
        except ValueError:
            raise Refusal(code, words) from None

    def has(self, name: str) -> bool:
        return bool(self._values.get(name))

    def only(self, known: Collection[str]) -> None:
        """Raise Refusal -1104 for any other: what is passed over might have changed what is done."""
        read = sum(name in known for name in self._values)
        if read < len(self._values):
            raise Refusal(
                -1104,
                f"Not all sent parameters were read; read '{read}' parameter(s) "
                f"but was sent '{len(self._values)}'.",
            )

    def _legal(self, name: str, value: str, pattern: str) -> str:
        if re.fullmatch(pattern, value, re.ASCII) is None:
            raise Refusal(
                -1100, f"Illegal characters found in parameter '{name}'; legal range is '^{pattern}$'."
            )
        return value
