"""What was searched once gives what searching each time would give."""

from hypothesis import given
from hypothesis import strategies as st

from alina.venue.foresight import AHEAD, Foresight

MOMENTS = st.integers(0, 3 * AHEAD)


@given(events=st.lists(MOMENTS, max_size=6), asked=st.lists(st.tuples(MOMENTS, MOMENTS), max_size=8))
def test_the_first_moment_is_the_same_whatever_was_asked_before(
    events: list[int], asked: list[tuple[int, int]]
) -> None:
    def search(since: int, until: int) -> int | None:
        return min((one for one in events if since < one <= until), default=None)

    foresight = Foresight(search, interval_ms=1)
    for since, until in asked:
        assert foresight.first(since, until) == search(since, until)


def test_what_is_asked_step_by_step_is_searched_once() -> None:
    searched = []

    def search(since: int, until: int) -> int | None:
        searched.append((since, until))
        return None

    foresight = Foresight(search, interval_ms=60_000)
    assert all(foresight.first(minute, minute + 1) is None for minute in range(0, 10_000_000, 60_000))
    assert len(searched) == 1
