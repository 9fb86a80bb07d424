"""The registry's table: versions and lineage, one active model at most, figures that are kept."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from alina.db.engine import session_factory, transaction
from alina.domain.models import Measurement, ModelFacts, ModelState
from alina.errors import ConfigError, ModelUnavailable
from alina.llm.catalogue import ModelCatalogue

FACTS = ModelFacts(
    source="/models/small.gguf",
    sha256="a" * 64,
    size_bytes=98_362_432,
    quantisation="Q4_1",
    template="{{ messages }}",
    context_length=8192,
    licence="apache-2.0",
)
OTHER = replace(FACTS, source="/models/small-q8.gguf", sha256="b" * 64, quantisation="Q8_0")
MEASURED = Measurement(
    at=datetime(2026, 3, 1, tzinfo=UTC),
    answers=8,
    tokens_per_second=Decimal("71.5"),
    latency_p50_ms=900,
    latency_p99_ms=1400,
    valid_fraction=Decimal("0.875"),
    cost_per_answer=Decimal(0),
)


@pytest.fixture
def catalogue(engine: Engine) -> Iterator[ModelCatalogue]:
    with transaction(session_factory(engine)) as session:
        yield ModelCatalogue(session)
        session.rollback()


def test_a_model_is_added_as_a_candidate_and_read_back_whole(catalogue: ModelCatalogue) -> None:
    added = catalogue.add("small", FACTS)
    assert (added.title, added.facts, added.state) == ("small@1", FACTS, ModelState.CANDIDATE)
    assert (added.parent_id, added.measured) == (None, None)
    assert catalogue.get("small") == added == catalogue.of_file("a" * 64)
    assert catalogue.every() == [added]


def test_another_file_under_the_same_name_is_the_next_version_and_a_child_of_the_last(
    catalogue: ModelCatalogue,
) -> None:
    first, second = catalogue.add("small", FACTS), catalogue.add("small", OTHER)
    assert (second.title, second.parent_id) == ("small@2", first.id)
    assert catalogue.get("small") == second
    assert catalogue.get("small@1") == first


def test_the_same_file_again_is_not_registered_again(catalogue: ModelCatalogue) -> None:
    first = catalogue.add("small", FACTS)
    catalogue.add("small", OTHER)
    assert catalogue.add("small", FACTS) == first
    assert len(catalogue.every()) == 2


def test_a_parent_of_another_name_is_kept(catalogue: ModelCatalogue) -> None:
    first = catalogue.add("small", FACTS)
    assert catalogue.add("tuned", OTHER, parent="small@1").parent_id == first.id


@pytest.mark.parametrize("title", ["nobody", "small@7", "small@x", "@1", "small@1@1"])
def test_an_unknown_title_says_where_the_names_are(catalogue: ModelCatalogue, title: str) -> None:
    catalogue.add("small", FACTS)
    with pytest.raises(ModelUnavailable, match="`alina models list`"):
        catalogue.get(title)


@pytest.mark.parametrize("name", ["", "a@1", "-x", "a b", "x" * 65, "a\n"])
def test_a_name_that_could_be_mistaken_is_refused(catalogue: ModelCatalogue, name: str) -> None:
    with pytest.raises(ConfigError, match="no name for a model"):
        catalogue.add(name, FACTS)


def test_one_model_at_most_is_active_and_the_one_before_may_come_back(catalogue: ModelCatalogue) -> None:
    catalogue.add("small", FACTS)
    catalogue.add("small", OTHER)
    assert catalogue.active() is None
    for title in ("small@1", "small@2", "small@2", "small@1"):
        assert catalogue.activate(title).state is ModelState.ACTIVE
        active = [one.title for one in catalogue.every() if one.state is ModelState.ACTIVE]
        assert active == [title]
        now = catalogue.active()
        assert now is not None
        assert now.title == title


def test_retiring_the_active_model_leaves_none(catalogue: ModelCatalogue) -> None:
    catalogue.add("small", FACTS)
    catalogue.activate("small")
    assert catalogue.retire("small").state is ModelState.RETIRED
    assert catalogue.active() is None


def test_what_was_measured_last_is_kept(catalogue: ModelCatalogue) -> None:
    added = catalogue.add("small", FACTS)
    for measured in (MEASURED, replace(MEASURED, answers=16, cost_per_answer=None)):
        catalogue.save_measurement(added.id, measured)
        assert catalogue.get("small").measured == measured


def test_whoever_activates_and_adds_at_once_takes_turns(engine: Engine) -> None:
    def work(number: int) -> None:
        with transaction(session_factory(engine)) as session:
            catalogue = ModelCatalogue(session)
            catalogue.add("busy", replace(FACTS, sha256=f"{number:064x}"))
            catalogue.activate(f"busy@{catalogue.get('busy').version}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(12)))
    with Session(engine) as session:
        every = ModelCatalogue(session).every()
        assert sorted(one.version for one in every) == list(range(1, 13))
        assert len([one for one in every if one.state is ModelState.ACTIVE]) == 1
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE models"))
