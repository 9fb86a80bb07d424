"""One ccxt client: how it connects, what it asks before a request, and what it makes of the answer.

It belongs to one process and one thread.
"""

import difflib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import ccxt
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from alina.errors import ConfigError, ExchangeRefused, ExchangeUnavailable
from alina.exchange.budget import Budget, BudgetSpent
from alina.exchange.errors import UNREADABLE, read_error
from alina.exchange.limits import limits_of
from alina.exchange.traits import traits_of

_T = TypeVar("_T")

_MARKETS_MAX_AGE_SECONDS = 3600.0
#: a symbol that is not listed reloads the markets, but no oftener than this
_MARKETS_MIN_AGE_SECONDS = 60.0


class Client:
    """A ccxt exchange whose answers are read with care, and its list of markets.

    `budget` makes, of the cost a minute that the exchange takes, what each request asks first; without it
    ccxt paces this client alone. Raises ConfigError for an id that ccxt does not know.
    """

    def __init__(
        self, exchange_id: str, options: dict[str, Any], budget: Callable[[Decimal], Budget] | None
    ) -> None:
        self.id = exchange_id
        #: ccxt's own object
        self.api = _make_api(exchange_id, options)
        self._markets_loaded_at: float | None = None
        #: the exchange has refused a time stamp: the next request bears one in the exchange's own time
        self._clock_is_off = False
        self._budget: Budget | None = None
        if budget is not None:
            self._budget = budget(Decimal(60_000) / Decimal(str(self.api.rateLimit)))
            _keep_to(self.api, self._budget)

    def read(self, request: Callable[[], _T]) -> _T:
        """The result of a request that changes nothing, or whose repetition changes nothing.

        Raises ExchangeUnavailable or ExchangeRefused.
        """
        try:
            result = request()
            self.need_json()
        except (ccxt.BaseError, *UNREADABLE) as error:
            self._clock_is_off |= isinstance(error, ccxt.InvalidNonce)
            raise read_error(error, self.id) from error
        return result

    def need_json(self) -> None:
        """A page of HTML with status 200 passes through ccxt as an order without id or an empty list."""
        if self.api.last_json_response is None:
            raise ValueError("the answer is not JSON")

    def complete(self, raws: list[_T]) -> list[_T]:
        """The entries, if none was left out.

        ccxt drops those of another symbol without a word, although an exchange that lists one symbol
        was asked for this one: then it is another request's answer. Others list all symbols, or group them.
        """
        told = self.api.last_json_response
        if traits_of(self.id).lists_one_symbol and isinstance(told, list) and len(told) != len(raws):
            raise ValueError(f"only {len(raws)} of {len(told)} entries are what was asked for")
        return raws

    def answered_at(self) -> datetime:
        """The time (UTC, whole seconds) that the last answer bears. Raises ValueError where it bears none."""
        told = (self.api.last_response_headers or {}).get("Date", "")
        return parsedate_to_datetime(told).astimezone(UTC)

    def need_keys(self) -> None:
        """Raises ExchangeRefused in a process that has none."""
        if not self.api.apiKey:
            raise ExchangeRefused(
                f"{self.id}: this process has no key, so only public market data can be asked; set "
                "ALINA_EXCHANGE_API_KEY and ALINA_EXCHANGE_SECRET where orders are executed"
            )

    def take_order(self) -> None:
        """Raises ExchangeUnavailable where the account must not place an order now."""
        if self._budget is not None:
            with _within_budget():
                self._budget.take_order()

    def market(self, symbol: str) -> dict[str, Any]:
        """ccxt's record of a market, at most an hour old. Raises ExchangeRefused for one not listed."""
        self.load_markets()
        if symbol not in self.api.markets:
            self.load_markets(max_age=_MARKETS_MIN_AGE_SECONDS)
        if symbol not in self.api.markets:
            near = difflib.get_close_matches(symbol, self.api.markets, n=3)
            hint = f" (did you mean {', '.join(near)}?)" if near else ""
            raise ExchangeRefused(
                f"{self.id} does not list {symbol}: correct market.symbols in config.yaml{hint}"
            )
        raw: dict[str, Any] = self.api.markets[symbol]
        return raw

    def load_markets(self, *, max_age: float = _MARKETS_MAX_AGE_SECONDS) -> None:
        """Ask for the markets, and for the limits told with them, unless they are fresh."""
        if self._clock_is_off and self.api.has["fetchTime"] is True:
            self.read(self.api.load_time_difference)
            self._clock_is_off = False
        if self._markets_loaded_at is not None and time.monotonic() - self._markets_loaded_at < max_age:
            return
        self._markets_loaded_at = None  # what a failed reload leaves behind is not trusted
        self.read(lambda: self.api.load_markets(True))
        if not self.api.markets:
            raise ExchangeUnavailable(f"{self.id} lists no market at all; ask again later")
        if self._budget is not None:
            self._budget.keep_within(self.read(lambda: limits_of(self.api.last_json_response)))
        self._markets_loaded_at = time.monotonic()


class FreshConnections(HTTPAdapter):
    """Every request on a connection of its own.

    An answer names no request, so a copy that comes late on a connection kept open is read as the answer to
    the next request: a balance, a candle or an order that is another's. A connection that the exchange
    closes just as it is used again leaves an order's fate unknown. Both cost more than a handshake.
    """

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        self.close()
        return super().send(request, *args, **options)


def _make_api(exchange_id: str, options: dict[str, Any]) -> Any:
    if exchange_id not in ccxt.exchanges:
        near = difflib.get_close_matches(exchange_id, ccxt.exchanges, n=3)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise ConfigError(f"market.exchange.id is {exchange_id!r}, which ccxt does not know{hint}")
    exchange = getattr(ccxt, exchange_id)
    if (options.get("testnet") or options.get("sandbox")) and not exchange().urls.get("test"):
        raise ConfigError(f"{exchange_id} has no testnet: take it out of market.exchange.options")
    api = exchange(options)
    for scheme in ("https://", "http://"):
        api.session.mount(scheme, FreshConnections())
    api.session.max_redirects = 0  # a redirect would send the order, and the key, once more
    api.logger.setLevel(logging.INFO)  # at DEBUG ccxt logs the headers, with the key in them
    return api


@contextmanager
def _within_budget() -> Iterator[None]:
    """A spent budget is an exchange that cannot be asked now. Raises ExchangeUnavailable."""
    try:
        yield
    except BudgetSpent as error:
        raise ExchangeUnavailable(
            f"not sent: {error}", retry_after=timedelta(milliseconds=error.wait_ms)
        ) from error


def _keep_to(api: Any, budget: Budget) -> None:
    """Ask the budget where ccxt would wait, and tell it what each answer says."""
    read = api.on_rest_response

    def throttle(cost: object = None) -> None:
        with _within_budget():
            budget.take(Decimal(str(1 if cost is None else cost)))

    def on_rest_response(
        status: int, reason: str, url: str, method: str, headers: Any, body: str, *rest: Any
    ) -> Any:
        budget.learn(status, headers, body)
        return read(status, reason, url, method, headers, body, *rest)

    api.enableRateLimit = True
    api.throttle, api.on_rest_response = throttle, on_rest_response
