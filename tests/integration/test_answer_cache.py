"""An equal question of the same model is asked once; whatever the cache holds or does, an answer is right."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis

from alina.api.metrics import PathCollector
from alina.domain.runs import Completion, CompletionRequest, Message, ModelIdentity
from alina.errors import ModelBusy
from alina.llm.answers import AnswerCache, CachedModel, cache_counts

IDENTITY = ModelIdentity(
    name="small.gguf",
    backend="llama_cpp",
    sha256="a" * 64,
    build="1",
    context_length=512,
    threads=1,
    batch=64,
)
REQUEST = CompletionRequest(
    messages=(Message("user", "Buy?"),),
    json_schema=None,
    max_tokens=20,
    temperature=Decimal("0.5"),
    seed=0,
    deadline_seconds=Decimal(60),
)
LIFE = timedelta(hours=1)


class Counting:
    """A model that answers something else each time it is asked."""

    def __init__(
        self, identity: ModelIdentity = IDENTITY, text: str = "answer", stands_in: bool = False
    ) -> None:
        self.identity, self._text, self.asked = identity, text, 0
        self._answering = replace(identity, sha256="b" * 64) if stands_in else identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        self.asked += 1
        if request.deadline_seconds <= 0:
            raise ModelBusy("too late")
        text = f"{self._text} {self.asked}"
        if on_text is not None:
            on_text(text)
        return Completion(
            text=text,
            model=self._answering,
            prompt_tokens=3,
            completion_tokens=2,
            elapsed_ms=40,
            finish_reason="stop",
        )


def cached(model: Counting, redis_url: str, slots: int = 100) -> CachedModel:
    return CachedModel(model, AnswerCache(redis_url, life=LIFE, slots=slots, timeout=60))


def counts(redis_url: str) -> dict[str, int]:
    with Redis.from_url(redis_url) as client:
        return cache_counts(client)


def test_an_equal_question_is_asked_once_by_all_processes_together(redis_url: str) -> None:
    first, second = Counting(), Counting()
    answer = cached(first, redis_url).complete(REQUEST)
    told: list[str] = []
    again = cached(second, redis_url).complete(replace(REQUEST, deadline_seconds=Decimal(5)), told.append)
    assert (first.asked, second.asked) == (1, 0)
    assert again == answer
    assert told == [answer.text]
    assert counts(redis_url) == {"hit": 1, "miss": 1}


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, messages=(Message("user", "Sell?"),)),
        replace(REQUEST, seed=1),
        replace(REQUEST, temperature=Decimal(0)),
        replace(REQUEST, max_tokens=21),
        replace(REQUEST, json_schema={"type": "boolean"}),
    ],
)
def test_another_question_is_asked_even_where_it_falls_on_the_same_slot(
    redis_url: str, other: CompletionRequest
) -> None:
    model = Counting()
    one = cached(model, redis_url, slots=1)
    texts = [one.complete(request).text for request in (REQUEST, other, other, REQUEST)]
    assert texts == ["answer 1", "answer 2", "answer 2", "answer 3"]


@pytest.mark.parametrize(
    "changes", [{"sha256": "c" * 64}, {"build": "2"}, {"threads": 2}, {"batch": 512}], ids=str
)
def test_another_model_build_or_layout_is_asked(redis_url: str, changes: dict[str, object]) -> None:
    cached(Counting(), redis_url).complete(REQUEST)
    other = Counting(replace(IDENTITY, **changes))  # type: ignore[arg-type]  # a field each
    cached(other, redis_url).complete(REQUEST)
    assert other.asked == 1


def test_what_is_no_function_of_its_request_is_never_kept(redis_url: str) -> None:
    elsewhere = Counting(replace(IDENTITY, backend="openai"))
    one = cached(elsewhere, redis_url)
    for _ in range(2):
        one.complete(REQUEST)
    assert elsewhere.asked == 2
    for _ in range(2):
        one.complete(replace(REQUEST, temperature=Decimal(0)))
    assert elsewhere.asked == 3


def test_a_model_that_is_told_no_temperature_is_asked_each_time(redis_url: str) -> None:
    untold = Counting(replace(IDENTITY, backend="anthropic"))
    for _ in range(2):
        cached(untold, redis_url).complete(replace(REQUEST, temperature=Decimal(0)))
    assert untold.asked == 2


def test_the_answer_of_a_model_that_stood_in_is_not_kept(redis_url: str) -> None:
    model = Counting(stands_in=True)
    one = cached(model, redis_url)
    assert one.complete(REQUEST) != one.complete(REQUEST)
    assert model.asked == 2


def test_a_failure_is_not_kept(redis_url: str) -> None:
    one = cached(Counting(), redis_url)
    with pytest.raises(ModelBusy):
        one.complete(replace(REQUEST, deadline_seconds=Decimal(0)))
    assert one.complete(REQUEST).text == "answer 2"


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: b"",
        lambda entry: entry[:20],
        lambda entry: entry[:-1],
        lambda entry: entry.replace(b"answer", b"answes"),
        lambda entry: b"\xff" + entry[1:],
        lambda entry: entry[:32] + b"null",
    ],
)
def test_an_entry_that_is_damaged_is_a_miss_and_is_replaced(
    redis_url: str, damage: Callable[[bytes], bytes]
) -> None:
    model = Counting()
    one = cached(model, redis_url, slots=1)
    one.complete(REQUEST)
    with Redis.from_url(redis_url) as client:
        entry = client.get("alina:answer:0")
        assert isinstance(entry, bytes)
        client.set("alina:answer:0", damage(entry))
    assert [one.complete(REQUEST).text for _ in range(2)] == ["answer 2", "answer 2"]
    assert counts(redis_url) == {"hit": 1, "miss": 2}


def test_the_cache_is_bounded_in_number_size_and_time(redis_url: str) -> None:
    one = cached(Counting(), redis_url, slots=5)
    for seed in range(40):
        one.complete(replace(REQUEST, seed=seed))
    long = Counting(text="x" * 20_000)
    for _ in range(2):
        cached(long, redis_url, slots=5).complete(replace(REQUEST, seed=99))
    with Redis.from_url(redis_url) as client:
        keys = list(client.scan_iter("alina:answer:*"))
        assert len(keys) <= 5
        assert all(0 < client.ttl(key) <= LIFE.total_seconds() for key in keys)
    assert long.asked == 2


def test_without_redis_the_model_is_asked() -> None:
    model = Counting()
    one = cached(model, "redis://127.0.0.1:1/0")
    assert [one.complete(REQUEST).text for _ in range(2)] == ["answer 1", "answer 2"]


def test_hits_and_misses_are_metrics(redis_url: str) -> None:
    one = cached(Counting(), redis_url)
    for _ in range(3):
        one.complete(REQUEST)
    registry = CollectorRegistry()
    registry.register(PathCollector(dict, dict, lambda: counts(redis_url)))
    text = generate_latest(registry).decode()
    assert 'alina_answer_cache_total{result="hit"} 2.0' in text
    assert 'alina_answer_cache_total{result="miss"} 1.0' in text
