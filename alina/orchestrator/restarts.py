"""Which process is restarted, and when. Pure: no clock and no process of its own."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """Exponential backoff: a process that dies at once waits longer each time. Seconds."""

    first_delay: float = 1.0
    longest_delay: float = 30.0
    healthy_after: float = 60.0  # a life this long forgets the failures before it

    def failures_after(self, failures: int, *, lived: float) -> int:
        """The failures in a row, after a death at the age of `lived`."""
        return 1 if lived >= self.healthy_after else failures + 1

    def delay(self, failures: int) -> float:
        """The wait before the next start, after so many failures in a row."""
        doublings = min(failures - 1, 32)  # 2**32 seconds is longer than any longest delay
        return float(min(self.longest_delay, self.first_delay * 2**doublings))


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """A queue as the broker and the workers' books show it."""

    waiting: int  # messages nobody has taken
    last_started: datetime | None  # when a task from it last began; None: never


@dataclass(slots=True)
class StallWatch:
    """Notices a worker that lives and takes nothing from a queue where messages wait.

    Celery has had several such states (celery #8030, #8091, #10302). A queue that has just filled after a
    quiet hour is no stall: the time counts from the latest of the worker's start, the first message seen
    waiting and the last task begun.
    """

    stalled_after: timedelta
    _waiting_since: dict[str, datetime] = field(default_factory=dict)

    def is_stalled(self, queue: str, state: QueueState, *, worker_since: datetime, now: datetime) -> bool:
        """Whether this queue's worker should be restarted. To be asked regularly, also when all is well."""
        if state.waiting == 0:
            self._waiting_since.pop(queue, None)
            return False
        since = max(
            self._waiting_since.setdefault(queue, now), worker_since, state.last_started or worker_since
        )
        return now - since >= self.stalled_after
