"""A model's answers kept in Redis: an equal question of the same model is asked once, whoever asks.

Only what is a function of its request is kept: answers of models on this machine, whose draws are seeded, and
of others at temperature 0. The cache is a table of so many slots, each for all the questions that fall on
it, so it is bounded without counting; what is in a slot is used only if it is whole and of this question.

What if Redis dies here? Then the model is asked.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from typing import cast

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from alina.domain.ports import Model
from alina.domain.runs import Completion, CompletionRequest, ModelIdentity

log = structlog.get_logger(__name__)

#: how often an answer was found, and not: field -> times
COUNTS_KEY, HIT, MISS = "alina:answers:counts", "hit", "miss"
#: bytes; a longer answer is not kept
_ENTRY_MAX = 16_384
_DIGEST = hashlib.sha256().digest_size
#: engines whose text is a function of the request at any temperature, and those that are told none
_SEEDED, _NOT_TOLD = frozenset({"llama_cpp", "scripted"}), frozenset({"anthropic"})
#: seconds: of one request, and for which Redis is left alone after it failed one
_TIMEOUT, _REST = 1.0, 10.0


def answer_key(identity: ModelIdentity, request: CompletionRequest) -> str:
    """SHA-256 over all that the text depends on: weights, engine, layout, prompt, schema and parameters."""
    asked = {
        "model": [identity.sha256, identity.backend, identity.build],
        "layout": [identity.context_length, identity.threads, identity.batch],
        "messages": [[message.role, message.content] for message in request.messages],
        "schema": request.json_schema,
        "parameters": [request.max_tokens, _plain(request.temperature), request.seed],
    }
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def is_function_of_its_request(identity: ModelIdentity, request: CompletionRequest) -> bool:
    """Whether the same question has one answer."""
    return identity.backend in _SEEDED or (request.temperature == 0 and identity.backend not in _NOT_TOLD)


class AnswerCache:
    """The slots in one Redis. No method raises: without Redis nothing is found and nothing kept."""

    def __init__(self, redis_url: str, *, life: timedelta, slots: int, timeout: float = _TIMEOUT) -> None:
        """`timeout`: seconds that a call waits for Redis at most."""
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0)
        )
        self._life, self._slots = life, slots
        self._resting_until = 0.0

    def find(self, key: str) -> Completion | None:
        """The kept answer; None: ask the model."""
        if time.monotonic() < self._resting_until:
            return None
        try:
            kept = cast("bytes | None", self._redis.get(self._slot(key)))
            found = None if kept is None else _opened(kept, key)
            self._redis.hincrby(COUNTS_KEY, MISS if found is None else HIT, 1)
        except redis.RedisError as error:
            self._rest(error)
            return None
        return found

    def keep(self, key: str, completion: Completion) -> None:
        """Keep it for a while, in place of whatever is in its slot."""
        entry = _sealed(key, completion)
        if len(entry) > _ENTRY_MAX or time.monotonic() < self._resting_until:
            return
        try:
            self._redis.set(self._slot(key), entry, ex=self._life)
        except redis.RedisError as error:
            self._rest(error)

    def _slot(self, key: str) -> str:
        return f"alina:answer:{int(key, 16) % self._slots}"

    def _rest(self, error: redis.RedisError) -> None:
        """A Redis that hangs would cost every call its time-out."""
        log.warning("answers are not kept for now", seconds=_REST, error=str(error))
        self._resting_until = time.monotonic() + _REST


def cache_counts(client: redis.Redis) -> dict[str, int]:
    """How often an answer was found, and not. Raises RedisError."""
    found = cast("dict[bytes, bytes]", client.hgetall(COUNTS_KEY))
    return {result: int(found.get(result.encode(), 0)) for result in (HIT, MISS)}


class CachedModel:
    """A `Model` that asks the one given only for what the cache does not hold."""

    def __init__(self, model: Model, cache: AnswerCache) -> None:
        self._model, self._cache = model, cache

    @property
    def identity(self) -> ModelIdentity:
        return self._model.identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """The kept answer, with the cost it had; or the model's. Raises what the model raises."""
        identity = self._model.identity
        if not is_function_of_its_request(identity, request):
            return self._model.complete(request, on_text)
        key = answer_key(identity, request)
        kept = self._cache.find(key)
        if kept is not None:
            if on_text is not None:
                on_text(kept.text)
            return kept
        completion = self._model.complete(request, on_text)
        if completion.model.sha256 == identity.sha256:  # not of one that stood in for it
            self._cache.keep(key, completion)
        return completion


def _sealed(key: str, completion: Completion) -> bytes:
    """The digest of the rest, then the question's key and the answer."""
    body = json.dumps({"key": key, "completion": asdict(completion)}).encode()
    return _digest(body) + body


def _opened(entry: bytes, key: str) -> Completion | None:
    """The answer; None if the entry is damaged, of another question, or of another version."""
    body = entry[_DIGEST:]
    if _digest(body) != entry[:_DIGEST]:
        return None
    try:
        kept = json.loads(body)
        values = kept["completion"]
        completion = Completion(**{**values, "model": ModelIdentity(**values["model"])})
    except (ValueError, KeyError, TypeError):
        return None
    return completion if kept["key"] == key else None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
