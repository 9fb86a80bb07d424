"""One request budget for every process at an address, in a real Redis."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from binance_like import ORDER, SYMBOL, BinanceLike, connect, limit_buy, listed, says, serving
from redis import Redis

from alina.errors import ExchangeUnavailable, OrderFateUnknown
from alina.exchange.budget import RESERVE, BudgetSpent, SharedBudget, urgent
from alina.exchange.budget_server import BudgetServer
from alina.exchange.ccxt_exchange import CcxtExchange
from alina.exchange.limits import Limits
from alina.venue.spec import VenueSpec

#: cost a minute; the bucket is half of it
LIMIT = Decimal(1200)
SIZE = LIMIT / 2
#: orders in a day, and in the two hours that no test lasts
ORDERS = {7_200_000: 40, 86_400_000: 1000}


@pytest.fixture
def url(redis_server: str) -> str:
    Redis.from_url(redis_server).flushall()
    return redis_server


@pytest.fixture
def budget(url: str) -> SharedBudget:
    return on(url)


def on(url: str, *, account: str = "main", limit: Decimal = LIMIT) -> SharedBudget:
    """The budget of a process at this Redis, after it read the exchange's limits."""
    budget = SharedBudget(BudgetServer(url).evaluate, "binance", account=account, limit=limit)
    budget.keep_within(Limits(None, ORDERS))
    return budget


def away(*_: object) -> SharedBudget:
    return on("redis://127.0.0.1:1/0")


def ordered(budget: SharedBudget) -> int:
    """How many orders may leave until the budget says no."""
    for number in range(1000):
        try:
            budget.take_order()
        except BudgetSpent:
            return number
    raise AssertionError("the order budget has no end")


def taken(budget: SharedBudget, cost: str = "10") -> Decimal:
    """What can be had until the budget says no."""
    total = Decimal(0)
    while True:
        try:
            budget.take(Decimal(cost))
        except BudgetSpent:
            return total
        total += Decimal(cost)


TAKING = """
import sys
from decimal import Decimal
from alina.exchange.budget import BudgetSpent, SharedBudget
from alina.exchange.budget_server import BudgetServer
import os
from alina.exchange.limits import Limits
from alina.venue.spec import VenueSpec
budget = SharedBudget(
    BudgetServer(os.environ["BUDGET_URL"]).evaluate, "binance", account="main", limit=Decimal(1200)
)
budget.keep_within(Limits(None, {7_200_000: 40}))
print("ready", flush=True)
sys.stdin.readline()
granted = 0
for _ in range(500):
    try:
        budget.take(Decimal(1))
        granted += 1
    except BudgetSpent:
        pass
orders = 0
for _ in range(100):
    try:
        budget.take_order()
        orders += 1
    except BudgetSpent:
        pass
print(granted, orders)
"""


def test_processes_that_share_a_redis_never_ask_for_more_than_one_budget(url: str) -> None:
    processes = [_start("-c", TAKING, BUDGET_URL=url) for _ in range(4)]
    assert [_line(process) for process in processes] == ["ready"] * 4
    began = time.monotonic()
    for process in processes:
        _go(process)
    answers = [process.communicate(timeout=200)[0].split() for process in processes]
    granted, orders = (sum(int(each[column]) for each in answers) for column in (0, 1))
    seconds = Decimal(str(time.monotonic() - began))
    at_first = SIZE * (1 - RESERVE)
    assert at_first - 1 <= granted <= at_first + seconds * SIZE / 60 + 1
    assert 15 <= orders <= 15 + seconds * 20 / 7200 + 1


def test_orders_are_counted_an_account_and_what_protects_has_its_share(url: str) -> None:
    one, same, another = on(url), on(url), on(url, account="second")
    assert ordered(one) + ordered(same) == 20 * (1 - RESERVE)
    with urgent():
        assert ordered(same) == 20 * RESERVE
        assert ordered(one) == 0
    assert ordered(another) == 15


def test_the_longer_window_of_orders_counts_too(url: str) -> None:
    budget = on(url)
    budget.keep_within(Limits(None, {7_200_000: 40, 86_400_000: 8}))
    with urgent():
        assert ordered(budget) == 4


def test_the_exchanges_count_of_orders_lowers_the_budget(url: str) -> None:
    budget = on(url)
    budget.keep_within(Limits(None, {10_000: 40, 86_400_000: 1000}))
    budget.learn(200, {"X-MBX-ORDER-COUNT-10S": "3", "X-MBX-ORDER-COUNT-1D": "998"}, "{}")
    with urgent():
        assert ordered(budget) == 2


@pytest.mark.parametrize(
    ("headers", "least", "most"), [({}, 7_000_000, 7_200_000), ({"Retry-After": "900"}, 1, 900_000)]
)
def test_too_many_orders_stop_orders_alone_as_long_as_the_exchange_says(
    url: str, headers: dict[str, str], least: int, most: int
) -> None:
    budget, other = on(url), on(url)
    budget.learn(429, headers, '{"code": -1015, "msg": "Too many new orders; current limit is 40"}')
    with pytest.raises(BudgetSpent) as error, urgent():
        other.take_order()
    assert least <= error.value.wait_ms <= most
    other.take(Decimal(10))  # a cancel, a query


def test_a_published_limit_that_is_smaller_counts(url: str) -> None:
    budget = on(url)
    budget.keep_within(Limits(600, {}))
    with urgent():
        assert 60 - 10 <= taken(budget) <= 60


def test_what_protects_may_use_the_reserve_that_nothing_else_touches(budget: SharedBudget) -> None:
    assert taken(budget) >= SIZE * (1 - RESERVE) - 10
    with urgent():
        assert taken(budget) >= SIZE * RESERVE - 10
    with pytest.raises(BudgetSpent), urgent():
        budget.take(Decimal(100))


@pytest.mark.parametrize("status", [418, 429])
def test_a_ban_of_one_process_stops_all_of_them_urgent_or_not(
    url: str, budget: SharedBudget, status: int
) -> None:
    other = on(url)
    other.learn(status, {"Retry-After": "120"}, "")
    other.learn(status, {"Retry-After": "1"}, "")  # the later end counts
    with pytest.raises(BudgetSpent) as error, urgent():
        budget.take(Decimal(1))
    assert 60_000 < error.value.wait_ms <= 120_000


@pytest.mark.parametrize(("status", "body"), [(429, ""), (418, "<html>"), (400, '{"code":-1003,"msg":""}')])
def test_a_refusal_that_names_no_end_stops_a_minute(budget: SharedBudget, status: int, body: str) -> None:
    budget.learn(status, {}, body)
    with pytest.raises(BudgetSpent) as error:
        budget.take(Decimal(1))
    assert 0 < error.value.wait_ms <= 60_000


def test_the_exchanges_own_count_lowers_the_budget_and_never_raises_it(budget: SharedBudget) -> None:
    budget.learn(200, {"X-MBX-USED-WEIGHT-1M": "0"}, "")
    assert taken(budget) < SIZE
    budget.learn(200, {"X-MBX-USED-WEIGHT-1M": "0"}, "")
    assert taken(budget) < 100  # what a few seconds bring back, not half a minute's
    budget.learn(200, {"x-mbx-used-weight-1m": str(int(LIMIT) * 5)}, "")  # somebody else at this address
    with pytest.raises(BudgetSpent), urgent():
        budget.take(Decimal(10))


def test_without_redis_nothing_leaves_but_what_protects_and_that_within_a_bound() -> None:
    budget = away()
    with pytest.raises(BudgetSpent, match="cannot be asked"):
        budget.take(Decimal(1))
    with pytest.raises(BudgetSpent, match="cannot be asked"):
        budget.take_order()
    with urgent():
        assert 0 < taken(budget) <= SIZE * Decimal("0.1") + 10
        assert ordered(budget) == 2
    budget.learn(429, {"Retry-After": "5"}, "")  # not kept, and no error


def test_the_adapter_asks_before_it_sends(url: str) -> None:
    def exchange(budget: Callable[[Decimal], SharedBudget]) -> CcxtExchange:
        return CcxtExchange(
            "binance", api_key="k", secret="s", options={}, timeout=timedelta(seconds=1), budget=budget
        )

    made: list[Decimal] = []

    def spent(limit: Decimal) -> SharedBudget:
        made.append(limit)
        budget = on(url, limit=limit)
        budget.learn(418, {"Retry-After": "60"}, "")
        return budget

    for make in (spent, away):
        with pytest.raises(ExchangeUnavailable, match="not sent"):  # sockets leave loopback in no test
            exchange(make).market("BTC/USDT")
    assert made == [LIMIT]


LIMITED = {
    "symbols": [listed("BTC")],
    "rateLimits": [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
    ],
}
CANCELED = {**ORDER, "status": "CANCELED", "origClientOrderId": "al-1"}


@pytest.fixture
def server() -> Iterator[BinanceLike]:
    with serving(BinanceLike()) as server:
        server.answers["GET exchangeInfo"] = says(200, LIMITED)
        server.answers["GET time"] = says(200, {"serverTime": 1})
        server.answers["DELETE order"] = says(200, CANCELED)
        yield server


@pytest.fixture
def exchange(url: str, server: BinanceLike) -> Iterator[CcxtExchange]:
    exchange = connect(server, budget=lambda limit: fresh(url, limit))
    yield exchange
    exchange.close()


def fresh(url: str, limit: Decimal) -> SharedBudget:
    """The budget of a process that has not read the exchange's limits yet."""
    return SharedBudget(BudgetServer(url).evaluate, "binance", account="main", limit=limit)


@pytest.mark.parametrize("status", [429, 400])
def test_after_too_many_orders_none_is_sent_and_everything_else_is(
    server: BinanceLike, exchange: CcxtExchange, status: int
) -> None:
    refusal = {"code": -1015, "msg": "Too many new orders; current limit is 100 orders per 10 SECOND."}
    server.answers["POST order"] = says(status, refusal, headers={"Retry-After": "3600"})
    for words in ("Too many new orders", "not sent"):
        with pytest.raises(OrderFateUnknown, match=words), urgent():
            exchange.submit(limit_buy())
    assert server.seen["POST order"] == 1
    assert exchange.cancel(SYMBOL, "al-1") is True
    assert exchange.clock_difference_ms() < 0


def test_a_cancel_leaves_although_the_order_budget_is_spent(
    server: BinanceLike, exchange: CcxtExchange
) -> None:
    counted = {"X-MBX-ORDER-COUNT-10S": "100", "X-MBX-ORDER-COUNT-1D": "200000"}
    server.answers["POST order"] = says(200, ORDER, headers=counted)
    exchange.submit(limit_buy())
    with pytest.raises(OrderFateUnknown, match="not sent"), urgent():
        exchange.submit(limit_buy())
    assert server.seen["POST order"] == 1
    assert exchange.cancel(SYMBOL, "al-1") is True


ORDERING = """
import os, sys
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4
from alina.domain.orders import Order, OrderSide, OrderType
from alina.errors import OrderFateUnknown
from alina.exchange.budget import SharedBudget
from alina.exchange.budget_server import BudgetServer
from alina.exchange.ccxt_exchange import CcxtExchange
from alina.venue.ccxt_options import venue_options
server = BudgetServer(os.environ["BUDGET_URL"])
exchange = CcxtExchange(
    "binance", api_key="k", secret="s", options=venue_options(os.environ["VENUE_URL"]),
    timeout=timedelta(seconds=10),
    budget=lambda limit: SharedBudget(server.evaluate, "paper:binance", account="main", limit=limit),
)
exchange.market("BTC/USDT")
print("ready", flush=True)
sys.stdin.readline()
outcomes = []
for _ in range(15):
    try:
        exchange.submit(Order(client_order_id=uuid4().hex, account="main", symbol="BTC/USDT",
            side=OrderSide.BUY, order_type=OrderType.MARKET, quantity=Decimal("0.01")))
        outcomes.append("placed")
    except OrderFateUnknown as error:
        outcomes.append("held" if "not sent" in str(error) else "refused")
print(*outcomes)
"""


def test_processes_that_order_together_are_never_refused_by_the_venue(url: str, tmp_path: Path) -> None:
    spec = VenueSpec(
        folder=tmp_path,
        speed=Decimal(0),
        balances={"USDT": Decimal(1_000_000)},
        api_key="k",
        secret="s",
        weight_limit=3000,
        order_limit_10s=20,
    )
    spec.write(tmp_path / "spec.json")
    venue = _start("-m", "alina.venue", str(tmp_path / "spec.json"))
    try:
        addresses = {"BUDGET_URL": url, "VENUE_URL": _line(venue).split()[-1]}
        processes = [_start("-c", ORDERING, **addresses) for _ in range(2)]
        assert [_line(process) for process in processes] == ["ready", "ready"]
        for process in processes:
            _go(process)
        outcomes = Counter(
            word for process in processes for word in process.communicate(timeout=200)[0].split()
        )
    finally:
        venue.terminate()
        venue.communicate(timeout=200)
    assert outcomes["refused"] == 0
    assert outcomes["placed"] >= 7
    assert outcomes.total() == 30


def _start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
