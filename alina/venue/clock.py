"""The market's time as the venue tells it."""

import json
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from alina.domain.records import utc_from_ms
from alina.errors import ExchangeUnavailable

_TIMEOUT_SECONDS = 5


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the venue said. It looked at its clock before we read ours, so we never run ahead of it."""

    market_ms: int
    end_ms: int
    speed: Decimal
    instance: str
    taken_ns: int

    def at(self, monotonic_ns: int) -> int:
        passed = (monotonic_ns - self.taken_ns) * self.speed // 1_000_000
        return min(self.market_ms + int(passed), self.end_ms)


class ReplayClock:
    """A `Clock` over a venue: asks at most every `refresh_seconds`, and counts on in between.

    Never runs backwards, unless another venue answers at the same address. Thread-safe.
    """

    def __init__(self, base_url: str, refresh_seconds: float = 2) -> None:
        self._base_url = base_url
        self._refresh_ns = int(refresh_seconds * 1_000_000_000)
        self._lock = threading.Lock()
        self._reading: _Reading | None = None
        self._latest_ms = 0

    def now(self) -> datetime:
        """Aware UTC market time. Raises ExchangeUnavailable when the venue does not tell it."""
        with self._lock:
            reading = self._reading
            if reading is None or time.monotonic_ns() - reading.taken_ns >= self._refresh_ns:
                reading = self._ask()
                if self._reading is None or reading.instance != self._reading.instance:
                    self._latest_ms = reading.market_ms
                self._reading = reading
            self._latest_ms = max(self._latest_ms, reading.at(time.monotonic_ns()))
            return utc_from_ms(self._latest_ms)

    def _ask(self) -> _Reading:
        address = urlsplit(self._base_url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/venue/v1/clock")
            answer = json.loads(connection.getresponse().read())
            return _Reading(
                market_ms=int(answer["market"]),
                end_ms=int(answer["end"]),
                speed=Decimal(answer["speed"]),
                instance=answer["instance"],
                taken_ns=time.monotonic_ns(),
            )
        except (OSError, HTTPException, ValueError, KeyError, TypeError, InvalidOperation) as error:
            raise ExchangeUnavailable(
                f"the venue at {self._base_url} does not tell the market's time ({error!r}): "
                "see that it runs, or start it with `python -m alina.venue`"
            ) from error
        finally:
            connection.close()
