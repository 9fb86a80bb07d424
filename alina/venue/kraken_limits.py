"""How much a client may ask of Kraken: a counter a key that calls raise and time lowers.

Source: Kraken REST API, "Rate limits": most calls count one, those that read the history two, orders and
cancels none; what exceeds the maximum is refused and does not count. No header tells the counter. Public
calls share one counter an address. Simpler than there: orders are limited by number, not by their age.
"""

#: of Kraken's tiers: the most that the counter may hold, of what it loses in a minute
_MAXIMUM_SHARE = 2 / 3


class CallCounter:
    """One key's or address's calls. `a_minute`: what a minute takes off the counter; None: no limit."""

    def __init__(self, a_minute: int | None) -> None:
        self._a_minute = a_minute
        self._count = 0.0
        self._at_ms = 0

    def take(self, cost: int, wall_ms: int) -> bool:
        """Count a call, unless it would exceed the maximum."""
        if self._a_minute is None:
            return True
        fallen = (wall_ms - self._at_ms) * self._a_minute / 60_000
        self._count, self._at_ms = max(0.0, self._count - fallen), wall_ms
        if self._count + cost > self._a_minute * _MAXIMUM_SHARE:
            return False
        self._count += cost
        return True
