"""What every Memory promises: the one in Postgres and the one in memory."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from alina.db.engine import make_engine, session_factory, transaction
from alina.db.migrations import upgrade
from alina.domain.ports import Fact, Memory
from alina.errors import MemoryStoreError
from alina.memory.embedding import WordLlamaEmbedder
from alina.memory.in_memory import InMemoryMemory
from alina.memory.store import PostgresMemory

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LOSS = "a losing trade bought after a sharp rise"


@pytest.fixture(scope="module")
def embedder() -> WordLlamaEmbedder:
    return WordLlamaEmbedder()


@pytest.fixture(params=["postgres", "in_memory"])
def memory(request: pytest.FixtureRequest, embedder: WordLlamaEmbedder) -> Iterator[Memory]:
    if request.param == "in_memory":
        yield InMemoryMemory(embedder)
        return
    url = request.getfixturevalue("database_url")
    upgrade(url)
    engine = make_engine(url)
    with transaction(session_factory(engine)) as session:
        yield PostgresMemory(session, embedder)
    engine.dispose()


def at(hours: int) -> datetime:
    return START + hours * HOUR


def fact(
    number: int, text: str = LOSS, *, valid: int = 0, created: int = 0, subject: str = "BTC/USDT"
) -> Fact:
    """Fact `number`, true from hour `valid` and known from hour `created`."""
    return Fact(
        id=UUID(int=number),
        subject=subject,
        predicate="closed_trade",
        text=text,
        valid_at=at(valid),
        invalid_at=None,
        created_at=at(created),
        expired_at=None,
        source_id=UUID(int=1000 + number),
    )


def recalled(memory: Memory, hours: int, query: str = LOSS, limit: int = 10) -> list[int]:
    facts = memory.recall("BTC/USDT", query, as_of=at(hours), limit=limit)
    return [fact.id.int for fact in facts]


def test_a_fact_comes_back_as_it_was_remembered(memory: Memory) -> None:
    known = replace(fact(1, valid=1, created=2), invalid_at=at(9))
    memory.remember(known)
    assert memory.recall("BTC/USDT", LOSS, as_of=at(3), limit=5) == [known]
    assert memory.get([known.id]) == [known]


def test_nothing_is_recalled_before_it_was_known(memory: Memory) -> None:
    memory.remember(fact(1, valid=1, created=5))
    assert recalled(memory, 4) == []
    assert recalled(memory, 5) == [1]


def test_nothing_is_recalled_before_it_was_true(memory: Memory) -> None:
    memory.remember(fact(1, valid=5, created=1))
    assert recalled(memory, 4) == []
    assert recalled(memory, 5) == [1]


def test_nothing_is_recalled_from_its_known_end_on(memory: Memory) -> None:
    memory.remember(replace(fact(1), invalid_at=at(3)))
    assert recalled(memory, 2) == [1]
    assert recalled(memory, 3) == []


def test_a_superseded_fact_gives_way_to_the_newer_one(memory: Memory) -> None:
    memory.remember(fact(1))
    newer = fact(2, valid=4, created=6)
    memory.supersede(UUID(int=1), by=newer)
    assert recalled(memory, 6) == [2]
    older, stored = memory.get([UUID(int=1), UUID(int=2)])
    assert (older.invalid_at, older.expired_at) == (newer.valid_at, newer.created_at)
    assert stored == newer


def test_a_fact_stands_until_it_was_known_to_be_superseded(memory: Memory) -> None:
    memory.remember(fact(1))
    memory.supersede(UUID(int=1), by=fact(2, valid=4, created=6))
    assert recalled(memory, 3) == [1]
    assert recalled(memory, 5) == [1]


def test_remembering_again_changes_nothing(memory: Memory) -> None:
    memory.remember(fact(1))
    memory.remember(fact(1, "something else"))
    assert memory.get([UUID(int=1)]) == [fact(1)]
    assert recalled(memory, 1) == [1]


def test_superseding_again_changes_nothing(memory: Memory) -> None:
    memory.remember(fact(1))
    for _ in range(2):
        memory.supersede(UUID(int=1), by=fact(2, valid=4, created=6))
    assert recalled(memory, 6) == [2]


def test_remembering_a_superseded_fact_again_does_not_revive_it(memory: Memory) -> None:
    memory.remember(fact(1))
    memory.supersede(UUID(int=1), by=fact(2, valid=4, created=6))
    memory.remember(fact(1))
    assert recalled(memory, 6) == [2]


def test_a_fact_is_superseded_by_one_fact_only(memory: Memory) -> None:
    memory.remember(fact(1))
    memory.supersede(UUID(int=1), by=fact(2, valid=4, created=6))
    with pytest.raises(MemoryStoreError, match="already ended"):
        memory.supersede(UUID(int=1), by=fact(3, valid=5, created=7))
    assert memory.get([UUID(int=3)]) == []


@pytest.mark.parametrize(
    "by", [fact(2, valid=1, created=9), fact(2, valid=9, created=1), fact(1, valid=9, created=9)]
)
def test_only_a_newer_fact_supersedes(memory: Memory, by: Fact) -> None:
    memory.remember(fact(1, valid=3, created=3))
    with pytest.raises(MemoryStoreError, match="only a newer fact supersedes"):
        memory.supersede(UUID(int=1), by=by)
    assert recalled(memory, 9) == [1]


def test_superseding_an_unknown_fact_is_refused(memory: Memory) -> None:
    with pytest.raises(MemoryStoreError, match="not stored"):
        memory.supersede(UUID(int=1), by=fact(2))
    assert memory.get([UUID(int=2)]) == []


def test_the_nearest_in_meaning_comes_first(memory: Memory) -> None:
    memory.remember(fact(1, "the exchange charges a fee for every order", created=3))
    memory.remember(fact(2, "a trade that lost money after the price rose quickly", created=1))
    memory.remember(fact(3, "maintenance on Sunday", created=2))
    assert recalled(memory, 9)[0] == 2
    assert recalled(memory, 9, query="which fees does the exchange take")[0] == 1
    assert recalled(memory, 9, limit=1) == [2]


def test_among_equally_near_facts_the_newest_comes_first(memory: Memory) -> None:
    for number, created in ((1, 2), (2, 5), (3, 1)):
        memory.remember(fact(number, created=created))
    assert recalled(memory, 9) == [2, 1, 3]


def test_a_query_without_words_recalls_the_newest_first(memory: Memory) -> None:
    memory.remember(fact(1, "a rise", created=1))
    memory.remember(fact(2, "", created=2))
    memory.remember(fact(3, "a fall", created=3))
    assert recalled(memory, 9, query="") == [3, 2, 1]
    assert recalled(memory, 9, query="a rise") == [1, 3, 2]


def test_a_subject_is_recalled_alone(memory: Memory) -> None:
    memory.remember(fact(1))
    memory.remember(fact(2, subject="ETH/USDT"))
    assert recalled(memory, 1) == [1]


def test_an_empty_memory_recalls_nothing(memory: Memory) -> None:
    assert recalled(memory, 1) == []


def test_facts_come_in_the_order_asked_and_unknown_ids_are_left_out(memory: Memory) -> None:
    for number in (1, 2, 3):
        memory.remember(fact(number))
    asked = [UUID(int=number) for number in (3, 9, 1)]
    assert [each.id.int for each in memory.get(asked)] == [3, 1]
    assert memory.get([]) == []


def test_only_facts_superseded_before_the_moment_are_forgotten(memory: Memory) -> None:
    for number in (1, 3, 5):
        memory.remember(fact(number))
    memory.supersede(UUID(int=1), by=fact(2, valid=1, created=1))
    memory.supersede(UUID(int=3), by=fact(4, valid=6, created=6))
    assert memory.forget_superseded(before=at(5)) == 1
    assert [one.id.int for one in memory.get([UUID(int=n) for n in range(1, 6)])] == [2, 3, 4, 5]
    assert memory.forget_superseded(before=at(5)) == 0
