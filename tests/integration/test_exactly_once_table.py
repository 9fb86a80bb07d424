"""Every answer that an exchange is known to give, through `execute`: one order at most, and equal books.

`ROWS` names the measured answers, one a line, by what the server does. Each has its cases here: a row
without one fails the first test. The venue's fault door plays what happens on the wire; a refusal in the
exchange's own words is answered in its place, before the venue sees the request.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import ccxt
import pytest
from requests import PreparedRequest, Response
from system import KEYS, RunningVenue, System, empty, proposal, settings_for, system

from alina import bootstrap
from alina.domain.orders import LedgerOrder, OrderState, OrderType
from alina.domain.portfolio import TradingState
from alina.errors import TransientError
from alina.exchange.client import FreshConnections
from alina.orchestrator import reconciliation, winding_down
from alina.venue.ccxt_options import venue_options

VENUE_SYMBOLS = 60
Make = Callable[..., System]
ORDER = ("POST", "/api/v3/order")
QUERY = ("GET", "/api/v3/order")
CANCEL = ("DELETE", "/api/v3/order")

ROWS = (
    "429 / 418",
    "400 -1003 / -1015",
    "-1021",
    "-1022, -2014, -2015",
    "-1013 LOT_SIZE, PRICE_FILTER, PERCENT_PRICE",
    "-1013 NOTIONAL, MAX_NUM_ORDERS; -1100; -1111",
    "-2010 funds / duplicate / maker / closed",
    "-2011, -2013",
    "-1007, HTTP 504, hang",
    "403, 500, 502, 503 without JSON",
    "order accepted, then FIN or RST",
    "truncated body",
    "HTTP 200 with HTML",
    "the same answer twice",
    "an order that queries show late",
    "an order whose trades are listed late",
    "partly filled, then no answer",
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One answer to one request, and what must have become of the order in the end."""

    row: str
    name: str
    ends: OrderState
    #: of the venue's fault door
    fault: Mapping[str, Any] | None = None
    #: code and words, instead of asking the venue
    refusal: tuple[int, str] | None = None
    of: tuple[str, str] = ORDER
    #: the most that may be sent: twice only where the exchange proves that the first never arrived
    sends: int = 1

    def __str__(self) -> str:
        return f"{self.row}: {self.name}"


def _lost(row: str, name: str, **what: Any) -> Case:
    """It never arrived, which the answer does not say: sent again, once that is proven."""
    return Case(row=row, name=name, ends=OrderState.FILLED, sends=2, **what)


def _refused(row: str, code: int, words: str) -> Case:
    return Case(row=row, name=f"{code} {words}", ends=OrderState.REJECTED, refusal=(code, words))


def _taken(row: str, kind: str, name: str = "", **more: Any) -> Case:
    """It arrived, and the answer did not say so."""
    fault = {"kind": kind, **more}
    return Case(row=row, name=name or kind, ends=OrderState.FILLED, fault=fault)


CASES = (
    _lost(ROWS[0], "429", fault={"kind": "too_many_requests"}),
    _lost(ROWS[0], "429 with Retry-After", fault={"kind": "too_many_requests", "retry_after": 1}),
    _lost(ROWS[0], "418", fault={"kind": "banned"}),
    _lost(ROWS[1], "-1003", refusal=(-1003, "Too many requests; current limit is 6000.")),
    _lost(ROWS[1], "-1015", refusal=(-1015, "Too many new orders; current limit is 100 orders per 10s.")),
    _lost(ROWS[2], "-1021", fault={"kind": "clock_drift"}),
    _refused(ROWS[3], -1022, "Signature for this request is not valid."),
    _refused(ROWS[3], -2014, "API-key format invalid."),
    # ccxt takes it for a ban once the same key has been good before: then it is no refusal
    _lost(ROWS[3], "-2015", refusal=(-2015, "Invalid API-key, IP, or permissions for action.")),
    _refused(ROWS[4], -1013, "Filter failure: LOT_SIZE"),
    _refused(ROWS[4], -1013, "Filter failure: PRICE_FILTER"),
    _refused(ROWS[4], -1013, "Filter failure: PERCENT_PRICE"),
    _refused(ROWS[5], -1013, "Filter failure: NOTIONAL"),
    _refused(ROWS[5], -1013, "Filter failure: MAX_NUM_ORDERS"),
    _refused(ROWS[5], -1100, "Illegal characters found in parameter 'price'."),
    _refused(ROWS[5], -1111, "Precision is over the maximum defined for this asset."),
    _refused(ROWS[6], -2010, "Account has insufficient balance for requested action."),
    _lost(ROWS[6], "duplicate", refusal=(-2010, "Duplicate order sent.")),
    _refused(ROWS[6], -2010, "Order would immediately match and take."),
    _refused(ROWS[6], -2010, "Market is closed."),
    Case(
        row=ROWS[7],
        name="-2011 to a cancel",
        ends=OrderState.CANCELED,
        refusal=(-2011, "Unknown order sent."),
        of=CANCEL,
    ),
    Case(
        row=ROWS[7],
        name="-2013 to the question for an order",
        ends=OrderState.FILLED,
        refusal=(-2013, "Order does not exist."),
        of=QUERY,
    ),
    _taken(ROWS[8], "timeout_after", "-1007, and it is there"),
    _lost(ROWS[8], "-1007, and it is not", fault={"kind": "timeout_before"}),
    _taken(ROWS[8], "error_after", "504, and it is there", status=504),
    _lost(ROWS[8], "504, and it is not", fault={"kind": "error_before", "status": 504}),
    _taken(ROWS[8], "accept_then_hang", "hang", seconds="4"),
    *(
        _taken(ROWS[9], "error_after", f"{status}, and it is there", status=status)
        for status in (403, 500, 502, 503)
    ),
    *(
        _lost(ROWS[9], f"{status}, and it is not", fault={"kind": "error_before", "status": status})
        for status in (403, 500, 502, 503)
    ),
    _taken(ROWS[10], "accept_then_fin"),
    _taken(ROWS[10], "accept_then_rst"),
    _taken(ROWS[11], "truncated_body"),
    _taken(ROWS[12], "html_200"),
    _lost(ROWS[12], "html_200_before", fault={"kind": "html_200_before"}),
    _taken(ROWS[13], "duplicated_response"),
    _taken(ROWS[14], "delayed_visibility", hidden_seconds="0.5"),
    _taken(ROWS[14], "accept_then_rst", "accept_then_rst, hidden", hidden_seconds="0.5"),
    _taken(ROWS[15], "delayed_trades", hidden_seconds="0.5"),
    replace(_taken(ROWS[16], "partial_fill_then_drop"), ends=OrderState.EXPIRED),
)


class Answering(FreshConnections):
    """The way to the venue, on which somebody else may answer one request."""

    def __init__(self) -> None:
        super().__init__()
        self._instead: tuple[tuple[str, str], tuple[int, str]] | None = None

    def once(self, request: tuple[str, str], refusal: tuple[int, str]) -> None:
        self._instead = request, refusal

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        if self._instead is None or (request.method, request.path_url.partition("?")[0]) != self._instead[0]:
            return super().send(request, *args, **options)
        (_, (code, words)), self._instead = self._instead, None
        answer = Response()
        answer.status_code, answer.reason = 400, "Bad Request"
        answer.url, answer.request = str(request.url), request
        answer.headers["Content-Type"] = "application/json"
        answer._content = json.dumps({"code": code, "msg": words}).encode()
        return answer


@dataclass
class Watched:
    """The exchange, with what was sent and what was said of it."""

    exchange: Any
    told: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.exchange, name)

    def submit(self, *args: Any, **more: Any) -> Any:
        self.told.append("sent")
        return self.exchange.submit(*args, **more)

    def find(self, *args: Any) -> Any:
        placed = self.exchange.find(*args)
        self.told.append("absent" if placed is None else "there")
        return placed


@pytest.fixture(scope="module")
def way(venue: RunningVenue) -> Iterator[tuple[Any, Answering]]:
    """A client of its own that waits two seconds for an answer, and the way it takes."""
    settings = settings_for(venue.home, venue.unused[0], "main", market={"exchange": {"timeout": "2s"}})
    with closing(bootstrap.make_exchange(settings, KEYS)) as exchange:
        answering = Answering()
        api = exchange._client.api  # type: ignore[attr-defined]
        api.session.mount("http://", answering)
        yield exchange, answering


@pytest.fixture
def make(venue: RunningVenue, ledger_url: str) -> Make:
    empty(ledger_url)
    return partial(system, venue, ledger_url)


def test_every_row_of_the_table_has_a_case() -> None:
    assert {case.row for case in CASES} == set(ROWS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_one_order_at_most_and_equal_books(
    make: Make, venue: RunningVenue, way: tuple[Any, Answering], case: Case
) -> None:
    exchange, answering = way
    one = make(execution={"settle_after": "1h", "resend_max": 0})
    watched = Watched(exchange)
    one = one.with_parts(exchange=watched)
    wish = proposal(one, **_resting(one) if case.of == CANCEL else {})
    if case.fault is not None:
        venue.fail(method=case.of[0], path=case.of[1], **case.fault)
    if case.refusal is not None:
        answering.once(case.of, case.refusal)

    one.execute(wish.id)
    with suppress(TransientError):
        reconciliation.reconcile(one.runtime)
    one.execute(wish.id)
    assert watched.told.count("sent") == 1, "nothing is sent again before settle_after"

    if case.of == CANCEL:
        winding_down.cancel_open_orders(one.runtime)
        winding_down.cancel_open_orders(one.runtime)
    order = _converged(hurried(one) if case.sends > 1 else one, wish.id)
    assert order.state is case.ends, order
    assert watched.told.count("sent") == order.attempts <= case.sends
    assert "there" not in watched.told[: _last(watched.told, "sent")], "sent on a proof of absence only"
    assert _on_venue(venue, one) == ({order.order.client_order_id} if order.exchange_order_id else set())
    with one.work() as uow:
        assert uow.ledger.fills(one.runtime.account, one.symbol) == one.exchange.fills(one.symbol)
        assert uow.ledger.reserved(one.runtime.account, "USDT") == 0
        assert uow.ledger.account(one.runtime.account).trading_state is TradingState.ACTIVE


def _resting(one: System) -> dict[str, Any]:
    """A limit far enough below the market to rest."""
    return {"order_type": OrderType.LIMIT, "limit_price": Decimal("103.00")}


def hurried(one: System) -> System:
    """The same system once an absence counts; it may send once more."""
    execution = one.runtime.settings.execution.model_copy(
        update={"settle_after": timedelta(milliseconds=1), "resend_max": 1}
    )
    return one.with_parts(settings=one.runtime.settings.model_copy(update={"execution": execution}))


def _converged(one: System, proposal_id: Any) -> LedgerOrder:
    """The order once it is settled, and a reconciliation finds nothing; balances are compared there too."""
    deadline = time.monotonic() + 200
    while True:
        with suppress(TransientError):
            differences = reconciliation.reconcile(one.runtime)
            with one.work() as uow:
                decision = uow.ledger.decision_of(proposal_id)
                assert decision is not None
                order = uow.ledger.order_of(decision.id)
            assert order is not None
            if order.settled and not differences:
                return order
        assert time.monotonic() < deadline, "the books converge"
        time.sleep(0.05)


def _last(words: list[str], word: str) -> int:
    return len(words) - words[::-1].index(word)


def _on_venue(venue: RunningVenue, one: System) -> set[str]:
    """The client order ids of every order that the venue has of the symbol; it would raise for two of one."""
    client = ccxt.binance(
        {**venue_options(venue.url), "enableRateLimit": False}
        | {"apiKey": KEYS.api_key, "secret": KEYS.secret}
    )
    with closing(client):
        names = [str(order["clientOrderId"]) for order in client.fetch_orders(one.symbol)]
    assert len(names) == len(set(names))
    return set(names)
