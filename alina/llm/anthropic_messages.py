"""Anthropic's Messages, through its own package. They take no seed, and their models no temperature."""

from collections.abc import AsyncGenerator
from typing import Any

import anthropic

from alina.domain.runs import CompletionRequest
from alina.llm.http_wire import HttpWire
from alina.llm.portable_schema import portable_schema
from alina.llm.remote import Piece

_ANSWER = "answer"
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


class AnthropicMessages(HttpWire):
    """The `Wire` of one model there."""

    build = f"anthropic {anthropic.__version__}"
    api_error, status_error = anthropic.APIError, anthropic.APIStatusError
    answer_name = "message"

    async def _asked(self, request: CompletionRequest) -> AsyncGenerator[Piece]:
        async with self._client() as client:
            stream = await client.messages.create(**self._body(request))
            async with stream:
                async for event in stream:
                    yield _piece(event)

    def _client(self) -> anthropic.AsyncAnthropic:
        http_client = anthropic.DefaultAsyncHttpxClient(**self._http_options())
        return anthropic.AsyncAnthropic(**self._options(), http_client=http_client)

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
