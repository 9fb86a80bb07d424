"""The venue's limits are Binance's: weight an address, orders an account, a ban for who does not stop."""

import pytest

from alina.venue.params import Params
from alina.venue.rate_limits import RateLimits, weight_of
from alina.venue.refusal import Refusal

MINUTE = 60_000
#: a wall time at the start of a minute, in ms
BEGIN = 1_700_000_040_000
HERE, ELSEWHERE = "10.0.0.1", "10.0.0.2"


@pytest.fixture
def limits() -> RateLimits:
    return RateLimits(weight_a_minute=100, orders_in_10s=3)


def ask(limits: RateLimits, wall: int, *, weight: int = 20, address: str = HERE) -> None:
    limits.use(address, weight, wall)
    limits.check(address, wall)


def refused(limits: RateLimits, wall: int) -> Refusal:
    with pytest.raises(Refusal) as caught:
        ask(limits, wall)
    return caught.value


def banned(limits: RateLimits, wall: int) -> Refusal:
    """The ban of an address that asks on after every 429."""
    limits.use(HERE, 100, wall)
    while (refusal := refused(limits, wall)).status == 429:
        pass
    return refusal


def test_the_limit_itself_is_allowed_and_what_is_above_it_is_told_when_to_come_again(
    limits: RateLimits,
) -> None:
    for _ in range(5):
        ask(limits, BEGIN)
    refusal = refused(limits, BEGIN + 14_500)
    assert (refusal.status, refusal.code, refusal.retry_after) == (429, -1003, 46)
    ask(limits, BEGIN + 14_500 + 46_000)


def test_the_weight_is_counted_an_address(limits: RateLimits) -> None:
    for _ in range(5):
        ask(limits, BEGIN)
    ask(limits, BEGIN, address=ELSEWHERE)
    refused(limits, BEGIN)


def test_who_waits_as_told_is_never_banned(limits: RateLimits) -> None:
    wall = BEGIN
    for _ in range(20):
        for _ in range(5):
            ask(limits, wall)
        wall += 1000 * (refused(limits, wall).retry_after or 0)


def test_who_does_not_stop_is_banned_and_every_time_for_longer(limits: RateLimits) -> None:
    first = banned(limits, BEGIN)
    assert (first.status, first.code, first.retry_after) == (418, -1003, 120)
    assert refused(limits, BEGIN + MINUTE).retry_after == 60
    after = BEGIN + 2 * MINUTE
    ask(limits, after)
    assert banned(limits, after).retry_after == 240


def test_a_ban_ends_after_three_days_at_the_longest(limits: RateLimits) -> None:
    wall = BEGIN
    for _ in range(20):
        wall += 1000 * (banned(limits, wall).retry_after or 0)
    assert banned(limits, wall).retry_after == 3 * 24 * 3600


def test_orders_are_counted_when_taken_and_their_refusal_names_no_time(limits: RateLimits) -> None:
    for number in range(1, 4):
        limits.check_order(BEGIN)
        counts = limits.count_order(BEGIN)
        assert counts == {"X-MBX-ORDER-COUNT-10S": str(number), "X-MBX-ORDER-COUNT-1D": str(number)}
    with pytest.raises(Refusal) as caught:
        limits.check_order(BEGIN + 9_999)
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, -1015, None)
    limits.check_order(BEGIN + 10_000)
    assert limits.count_order(BEGIN + 10_000)["X-MBX-ORDER-COUNT-1D"] == "4"


def test_without_limits_everything_is_counted_and_nothing_refused() -> None:
    limits = RateLimits(weight_a_minute=None, orders_in_10s=None)
    assert limits.use(HERE, 1_000_000, BEGIN) == 1_000_000
    limits.check(HERE, BEGIN)
    for _ in range(1000):
        limits.count_order(BEGIN)
    limits.check_order(BEGIN)
    assert limits.told() == []


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("/api/v3/depth", {"symbol": "BTCUSDT"}, 5),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "101"}, 25),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "5000"}, 250),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "9000"}, 250),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "limit": "many"}, 7),
        ("/api/v3/openOrders", {"symbol": "BTCUSDT"}, 7),
        ("/api/v3/openOrders", {}, 80),
        ("/api/v3/myTrades", {"symbol": "BTCUSDT", "orderId": "1"}, 5),
        ("/api/v3/time", {}, 7),
    ],
)
def test_a_request_weighs_what_it_asks_for(path: str, params: dict[str, str], weight: int) -> None:
    assert weight_of(path, Params(params), usual=7) == weight
