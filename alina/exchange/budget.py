"""How much the exchange may be asked: one budget an IP address and one an account, shared through Redis.

Exchanges count requests per address and orders per account, so processes that each keep within the limits by
themselves get both banned together. Requests are counted in ccxt's cost: an exchange takes
`60,000 / rateLimit` of it a minute.

What if Redis is away? Whatever can wait fails, since nobody can tell what the others ask meanwhile. What
protects still leaves, in every process up to a local bound: a stop that is not sent costs more than a
refused request, and the bound keeps even several processes within what the shared budget never spends.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from decimal import Decimal
from typing import Protocol

from alina.exchange.limits import WEIGHT_A_COST, Limits, Word, word_of

#: of the bucket, which only requests that protect may empty
RESERVE = Decimal("0.25")
#: of the bucket, which one process may use while the shared budget cannot be asked
_LOCAL_SHARE = Decimal("0.1")
_MINUTE_MS = 60_000

_is_urgent: ContextVar[bool] = ContextVar("_is_urgent", default=False)

# A bucket of `size` that fills once in a window: in no window more than twice its size leaves, and that is
# the limit. All processes share the clock of Redis. Answers the milliseconds to wait; 0: taken.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local banned = tonumber(redis.call('GET', KEYS[2]) or '0')
if banned > now then return banned - now end
local size, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local cost, floor = tonumber(ARGV[3]), tonumber(ARGV[4])
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = math.min(size, tonumber(kept[1] or size) + (now - tonumber(kept[2] or now)) * size / window)
local wait = 0
if left - cost < floor then wait = math.ceil((floor + cost - left) * window / size)
else left = left - cost end
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', now)
redis.call('PEXPIRE', KEYS[1], 2 * window)
return wait
"""

# What the exchange leaves us in this window, after all that it counts together: never plan for more.
LEARN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local size, window, rest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local filled = tonumber(kept[1] or size) + (now - tonumber(kept[2] or now)) * size / window
local left = math.min(size, filled, rest)
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', now)
redis.call('PEXPIRE', KEYS[1], 2 * window)
return 0
"""

# Every process stops until then; a ban that is known to end later stays.
BAN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = now + tonumber(ARGV[1])
if ends > tonumber(redis.call('GET', KEYS[2]) or '0') then
    redis.call('SET', KEYS[2], ends, 'PX', tonumber(ARGV[1]))
end
return 0
"""

#: runs a script with its keys and arguments on the shared server. Raises SharedBudgetAway
Evaluate = Callable[[str, tuple[str, ...], tuple[str, ...]], int]


class SharedBudgetAway(Exception):
    """The server that holds the budget does not answer."""


class BudgetSpent(Exception):
    """The request was not sent: ask again after so many milliseconds."""

    def __init__(self, wait_ms: int, reason: str) -> None:
        super().__init__(reason)
        self.wait_ms = wait_ms


class Budget(Protocol):
    """What a client asks before each request and tells after each answer."""

    def take(self, cost: Decimal) -> None:
        """Raises BudgetSpent where the request must not leave now."""
        ...

    def take_order(self) -> None:
        """The same for an order, beside the request that carries it. A cancel is none."""
        ...

    def keep_within(self, limits: Limits) -> None:
        """The limits that the exchange has published."""
        ...

    def learn(self, status: int, headers: Mapping[str, str], body: str) -> None:
        """What the exchange says of our use of it."""
        ...


@contextmanager
def urgent(is_urgent: bool = True) -> Iterator[None]:
    """Requests within protect what is held, or learn an order's fate: they may use the reserve."""
    token = _is_urgent.set(is_urgent or _is_urgent.get())
    try:
        yield
    finally:
        _is_urgent.reset(token)


class SharedBudget:
    """The Budget of one address and one account at an exchange.

    `limit` is the cost a minute that the exchange takes from the address. Of it, and of the orders that it
    takes from the account, never more than `share` leaves here.
    """

    def __init__(
        self,
        evaluate: Evaluate,
        exchange: str,
        *,
        account: str,
        limit: Decimal,
        share: Decimal = Decimal(1),
    ) -> None:
        self._evaluate, self._limit, self._share = evaluate, limit, share
        self._address, self._account = (
            f"alina:budget:{{{exchange}}}",
            f"alina:budget:{{{exchange}/{account}}}",
        )
        self._requests = self._bucket(self._address, limit, _MINUTE_MS)
        #: the shortest window first
        self._orders: tuple[_SharedBucket, ...] = ()

    def take(self, cost: Decimal) -> None:
        """Raises BudgetSpent where the request must not leave now."""
        self._requests.take(cost)

    def take_order(self) -> None:
        """Raises BudgetSpent where the account must not place an order now."""
        for bucket in self._orders:
            bucket.take(Decimal(1))

    def keep_within(self, limits: Limits) -> None:
        """The limits that the exchange has published: a smaller one than was known counts."""
        if limits.weight_a_minute is not None:
            most = min(self._limit, limits.weight_a_minute / WEIGHT_A_COST)
            self._requests = self._bucket(self._address, most, _MINUTE_MS)
        self._orders = tuple(
            self._bucket(f"{self._account}:{window_ms}", Decimal(most), window_ms)
            for window_ms, most in sorted(limits.orders.items())
        )

    def learn(self, status: int, headers: Mapping[str, str], body: str) -> None:
        """What the exchange says of our use of it. While the server is away it is not kept."""
        with suppress(SharedBudgetAway):
            self._keep(word_of(status, headers, body))

    def _keep(self, word: Word) -> None:
        if word.too_many_requests:
            self._requests.ban(word.retry_after_ms)
        if word.too_many_orders:
            for bucket in self._orders[:1]:
                bucket.ban(word.retry_after_ms)
        if word.used_weight is not None:
            self._requests.learn(word.used_weight / WEIGHT_A_COST)
        for bucket in self._orders:
            if bucket.window_ms in word.orders:
                bucket.learn(Decimal(word.orders[bucket.window_ms]))

    def _bucket(self, key: str, limit: Decimal, window_ms: int) -> "_SharedBucket":
        return _SharedBucket(self._evaluate, key, limit * self._share, window_ms)


class _SharedBucket:
    """Never lets more than `limit` through in a window, whichever process asks."""

    def __init__(self, evaluate: Evaluate, key: str, limit: Decimal, window_ms: int) -> None:
        self.window_ms = window_ms
        self._evaluate, self._limit, self._size = evaluate, limit, limit / 2
        self._keys = (key, f"{key}:banned_until")
        self._local = _LocalBucket(self._size * _LOCAL_SHARE, window_ms)

    def take(self, cost: Decimal) -> None:
        """Raises BudgetSpent."""
        is_urgent = _is_urgent.get()
        floor = Decimal(0) if is_urgent else self._size * RESERVE
        try:
            wait = self._run(TAKE, f"{cost}", f"{floor}")
        except SharedBudgetAway as error:
            if is_urgent and self._local.take(cost):
                return
            raise BudgetSpent(1000, f"the shared request budget cannot be asked: {error}") from error
        if wait:
            raise BudgetSpent(wait, f"the shared budget {self._keys[0]} is spent for {wait} ms")

    def learn(self, used: Decimal) -> None:
        """What the exchange has counted in its window. Raises SharedBudgetAway."""
        self._run(LEARN, f"{self._limit - used}")

    def ban(self, wait_ms: int | None) -> None:
        """Let nothing through for so long; where the exchange names no end, a window. SharedBudgetAway."""
        self._evaluate(BAN, self._keys, (f"{wait_ms or self.window_ms}",))

    def _run(self, script: str, *arguments: str) -> int:
        return self._evaluate(script, self._keys, (f"{self._size}", f"{self.window_ms}", *arguments))


class _LocalBucket:
    """A bucket of this process alone, filling once in a window."""

    def __init__(self, size: Decimal, window_ms: int) -> None:
        self._size = self._left = size
        self._window = Decimal(window_ms) / 1000
        self._at = time.monotonic()

    def take(self, cost: Decimal) -> bool:
        now = time.monotonic()
        filled = self._size * Decimal(str(now - self._at)) / self._window
        self._left, self._at = min(self._size, self._left + filled), now
        if self._left < cost:
            return False
        self._left -= cost
        return True
