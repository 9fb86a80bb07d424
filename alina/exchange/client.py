"""The ccxt client that the adapter drives: how it is made, how it connects, what it asks before a request."""

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import ccxt
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from alina.errors import ConfigError, ExchangeUnavailable
from alina.exchange.budget import Budget, BudgetSpent


class FreshConnections(HTTPAdapter):
    """Every request on a connection of its own.

    An answer names no request, so a copy that comes late on a connection kept open is read as the answer to
    the next request: a balance, a candle or an order that is another's. A connection that the exchange
    closes just as it is used again leaves an order's fate unknown. Both cost more than a handshake.
    """

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        self.close()
        return super().send(request, *args, **options)


def make_client(exchange_id: str, options: dict[str, Any]) -> Any:
    """The ccxt client of an exchange. Raises ConfigError for an id that ccxt does not know."""
    if exchange_id not in ccxt.exchanges:
        near = difflib.get_close_matches(exchange_id, ccxt.exchanges, n=3)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise ConfigError(f"market.exchange.id is {exchange_id!r}, which ccxt does not know{hint}")
    client = getattr(ccxt, exchange_id)(options)
    for scheme in ("https://", "http://"):
        client.session.mount(scheme, FreshConnections())
    client.session.max_redirects = 0  # a redirect would send the order, and the key, once more
    client.logger.setLevel(logging.INFO)  # at DEBUG ccxt logs the headers, with the key in them
    return client


@contextmanager
def within_budget() -> Iterator[None]:
    """A spent budget is an exchange that cannot be asked now. Raises ExchangeUnavailable."""
    try:
        yield
    except BudgetSpent as error:
        raise ExchangeUnavailable(
            f"not sent: {error}", retry_after=timedelta(milliseconds=error.wait_ms)
        ) from error


def keep_to(client: Any, budget: Budget) -> None:
    """Ask the budget where ccxt would wait, and tell it what each answer says."""
    read = client.on_rest_response

    def throttle(cost: object = None) -> None:
        with within_budget():
            budget.take(Decimal(str(1 if cost is None else cost)))

    def on_rest_response(
        status: int, reason: str, url: str, method: str, headers: Any, body: str, *rest: Any
    ) -> Any:
        budget.learn(status, headers, body)
        return read(status, reason, url, method, headers, body, *rest)

    client.enableRateLimit = True
    client.throttle, client.on_rest_response = throttle, on_rest_response
