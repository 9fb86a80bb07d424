"""Chat completions as OpenAI defined them and many others speak them, through the `openai` package."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import openai
from openai.types.chat import ChatCompletionChunk

from alina.domain.runs import CompletionRequest
from alina.llm.http_wire import HttpWire
from alina.llm.portable_schema import portable_schema
from alina.llm.remote import Piece

_ANSWER = "answer"  # what the schema, or the tool that takes it, is called
_IN_WORDS = "Answer with one JSON object and nothing else. It must satisfy this JSON schema: "
#: larger seeds are refused by some
_SEEDS = 2**31
_FINISHES = {"stop": "stop", "tool_calls": "stop", "function_call": "stop", "length": "length"}


class OpenAICompatible(HttpWire):
    """The `Wire` of one model behind such a door."""

    build = f"openai {openai.__version__}"
    api_error, status_error = openai.APIError, openai.APIStatusError
    answer_name = "chat completion"

    async def _asked(self, request: CompletionRequest) -> AsyncGenerator[Piece]:
        async with self._client() as client:
            stream = await client.chat.completions.create(**self._body(request))
            async with stream:
                async for chunk in stream:
                    for piece in _pieces(chunk):
                        yield piece

    def _client(self) -> openai.AsyncOpenAI:
        http_client = openai.DefaultAsyncHttpxClient(**self._http_options())
        client = openai.AsyncOpenAI(**self._options(), http_client=http_client)
        # The package takes them from the environment, and would tell them to whichever door this is.
        client.organization = client.project = None
        return client

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": each.role, "content": each.content} for each in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            self._door.limit_name: request.max_tokens,
            "temperature": float(request.temperature),
            "seed": request.seed % _SEEDS,
        }
        if request.json_schema is not None:
            schema = portable_schema(request.json_schema, takes_bounds=self._door.takes_bounds)
            self._ask_for(schema, body)
        return {name: value for name, value in body.items() if name not in self._door.omit}

    def _ask_for(self, schema: dict[str, Any], body: dict[str, Any]) -> None:
        """Tell the door the schema in the way that it understands."""
        match self._door.structured:
            case "json_schema":
                told = {"name": _ANSWER, "schema": schema, "strict": True}
                body["response_format"] = {"type": "json_schema", "json_schema": told}
            case "json_object_schema":
                body["response_format"] = {"type": "json_object", "schema": schema}
            case "tool":
                function = {"name": _ANSWER, "parameters": schema}
                body["tools"] = [{"type": "function", "function": function}]
                body["tool_choice"] = {"type": "function", "function": {"name": _ANSWER}}
            case "json_object":
                body["response_format"] = {"type": "json_object"}
                told_in_words = {"role": "system", "content": _IN_WORDS + json.dumps(schema)}
                body["messages"] = [told_in_words, *body["messages"]]


def _pieces(chunk: ChatCompletionChunk) -> list[Piece]:
    """Of one event; a door may leave out anything."""
    usage = chunk.usage
    pieces = [
        Piece(
            answered_by=" ".join(filter(None, (chunk.model, chunk.system_fingerprint))),
            prompt_tokens=usage.prompt_tokens if usage else None,
            completion_tokens=usage.completion_tokens if usage else None,
        )
    ]
    for choice in chunk.choices or ():
        called = (choice.delta.tool_calls or ()) if choice.delta else ()
        arguments = "".join(call.function.arguments or "" for call in called if call.function)
        text = ((choice.delta.content or "") if choice.delta else "") + arguments
        finish = choice.finish_reason
        pieces.append(Piece(text=text, finish_reason=_FINISHES.get(finish, finish) if finish else None))
    return pieces
