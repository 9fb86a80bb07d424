"""Answers told through Redis while they are written: one stream a run, which ends with usage or an error.

Nobody waits for Redis: pieces go through a bounded queue to a thread, which sends what has gathered. If Redis
is away or slow, pieces are lost and the run goes on; a stream's end bears the whole text, so whoever reads to
the end has it all. A stream is bounded in entries and in time.

What if the process dies here? The task is delivered again and begins anew: a reader sees a second `begin`,
after which what it had before is void. Where it is not, the worker ends the stream: see workers/endings.py.
"""

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from alina.domain.ports import AnswerStream
from alina.domain.records import Record
from alina.domain.runs import Answer, Completion
from alina.errors import BrokerUnavailable, TransientError

log = structlog.get_logger(__name__)

#: entries of one stream, about; a piece is a token
_ENTRIES = 4096
#: seconds that a stream is kept after its last entry
_LIFE = 3600
#: pieces of all streams of a process that wait for Redis; the rest is lost
_WAITING = 8192
_AT_ONCE = 256
#: seconds
_TIMEOUT, _LOOK, _CLOSING = 10.0, 1.0, 4.0
#: stream, kind and text
_Entry = tuple[str, str, str]
_NEVER_AGAIN = Retry(NoBackoff(), 0)


class StreamKind(StrEnum):
    """What an entry says."""

    #: a model begins to answer; what was told before is void
    BEGIN = "begin"
    #: a piece of the text
    TEXT = "text"
    #: the answer is whole
    END = "end"
    #: there is no answer, or none that can be used
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent(Record):
    """One entry of a stream."""

    #: read on after it with `after=id`
    id: str
    kind: StreamKind
    #: BEGIN: 1, or 2 for the repair; TEXT: a piece; END: nothing; ERROR: the reason
    text: str
    #: END only
    answer: Answer | None


def stream_key(run_id: UUID) -> str:
    """The Redis key of a run's stream."""
    return f"alina:stream:{run_id}"


class Silent:
    """An `AnswerStream` that nobody reads."""

    def begin(self, attempt: int) -> None: ...

    def text(self, piece: str) -> None: ...

    def end(self, completion: Completion) -> None: ...

    def fail(self, reason: str) -> None: ...


def silent(run_id: UUID) -> AnswerStream:
    """The stream of any run where nobody reads."""
    return Silent()


def tell_failure(client: redis.Redis, run_id: UUID, reason: str) -> None:
    """End a stream from a process that tells nothing else, such as the parent of a child that died.

    Waits for Redis as long as `client` does; never raises.
    """
    try:
        with client.pipeline() as pipe:
            _add(pipe, stream_key(run_id), StreamKind.ERROR.value, reason)
            pipe.expire(stream_key(run_id), _LIFE)
            pipe.execute()
    except redis.RedisError as error:
        log.warning("the end of an answer is not told", run=str(run_id), error=str(error))


def _add(pipe: "redis.client.Pipeline", key: str, kind: str, text: str) -> None:
    pipe.xadd(key, {"kind": kind, "text": text}, maxlen=_ENTRIES, approximate=True)


class AnswerPublisher:
    """All streams of this process. Its thread begins with the first entry: after any fork, never before."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=_NEVER_AGAIN
        )
        self._waiting: queue.Queue[_Entry | None] = queue.Queue(_WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_told = True

    def open(self, run_id: UUID) -> AnswerStream:
        """The stream of one run."""
        return _Published(self, stream_key(run_id))

    def put(self, key: str, kind: StreamKind, text: str) -> None:
        """Send an entry when there is time; never waits."""
        if self._thread is None:
            self._start()
        try:
            self._waiting.put_nowait((key, kind.value, text))
        except queue.Full:
            log.debug("a piece of an answer is lost: Redis does not keep up", stream=key)

    def close(self, within: float = _CLOSING) -> None:
        """Send what waits, for so many seconds at most."""
        if self._thread is not None:
            try:
                self._waiting.put(None, timeout=within)
            except queue.Full:
                return
            self._thread.join(within)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="answers", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while (first := self._waiting.get()) is not None:
            entries, is_last = [first], False
            while len(entries) < _AT_ONCE and not is_last and not self._waiting.empty():
                entry = self._waiting.get()
                is_last = entry is None
                if entry is not None:
                    entries.append(entry)
            self._send(entries)
            if is_last:
                break
        self._redis.close()

    def _send(self, entries: list[_Entry]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for key, kind, text in entries:
                _add(pipe, key, kind, text)
            for key in {key for key, _, _ in entries}:
                pipe.expire(key, _LIFE)
            try:
                pipe.execute()
                self._is_told = True
            except redis.RedisError as error:
                if self._is_told:  # once an outage
                    log.warning("answers are not told until Redis is back", error=str(error))
                self._is_told = False


class _Published:
    """One stream, as an `AnswerStream`."""

    def __init__(self, publisher: AnswerPublisher, key: str) -> None:
        self._publisher, self._key = publisher, key
        self._attempt = 1

    def begin(self, attempt: int) -> None:
        self._attempt = attempt
        self._put(StreamKind.BEGIN, str(attempt))

    def text(self, piece: str) -> None:
        if piece:
            self._put(StreamKind.TEXT, piece)
        else:
            self.begin(self._attempt)

    def end(self, completion: Completion) -> None:
        self._put(StreamKind.END, json.dumps(Answer.of(completion).to_json()))

    def fail(self, reason: str) -> None:
        self._put(StreamKind.ERROR, reason)

    def _put(self, kind: StreamKind, text: str) -> None:
        self._publisher.put(self._key, kind, text)


class AnswerReader:
    """Reads the streams that some worker publishes."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=_LOOK + _TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=_NEVER_AGAIN,
            decode_responses=True,
        )

    def read(self, run_id: UUID, *, after: str = "0", timeout: float = 90) -> Iterator[StreamEvent]:
        """The entries after the one with the id `after`, as they come, up to the end or an error.

        Raises BrokerUnavailable, or TransientError when nothing came for `timeout` seconds.
        """
        patience = time.monotonic() + timeout
        while time.monotonic() < patience:
            for event in self._next(run_id, after):
                after, patience = event.id, time.monotonic() + timeout
                yield event
                if event.kind in (StreamKind.END, StreamKind.ERROR):
                    return
        raise TransientError(
            f"nothing was told of {run_id} for {timeout:g} s: see `alina status`, or wait longer"
        )

    def _next(self, run_id: UUID, after: str) -> list[StreamEvent]:
        """What is there by now; waits a moment for the first."""
        try:
            found: Any = self._redis.xread(
                {stream_key(run_id): after}, count=_AT_ONCE, block=int(_LOOK * 1000)
            )
        except redis.ResponseError as error:
            raise BrokerUnavailable(f"Redis refuses to read on after {after!r} ({error})") from None
        except redis.RedisError as error:
            raise BrokerUnavailable(
                f"Redis does not answer ({error}): start the system with `alina up`, or check ALINA_REDIS_URL"
            ) from None
        return [_event(entry_id, fields) for _, entries in found or () for entry_id, fields in entries]


def _event(entry_id: str, fields: Mapping[str, str]) -> StreamEvent:
    kind, text = StreamKind(fields["kind"]), fields["text"]
    is_end = kind is StreamKind.END
    return StreamEvent(
        id=entry_id,
        kind=kind,
        text="" if is_end else text,
        answer=Answer.from_json(json.loads(text)) if is_end else None,
    )
