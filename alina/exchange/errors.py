"""ccxt's errors in ALINA's words.

A read that fails is ExchangeUnavailable (ask again) or ExchangeRefused (fix it first). A submitted
order is only OrderRejected when the exchange itself says that it did not take it; all else, a rate
limit and a server error included, is OrderFateUnknown: one query by client order id settles it.
"""

import re
from datetime import timedelta

import ccxt

from alina.errors import ExchangeError, ExchangeRefused, ExchangeUnavailable, OrderFateUnknown, OrderRejected

#: what an answer of an unexpected shape raises inside ccxt or in our own mapping
UNREADABLE = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError)

_KEY_REMEDY = "check ALINA_EXCHANGE_API_KEY and ALINA_EXCHANGE_SECRET and what the key is allowed to do"
_CLOCK_REMEDY = "this machine's clock differs from the exchange's: synchronise it (NTP)"

_REFUSALS = (
    ccxt.InvalidOrder,
    ccxt.InsufficientFunds,
    ccxt.BadRequest,
    ccxt.OperationRejected,
    ccxt.AuthenticationError,
    # raised before anything is sent
    ccxt.ArgumentsRequired,
    ccxt.NotSupported,
)
_NOT_A_REFUSAL = (ccxt.OrderNotFound, ccxt.OrderNotCached, ccxt.DuplicateOrderId)

# "Duplicate order sent", "client order id already exists": the one that is there may be ours. "Order creation
# timeout" (Bybit), "Network timeout" (KuCoin), "Internal error" (Coins.ph), "Submitted to the system for
# processing" (Bybit): ccxt has classes of refusals for them, although they say that it may have been taken.
_MAY_BE_THERE = re.compile(
    "duplicate|already|timed?[ -]?out|(internal|unknown) error|submitted to", re.IGNORECASE
)


def read_error(error: Exception, exchange_id: str) -> ExchangeError:
    """The error to raise for a request that changes nothing (or whose repetition changes nothing)."""
    said = _said(error, exchange_id)
    match error:
        case ccxt.InvalidNonce():
            return ExchangeUnavailable(f"{said}; {_CLOCK_REMEDY}")
        case ccxt.OperationFailed():
            return ExchangeUnavailable(f"{said}; ask again later", retry_after=_retry_after(error))
        case ccxt.AuthenticationError():
            return ExchangeRefused(f"{said}; {_KEY_REMEDY}")
        case ccxt.BadSymbol():
            return ExchangeRefused(f"{said}; correct market.symbols in config.yaml")
        case ccxt.BaseError() if type(error) is not ccxt.ExchangeError:
            return ExchangeRefused(f"{said}; do not repeat it unchanged")
    # ccxt could not tell what it means: repeating a read is harmless, giving up for good is not
    return ExchangeUnavailable(f"{said}; ask again later")


def submit_error(
    error: Exception, exchange_id: str, client_order_id: str
) -> OrderRejected | OrderFateUnknown:
    """The error to raise for an order that was, or may have been, sent."""
    said = f"order {client_order_id}: {_said(error, exchange_id)}"
    if _is_refusal(error):
        remedy = f"; {_KEY_REMEDY}" if isinstance(error, ccxt.AuthenticationError) else ""
        return OrderRejected(said + remedy)
    return OrderFateUnknown(f"{said}; ask the exchange by client order id before anything else")


def _is_refusal(error: Exception) -> bool:
    return (
        isinstance(error, _REFUSALS)
        and not isinstance(error, _NOT_A_REFUSAL)
        and not _MAY_BE_THERE.search(str(error))
        and not _is_server_error(error)
    )


def _is_server_error(error: Exception) -> bool:
    """A 5xx says nothing of the order's fate, whatever code its body carries."""
    status = getattr(_http_response(error), "status_code", None)
    return isinstance(status, int) and status >= 500


def _retry_after(error: Exception) -> timedelta | None:
    headers = getattr(_http_response(error), "headers", {})
    seconds = str(headers.get("Retry-After", ""))
    return timedelta(seconds=int(seconds)) if seconds.isdigit() else None


def _http_response(error: Exception) -> object | None:
    """The HTTP response behind a ccxt error: it raises while handling the error of `requests`."""
    cause = error.__cause__ or error.__context__
    return getattr(cause, "response", None)


def _said(error: Exception, exchange_id: str) -> str:
    """One short line: no query string (it carries a signature), no page of HTML."""
    text = re.sub(r"\?\S*", "", " ".join(str(error).split()))
    kind = f"{exchange_id} answered in a form that cannot be read" if isinstance(error, UNREADABLE) else ""
    return ": ".join(part for part in (kind, type(error).__name__, text[:300]) if part)
