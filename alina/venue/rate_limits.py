"""How much a client may ask: Binance's request weight an address and its orders an account.

Source: Binance Spot API, "LIMITS". Windows are fixed parts of the wall clock; times in ms since the epoch.
Simpler than there: every placed order counts, also one that was filled.
"""

from collections import defaultdict

from alina.venue.params import Params
from alina.venue.refusal import Refusal

_MINUTE_MS = 60_000
_TEN_SECONDS_MS = 10_000
_DAY_MS = 86_400_000
#: requests refused with 429 in one minute, after which the address is banned
_PATIENCE = 10
_FIRST_BAN_MS = 2 * _MINUTE_MS
_LONGEST_BAN_MS = 3 * _DAY_MS
#: what a request weighs that asks for all symbols
_OF_ALL_SYMBOLS = {
    "/api/v3/openOrders": 80,
    "/api/v3/ticker/24hr": 80,
    "/api/v3/ticker/price": 4,
    "/api/v3/ticker/bookTicker": 4,
}
#: up to so many levels of the book: weight
_OF_DEPTH = ((100, 5), (500, 25), (1000, 50), (5000, 250))
_OF_ONE_ORDERS_TRADES = 5


def weight_of(path: str, params: Params, usual: int) -> int:
    """What a request weighs; `usual` where its parameters do not matter."""
    if path == "/api/v3/depth":
        try:
            levels = params.optional_integer("limit") or 100
        except Refusal:  # it is refused in its turn
            return usual
        return next((weight for most, weight in _OF_DEPTH if levels <= most), _OF_DEPTH[-1][1])
    if path == "/api/v3/myTrades" and params.has("orderId"):
        return _OF_ONE_ORDERS_TRADES
    return usual if params.has("symbol") else _OF_ALL_SYMBOLS.get(path, usual)


class Window:
    """A count that begins anew with every `length_ms` of the wall clock."""

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._number = 0
        self._count = 0

    def count(self, wall: int, more: int = 0) -> int:
        """The sum of the current window, `more` included."""
        number = wall // self._length_ms
        if number != self._number:
            self._number, self._count = number, 0
        self._count += more
        return self._count


class Address:
    """The request weight of one IP address, and its bans."""

    def __init__(self) -> None:
        self._weight = Window(_MINUTE_MS)
        self._refused = Window(_MINUTE_MS)
        self._banned_until_ms = 0
        self._bans = 0

    def use(self, weight: int, wall: int) -> int:
        """Count it and return the minute's sum."""
        return self._weight.count(wall, weight)

    def check(self, limit: int, wall: int) -> None:
        """Raise the Refusal of a request above the limit: 429, and 418 for one who does not stop."""
        if wall < self._banned_until_ms:
            raise self._banned(wall)
        if self._weight.count(wall) <= limit:
            return
        if self._refused.count(wall, 1) > _PATIENCE:
            self._banned_until_ms = wall + min(_FIRST_BAN_MS << self._bans, _LONGEST_BAN_MS)
            self._bans += 1
            raise self._banned(wall)
        raise Refusal(
            -1003,
            f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API.",
            status=429,
            retry_after=_seconds(_MINUTE_MS - wall % _MINUTE_MS),
        )

    def _banned(self, wall: int) -> Refusal:
        return Refusal(
            -1003,
            f"Way too much request weight used; IP banned until {self._banned_until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans.",
            status=418,
            retry_after=_seconds(self._banned_until_ms - wall),
        )


def _seconds(milliseconds: int) -> int:
    """Whole seconds, rounded up: who waits so long comes after the end."""
    return -(-milliseconds // 1000)


class RateLimits:
    """The counts of one venue. A limit that is None is counted and never enforced."""

    def __init__(self, *, weight_a_minute: int | None, orders_in_10s: int | None) -> None:
        self.weight_a_minute = weight_a_minute
        self.orders_in_10s = orders_in_10s
        self._addresses: defaultdict[str, Address] = defaultdict(Address)
        self._in_10s = Window(_TEN_SECONDS_MS)
        self._in_day = Window(_DAY_MS)

    def use(self, address: str, weight: int, wall: int) -> int:
        """Count a request and return the weight that its address used in this minute."""
        return self._addresses[address].use(weight, wall)

    def check(self, address: str, wall: int) -> None:
        """Raise the Refusal of a request beyond the weight limit. It is to be counted first."""
        if self.weight_a_minute is not None:
            self._addresses[address].check(self.weight_a_minute, wall)

    def check_order(self, wall: int) -> None:
        """Raise the Refusal of an order beyond the limit: 429, with no word of when to come again."""
        limit = self.orders_in_10s
        if limit is not None and self._in_10s.count(wall) >= limit:
            raise Refusal(
                -1015, f"Too many new orders; current limit is {limit} orders per 10 SECOND.", status=429
            )

    def count_order(self, wall: int) -> dict[str, str]:
        """Count an order that was taken. Returns the headers that tell the counts."""
        return {
            "X-MBX-ORDER-COUNT-10S": str(self._in_10s.count(wall, 1)),
            "X-MBX-ORDER-COUNT-1D": str(self._in_day.count(wall, 1)),
        }

    def told(self) -> list[dict[str, object]]:
        """As exchangeInfo tells what is enforced."""
        limits = (
            ("REQUEST_WEIGHT", "MINUTE", 1, self.weight_a_minute),
            ("ORDERS", "SECOND", 10, self.orders_in_10s),
        )
        return [
            {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
            for kind, interval, number, limit in limits
            if limit is not None
        ]
