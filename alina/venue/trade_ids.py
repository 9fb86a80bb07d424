"""The numbers of a venue's trades: all accounts count together, for their trades are told together."""

from collections.abc import Iterator


class TradeIds(Iterator[int]):
    """Whole numbers, each once."""

    def __init__(self) -> None:
        self._next = 1

    def __next__(self) -> int:
        self._next += 1
        return self._next - 1

    def begin_from(self, number: int) -> None:
        """Give none below it from now on: those are on some account's books."""
        self._next = max(self._next, number)
