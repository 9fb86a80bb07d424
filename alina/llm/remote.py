"""A model elsewhere, whichever protocol it speaks: deadline, size of answers, and errors in our words.

An answer is read as a stream, so that its deadline ends it wherever it stands. A stream that breaks off
before the provider says that the answer is whole is no answer.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Protocol

import httpx2
from anyio.from_thread import start_blocking_portal

from alina.domain.runs import Completion, CompletionRequest, ModelIdentity
from alina.errors import ModelBusy, ModelError, ModelRefused, ProviderUnavailable
from alina.llm.doors import Door
from alina.llm.limits import check_fits, estimated_tokens, token_bound

#: characters of an answer a token: a stream that writes more has lost count, and is cut
_CHARACTERS_A_TOKEN = 100
#: characters of a provider's own words shown in ours
_SHOWN = 200
#: worth repeating: request timeout, conflict, too early, too many requests
_TRANSIENT = {408, 409, 425, 429}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one event of a stream adds to an answer."""

    text: str = ""
    #: "stop" or "length"; any other word: the provider withheld the answer
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    #: which model answered, in the provider's own words
    answered_by: str | None = None


class Wire(Protocol):
    """One protocol, to one model behind one door."""

    #: of the package that speaks it, e.g. "openai 3.54.0"
    build: str

    def pieces(self, request: CompletionRequest) -> AsyncGenerator[Piece]:
        """Ask once, without repeating, and yield what comes. Raises only ModelError."""
        ...


class RemoteModel:
    """A `Model` that a provider runs. `on_text` is called in another thread than the call's."""

    def __init__(self, wire: Wire, door: Door, model: str, *, context_length: int) -> None:
        self._wire = wire
        self._identity = ModelIdentity(
            name=model,
            backend=door.protocol,
            # The weights are the provider's secret: what can be told apart is where which name was asked.
            sha256=hashlib.sha256(f"{door.base_url}\n{model}".encode()).hexdigest(),
            build=wire.build,
            context_length=context_length,
            threads=0,
        )

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    def complete(
        self, request: CompletionRequest, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Answer once; the completion's `model.build` says who answered.

        Raises ModelBusy at the deadline, ProviderUnavailable, ModelRefused, and ModelError for a prompt
        that does not fit.
        """
        check_fits(estimated_tokens(request.messages), request, self._identity.context_length)
        if request.deadline_seconds <= 0:
            raise _busy(request)
        started = time.monotonic()
        answer = _Answer(request, on_text)
        # In a thread of its own: what a signal raises in this one, such as the end of a task's time, would be
        # taken for a broken connection by the code that reads it. Here it cancels the reading instead.
        with start_blocking_portal() as portal:
            portal.start_task_soon(self._read, request, answer).result()
        return Completion(
            text=answer.text,
            model=replace(self._identity, build=answer.answered_by or self._identity.build),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            elapsed_ms=int((time.monotonic() - started) * 1000),
            finish_reason=answer.finish_reason,
        )

    async def _read(self, request: CompletionRequest, answer: "_Answer") -> None:
        try:
            async with asyncio.timeout(float(request.deadline_seconds)):
                async with aclosing(self._wire.pieces(request)) as pieces:
                    async for piece in pieces:
                        answer.add(piece)
                        if answer.is_too_long:
                            return
        except TimeoutError:
            if not answer.finish_reason:
                raise _busy(request) from None
        except ProviderUnavailable:
            if not answer.finish_reason:  # else only its cost is not known
                raise
        if not answer.finish_reason:
            raise ProviderUnavailable(
                f"model {self._identity.name}: the answer broke off after {len(answer.text)} characters; "
                "it counts as none"
            )


class _Answer:
    """What has come so far."""

    def __init__(self, request: CompletionRequest, on_text: Callable[[str], None] | None) -> None:
        self._request, self._on_text = request, on_text
        self._pieces: list[str] = []
        self._length = 0
        self._prompt_tokens: int | None = None
        self._completion_tokens: int | None = None
        self.finish_reason = ""
        self.answered_by: str | None = None

    def add(self, piece: Piece) -> None:
        """Raises ModelRefused where the provider says that it withholds the answer."""
        if text := _storable(piece.text):
            self._pieces.append(text)
            self._length += len(text)
            if self._on_text is not None:
                self._on_text(text)
        if piece.finish_reason not in (None, "stop", "length"):
            raise ModelRefused(
                f"the provider withheld its answer ({piece.finish_reason[:40]}): change prompt or model"
            )
        self.finish_reason = piece.finish_reason or self.finish_reason
        self.answered_by = (piece.answered_by or "")[:_SHOWN] or self.answered_by
        if piece.prompt_tokens is not None:
            self._prompt_tokens = piece.prompt_tokens
        if piece.completion_tokens is not None:
            self._completion_tokens = piece.completion_tokens

    @property
    def is_too_long(self) -> bool:
        """Whether to stop reading: then the answer is cut."""
        if self._length > self._request.max_tokens * _CHARACTERS_A_TOKEN:
            self.finish_reason = "length"
            return True
        return False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def prompt_tokens(self) -> int:
        """As the provider counts; where it does not tell, as many as can be."""
        return token_bound(self._request) if self._prompt_tokens is None else self._prompt_tokens

    @property
    def completion_tokens(self) -> int:
        return self._request.max_tokens if self._completion_tokens is None else self._completion_tokens


def _storable(text: str) -> str:
    """Without what Postgres takes in no text: NUL, and half of a character."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _busy(request: CompletionRequest) -> ModelBusy:
    return ModelBusy(f"no answer within models.deadline of {request.deadline_seconds} s")


def refusal(door: Door, model: str, status: int, headers: Mapping[str, str], said: str) -> ModelError:
    """Our error for an HTTP status that is no answer. `said`: the provider's words, without the key."""
    where = f"{door.name} ({door.base_url})"
    words = "".join(c if c.isprintable() else " " for c in said)[:_SHOWN]
    if status in _TRANSIENT or status >= 500:
        return ProviderUnavailable(
            f"{where} cannot answer now ({status}): {words}",
            retry_after=_retry_after(headers),
            is_unanswered=True,
        )
    return ModelRefused(f"{where} {_remedy(door, model, status, words)}", is_unanswered=True)


def _remedy(door: Door, model: str, status: int, words: str) -> str:
    setting = f"models.providers.{door.name}"
    if status in (401, 403):  # not quoted: some repeat what they were sent
        return (
            f"refuses the key ({status}): correct ALINA_MODEL_KEYS__{door.name.upper()} or "
            f"{setting}.api_key_file, and look what the key may do"
        )
    if status == 404:
        return (
            f"does not know the model {model!r}, or has another address ({words}): correct the name, "
            f"or {setting}.base_url"
        )
    if 300 <= status < 400:
        return f"redirects: set {setting}.base_url to where it is"
    return (
        f"refuses the request ({status}): {words}. What it does not take can be set in "
        f"{setting}: structured and omit"
    )


def unreachable(door: Door, error: Exception) -> ProviderUnavailable:
    """Our error where no status came, or the stream broke off."""
    cause = error.__cause__ or error
    return ProviderUnavailable(
        f"{door.name} ({door.base_url}) does not answer, or broke off ({type(cause).__name__}): "
        f"look at the network, and at models.providers.{door.name}",
        is_unanswered=isinstance(cause, (httpx2.ConnectError, httpx2.ConnectTimeout)),
    )


def _retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Retry-After: seconds, or an HTTP date (RFC 9110, 10.2.3)."""
    told = headers.get("retry-after", "")
    try:
        wait = timedelta(seconds=float(told))
    except (ValueError, OverflowError):
        try:
            at = parsedate_to_datetime(told)
        except ValueError:
            return None
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - datetime.now(UTC)
    return max(wait, timedelta(0))
