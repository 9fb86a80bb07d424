"""What the venue refuses, in Binance's own codes and words.

Source: Binance Spot API, "Error codes for Binance".
"""

_DUPLICATE = "Duplicate order sent."


class Refusal(Exception):
    """One refused request: a protocol's answer, so it never leaves the venue as an error of ours.

    Answered as `{"code": ..., "msg": ...}` with an HTTP status; `retry_after` in seconds.
    """

    def __init__(self, code: int, message: str, *, status: int = 400, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after

    @property
    def is_duplicate(self) -> bool:
        """An open order has this client order id already."""
        return self.message == _DUPLICATE


def filter_failure(name: str) -> Refusal:
    """The order breaks the named filter of its symbol."""
    return Refusal(-1013, f"Filter failure: {name}")


def order_refused(words: str) -> Refusal:
    """The order fits the filters, but the account or the market does not take it."""
    return Refusal(-2010, words)


def duplicate_order() -> Refusal:
    """An open order has this client order id already."""
    return order_refused(_DUPLICATE)
