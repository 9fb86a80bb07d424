from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from alina.domain.ports import Fact
from alina.memory.facts import ended, is_visible

START = datetime(2026, 1, 1, tzinfo=UTC)
hours = st.integers(0, 20)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def fact(number: int, valid: int, created: int) -> Fact:
    return Fact(
        id=UUID(int=number),
        subject="BTC/USDT",
        predicate="closed_trade",
        text="won",
        valid_at=at(valid),
        invalid_at=None,
        created_at=at(created),
        expired_at=None,
        source_id=None,
    )


@given(valid=hours, created=hours, later_valid=hours, later_created=hours, now=hours)
def test_the_past_looks_the_same_after_a_fact_was_superseded(
    valid: int, created: int, later_valid: int, later_created: int, now: int
) -> None:
    older = fact(1, valid, created)
    newer = fact(2, valid + later_valid, created + later_created)
    before_it_was_known = now < created + later_created
    if before_it_was_known:
        assert is_visible(ended(older, by=newer), at(now)) == is_visible(older, at(now))
    else:
        assert not is_visible(ended(older, by=newer), at(now))


def test_an_end_that_is_given_twice_is_the_same_end() -> None:
    older, newer = fact(1, 0, 0), fact(2, 3, 4)
    once = ended(older, by=newer)
    assert once == replace(older, invalid_at=at(3), expired_at=at(4))
    assert ended(once, by=newer) == once
