"""Anthropic's Messages, through its own package. They take no seed, and their models no temperature."""

from collections.abc import AsyncGenerator
from typing import Any

import anthropic
import httpx2

from alina.domain.runs import CompletionRequest
from alina.errors import ModelError, ProviderUnavailable
from alina.llm.doors import Door
from alina.llm.portable_schema import portable_schema
from alina.llm.remote import Piece, refusal, unreachable

_ANSWER = "answer"
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


class AnthropicMessages:
    """The `Wire` of one model there."""

    build = f"anthropic {anthropic.__version__}"

    def __init__(self, door: Door, model: str, *, key: str | None, connect: float, read: float) -> None:
        """`connect` and `read` in seconds. The key is kept here and nowhere else."""
        self._door, self._model, self._key = door, model, key
        self._timeout = httpx2.Timeout(read, connect=connect)
        self._tls = httpx2.create_ssl_context()  # once: it takes longer than a request

    async def pieces(self, request: CompletionRequest) -> AsyncGenerator[Piece]:
        """Raises ProviderUnavailable and ModelRefused."""
        try:
            async with self._client() as client:
                stream = await client.messages.create(**self._body(request))
                async with stream:
                    async for event in stream:
                        yield _piece(event)
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise self._explained(error) from None
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            raise ProviderUnavailable(
                f"{self._door.name} ({self._door.base_url}) wrote what is no message "
                f"({type(error).__name__}): look whether base_url is right"
            ) from None

    def _client(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            api_key=self._key or "none",
            base_url=self._door.base_url,
            timeout=self._timeout,
            max_retries=0,
            http_client=anthropic.DefaultAsyncHttpxClient(
                follow_redirects=False, timeout=self._timeout, verify=self._tls
            ),
        )

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": request.max_tokens,
            "messages": [
                {"role": each.role, "content": each.content}
                for each in request.messages
                if each.role != "system"
            ],
            "stream": True,
        }
        if system := "\n".join(each.content for each in request.messages if each.role == "system"):
            body["system"] = system
        if request.json_schema is not None:
            schema = portable_schema(request.json_schema, takes_bounds=self._door.takes_bounds)
            if self._door.structured == "tool":
                body["tools"] = [{"name": _ANSWER, "input_schema": schema}]
                body["tool_choice"] = {"type": "tool", "name": _ANSWER}
            else:
                body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return {name: value for name, value in body.items() if name not in self._door.omit}

    def _explained(self, error: anthropic.APIError | httpx2.HTTPError) -> ModelError:
        if isinstance(error, anthropic.APIStatusError) and error.status_code >= 300:
            said = error.message.replace(self._key, "***") if self._key else error.message
            return refusal(self._door, self._model, error.status_code, error.response.headers, said)
        return unreachable(self._door, error)


def _piece(event: Any) -> Piece:
    """Of one event; what is of no interest, such as a thought, adds nothing."""
    match event.type:
        case "message_start":
            usage = event.message.usage
            cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
            return Piece(answered_by=event.message.model, prompt_tokens=usage.input_tokens + cached)
        case "content_block_delta" if event.delta.type == "text_delta":
            return Piece(text=event.delta.text)
        case "content_block_delta" if event.delta.type == "input_json_delta":
            return Piece(text=event.delta.partial_json)
        case "message_delta":
            reason = event.delta.stop_reason
            return Piece(
                finish_reason=_FINISHES.get(reason, reason), completion_tokens=event.usage.output_tokens
            )
    return Piece()
