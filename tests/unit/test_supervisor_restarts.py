"""When a process is restarted, without any process."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from alina.orchestrator.restarts import QueueState, RestartPolicy, StallWatch

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STALLED_AFTER = timedelta(seconds=150)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def test_the_delay_doubles_from_one_second_up_to_thirty() -> None:
    policy = RestartPolicy()
    assert [policy.delay(failures) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]


@given(failures=st.integers(min_value=1, max_value=10**9))
def test_no_number_of_failures_waits_longer_than_the_longest_delay(failures: int) -> None:
    assert 1 <= RestartPolicy().delay(failures) <= 30


def test_a_minute_of_life_forgets_earlier_failures() -> None:
    policy = RestartPolicy()
    assert policy.failures_after(5, lived=59.9) == 6
    assert policy.failures_after(5, lived=60.0) == 1


def watch(*looks: tuple[datetime, QueueState], worker_since: datetime = NOON) -> list[bool]:
    stalls = StallWatch(STALLED_AFTER)
    return [stalls.is_stalled("q", state, worker_since=worker_since, now=now) for now, state in looks]


def test_a_worker_that_starts_nothing_while_messages_wait_is_stalled() -> None:
    waiting = QueueState(waiting=3, last_started=NOON)
    assert watch((NOON, waiting), (NOON + minutes(2), waiting), (NOON + minutes(3), waiting)) == [
        False,
        False,
        True,
    ]


def test_a_worker_that_never_started_anything_is_stalled_too() -> None:
    waiting = QueueState(waiting=1, last_started=None)
    assert watch((NOON, waiting), (NOON + minutes(3), waiting)) == [False, True]


def test_a_worker_that_starts_tasks_is_not_stalled_however_long_its_queue() -> None:
    looks = [
        (NOON + minutes(n), QueueState(waiting=1000, last_started=NOON + minutes(n - 1))) for n in range(60)
    ]
    assert not any(watch(*looks))


def test_a_message_after_a_quiet_hour_is_no_stall() -> None:
    quiet = QueueState(waiting=0, last_started=NOON)
    filled = QueueState(waiting=1, last_started=NOON)
    hour = NOON + minutes(60)
    assert watch((NOON, quiet), (hour, filled), (hour + minutes(2), filled)) == [False, False, False]


def test_a_queue_that_was_emptied_in_between_counts_from_anew() -> None:
    filled, empty = QueueState(waiting=1, last_started=NOON), QueueState(waiting=0, last_started=NOON)
    looks = ((NOON, filled), (NOON + minutes(2), empty), (NOON + minutes(3), filled))
    assert watch(*looks) == [False, False, False]


def test_a_worker_just_restarted_has_its_time_before_it_is_stalled_again() -> None:
    waiting = QueueState(waiting=3, last_started=NOON)
    looks = ((NOON, waiting), (NOON + minutes(4), waiting), (NOON + minutes(7), waiting))
    assert watch(*looks, worker_since=NOON + minutes(3)) == [False, False, True]
