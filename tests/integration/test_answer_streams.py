"""An answer is told while it is written: bounded, resumable, with an end; and nobody waits for Redis."""

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from alina.domain.ports import AnswerStream
from alina.domain.runs import Answer, CompletionRequest, Message
from alina.errors import BrokerUnavailable, TransientError
from alina.llm.scripted import ScriptedModel
from alina.llm.streaming import (
    AnswerPublisher,
    AnswerReader,
    StreamEvent,
    StreamKind,
    stream_key,
    tell_failure,
)

MODEL = ScriptedModel(
    "a.jsonl", '{"text": "It is 2 € more than hoped."}'.encode(), context_length=512, threads=1
)
REQUEST = CompletionRequest(
    messages=(Message("user", "What is slippage?"),),
    json_schema=None,
    max_tokens=20,
    temperature=Decimal(0),
    seed=0,
    deadline_seconds=Decimal(60),
)


@pytest.fixture
def publisher(redis_url: str) -> Iterator[AnswerPublisher]:
    publisher = AnswerPublisher(redis_url)
    yield publisher
    publisher.close(200)


@pytest.fixture
def reader(redis_url: str) -> AnswerReader:
    return AnswerReader(redis_url)


def answer(stream: AnswerStream, attempt: int = 1) -> Answer:
    stream.begin(attempt)
    completion = MODEL.complete(REQUEST, stream.text)
    stream.end(completion)
    return Answer.of(completion)


def read(reader: AnswerReader, run_id: Any, **changes: Any) -> list[StreamEvent]:
    return list(reader.read(run_id, timeout=200, **changes))


def test_a_stream_begins_tells_every_piece_and_ends_with_the_answer(
    publisher: AnswerPublisher, reader: AnswerReader
) -> None:
    run_id = uuid4()
    given = answer(publisher.open(run_id))
    begin, *pieces, end = read(reader, run_id)
    assert (begin.kind, begin.text) == (StreamKind.BEGIN, "1")
    assert len(pieces) > 3
    assert "".join(piece.text for piece in pieces) == given.text
    assert (end.kind, end.answer) == (StreamKind.END, given)


def test_a_reader_goes_on_after_the_entry_it_saw_last(
    publisher: AnswerPublisher, reader: AnswerReader
) -> None:
    run_id = uuid4()
    answer(publisher.open(run_id))
    whole = read(reader, run_id)
    assert read(reader, run_id, after=whole[2].id) == whole[3:]


def test_a_reader_that_came_first_is_told_as_the_answer_is_written(
    publisher: AnswerPublisher, reader: AnswerReader
) -> None:
    run_id = uuid4()
    stream = publisher.open(run_id)
    events = reader.read(run_id, timeout=200)
    stream.begin(1)
    assert next(events).kind is StreamKind.BEGIN
    for piece in ("It ", "is"):
        stream.text(piece)
        assert next(events).text == piece
    stream.fail("the model stopped")
    assert [(event.kind, event.text) for event in events] == [(StreamKind.ERROR, "the model stopped")]


def test_an_answer_that_begins_anew_says_so(publisher: AnswerPublisher, reader: AnswerReader) -> None:
    run_id = uuid4()
    stream = publisher.open(run_id)
    stream.begin(1)
    stream.text("half of it")
    given = answer(stream)  # the task was delivered again
    events = read(reader, run_id)
    last = max(number for number, event in enumerate(events) if event.kind is StreamKind.BEGIN)
    assert "".join(event.text for event in events[last + 1 :]) == given.text


def test_what_was_told_is_void_where_another_model_begins(
    publisher: AnswerPublisher, reader: AnswerReader
) -> None:
    run_id = uuid4()
    stream = publisher.open(run_id)
    stream.begin(2)
    for piece in ("half of ", "", "the other"):
        stream.text(piece)
    stream.fail("enough")
    told = [(event.kind, event.text) for event in read(reader, run_id)]
    assert told[2:4] == [(StreamKind.BEGIN, "2"), (StreamKind.TEXT, "the other")]


def test_a_stream_is_ended_by_whoever_finds_its_writer_dead(
    publisher: AnswerPublisher, reader: AnswerReader, redis_url: str
) -> None:
    run_id = uuid4()
    publisher.open(run_id).begin(1)
    publisher.close(200)
    with Redis.from_url(redis_url) as client:
        tell_failure(client, run_id, "its process died")
        assert 0 < client.ttl(stream_key(run_id)) <= 3600
    assert [(event.kind, event.text) for event in read(reader, run_id)][1:] == [
        (StreamKind.ERROR, "its process died")
    ]
    with Redis.from_url("redis://127.0.0.1:1/0") as away:
        tell_failure(away, run_id, "it is logged, and not raised")


def test_a_stream_is_bounded_in_entries_and_in_time(
    publisher: AnswerPublisher, reader: AnswerReader, redis_url: str
) -> None:
    run_id = uuid4()
    stream = publisher.open(run_id)
    for _ in range(7000):
        stream.text("x")
    given = answer(stream)
    publisher.close(200)
    with Redis.from_url(redis_url) as client:
        assert client.xlen(stream_key(run_id)) < 4500
        assert 0 < client.ttl(stream_key(run_id)) <= 3600
    assert read(reader, run_id)[-1].answer == given


def test_whoever_waits_for_nothing_is_told_so(reader: AnswerReader) -> None:
    with pytest.raises(TransientError, match="nothing was told"):
        list(reader.read(uuid4(), timeout=0.01))


def test_an_id_that_is_none_is_refused(reader: AnswerReader) -> None:
    with pytest.raises(BrokerUnavailable, match="'nonsense'"):
        list(reader.read(uuid4(), after="nonsense", timeout=200))


def test_a_redis_that_is_away_is_the_readers_fault_only() -> None:
    with pytest.raises(BrokerUnavailable, match="alina up"):
        list(AnswerReader("redis://127.0.0.1:1/0").read(uuid4(), timeout=200))
    away = AnswerPublisher("redis://127.0.0.1:1/0")
    assert answer(away.open(uuid4())).text == MODEL.complete(REQUEST).text
    away.close(200)


def test_a_redis_that_hangs_keeps_no_answer_waiting_and_fills_no_memory() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:  # lets in, and says nothing
        hanging = AnswerPublisher(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        stream = hanging.open(uuid4())
        for _ in range(20_000):  # more than may wait
            stream.text("x")
        longer = replace(REQUEST, max_tokens=40)
        assert MODEL.complete(longer, stream.text).text == MODEL.complete(longer).text
    hanging.close(0)
