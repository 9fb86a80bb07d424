"""The two times of a fact: what was visible when, and how one fact ends another.

A supersession is itself knowledge: it counts from `expired_at` on. Before that moment the older
fact stands as it was believed then, or a backtest would know its end in advance.
"""

from dataclasses import replace
from datetime import datetime

from alina.domain.ports import Fact
from alina.errors import MemoryStoreError


def is_visible(fact: Fact, as_of: datetime) -> bool:
    """Whether the fact was known at `as_of` and, by what was known then, true."""
    if fact.created_at > as_of or fact.valid_at > as_of:
        return False
    end = fact.invalid_at if fact.expired_at is None else fact.expired_at
    return end is None or end > as_of


def ended(older: Fact, *, by: Fact) -> Fact:
    """The older fact with the end that `by` gives it; unchanged if it already has this end.

    Raises MemoryStoreError for a fact that ended otherwise, and for one that is newer than `by`.
    """
    result = replace(older, invalid_at=by.valid_at, expired_at=by.created_at)
    if older == result:
        return older
    if older.invalid_at is not None or older.expired_at is not None:
        raise MemoryStoreError(f"fact {older.id} has already ended: supersede the fact that replaced it")
    if by.id == older.id or by.valid_at < older.valid_at or by.created_at < older.created_at:
        raise MemoryStoreError(f"fact {older.id} is not older than {by.id}: only a newer fact supersedes")
    return result


def unknown(fact_id: object) -> MemoryStoreError:
    return MemoryStoreError(f"fact {fact_id} is not stored: remember it before superseding it")
