"""How much the exchange may be asked: one budget an IP address, shared by every process through Redis.

Exchanges count per address and per account, so processes that each keep within the limit by themselves
get the address banned together. Units are ccxt's: an exchange takes `60,000 / rateLimit` cost a minute.

What if Redis is away? Whatever can wait fails, since nobody can tell what the others ask meanwhile. What
protects still leaves, in every process up to a local bound: a stop that is not sent costs more than a
refused request, and the bound keeps even several processes within what the shared budget never spends.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Protocol

#: of the bucket, which only requests that protect may empty
RESERVE = Decimal("0.25")
#: of the bucket, which one process may use while the shared budget cannot be asked
_LOCAL_SHARE = Decimal("0.1")
_REFUSED_TOO_MANY = frozenset({418, 429})
#: seconds of a ban whose end the exchange does not name
_UNNAMED_BAN = 60
#: Binance counts weight, five of which are one of ccxt's costs
_USED_HEADERS = {"x-mbx-used-weight-1m": Decimal(5)}

_is_urgent: ContextVar[bool] = ContextVar("_is_urgent", default=False)

# A bucket of `size` that fills at `size` a minute: in no minute more than twice its size leaves, and that is
# the limit. All processes share the clock of Redis. Answers the milliseconds to wait; 0: taken.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local banned = tonumber(redis.call('GET', KEYS[2]) or '0')
if banned > now then return banned - now end
local size, cost, floor = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = math.min(size, tonumber(kept[1] or size) + (now - tonumber(kept[2] or now)) * size / 60000)
local wait = 0
if left - cost < floor then wait = math.ceil((floor + cost - left) * 60000 / size)
else left = left - cost end
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', now)
redis.call('PEXPIRE', KEYS[1], 120000)
return wait
"""

# What the exchange leaves us this minute, after all at this address were counted: never plan for more.
LEARN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local size, rest = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = math.min(size, tonumber(kept[1] or size) + (now - tonumber(kept[2] or now)) * size / 60000, rest)
redis.call('HSET', KEYS[1], 'left', tostring(left), 'at', now)
redis.call('PEXPIRE', KEYS[1], 120000)
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

    def learn(self, status: int, headers: Mapping[str, str]) -> None:
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
    """The Budget of one address at one exchange.

    `limit` is the cost a minute that the exchange takes from the address; never more leaves here.
    """

    def __init__(self, evaluate: Evaluate, name: str, *, limit: Decimal) -> None:
        self._evaluate = evaluate
        self._keys = (f"alina:budget:{{{name}}}", f"alina:budget:{{{name}}}:banned_until")
        self._limit, self._size = limit, limit / 2
        self._local = _LocalBucket(self._size * _LOCAL_SHARE)

    def take(self, cost: Decimal) -> None:
        """Raises BudgetSpent where the request must not leave now."""
        is_urgent = _is_urgent.get()
        floor = Decimal(0) if is_urgent else self._size * RESERVE
        try:
            wait = self._evaluate(TAKE, self._keys, (f"{self._size}", f"{cost}", f"{floor}"))
        except SharedBudgetAway as error:
            if is_urgent and self._local.take(cost):
                return
            raise BudgetSpent(1000, f"the shared request budget cannot be asked: {error}") from error
        if wait:
            raise BudgetSpent(wait, f"the shared request budget is spent for {wait} ms")

    def learn(self, status: int, headers: Mapping[str, str]) -> None:
        """What the exchange says of our use of it. While the server is away it is not kept."""
        told = {name.lower(): value for name, value in headers.items()}
        try:
            if status in _REFUSED_TOO_MANY:
                seconds = int(told["retry-after"]) if told.get("retry-after", "").isdigit() else _UNNAMED_BAN
                self._evaluate(BAN, self._keys, (f"{max(1, seconds) * 1000}",))
            for name, weight in _USED_HEADERS.items():
                if told.get(name, "").isdigit():
                    rest = self._limit - Decimal(told[name]) / weight
                    self._evaluate(LEARN, self._keys, (f"{self._size}", f"{rest}"))
        except SharedBudgetAway:
            return


class _LocalBucket:
    """A bucket of this process alone, filling with every minute."""

    def __init__(self, size: Decimal) -> None:
        self._size = self._left = size
        self._at = time.monotonic()

    def take(self, cost: Decimal) -> bool:
        now = time.monotonic()
        filled = self._size * Decimal(str(now - self._at)) / 60
        self._left, self._at = min(self._size, self._left + filled), now
        if self._left < cost:
            return False
        self._left -= cost
        return True
