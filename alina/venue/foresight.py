"""When a recorded path first does something: each stretch of it is searched once, whoever asks how often."""

from collections.abc import Callable

#: so much further than asked is searched at once, in candles: a block of them costs as much as one
AHEAD = 4096


class Foresight:
    """The answer to one question about the path, asked for later and later times. Times are market ms.

    For the simulation itself, which must know when something happens next; nothing of it is told to traders.
    """

    __slots__ = ("_ahead", "_found", "_search", "_searched", "_since")

    def __init__(self, search: Callable[[int, int], int | None], interval_ms: int) -> None:
        """`search` gives the first moment in (since, until]. `interval_ms`: of the path's candles."""
        self._search, self._ahead = search, AHEAD * interval_ms
        self._found: int | None = None
        #: there is nothing in (_since, _searched] but what was found
        self._since = self._searched = 0

    def first(self, since: int, until: int) -> int | None:
        """The first moment in (since, until]; None: there is none."""
        if self._found is not None and self._since <= since < self._found:
            return self._found if self._found <= until else None
        is_known = self._found is None and self._since <= since <= self._searched
        start = self._searched if is_known else since
        if not is_known:
            self._since = since
        if start < until or not is_known:
            self._searched = max(until, start + self._ahead)
            self._found = self._search(start, self._searched)
        return self._found if self._found is not None and self._found <= until else None
