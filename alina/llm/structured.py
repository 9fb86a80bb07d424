"""Asking a model for an answer of a given type: schema, check, and one repair.

An answer that is malformed twice is no answer: nothing is ever guessed from it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from alina.domain.ports import AnswerStream, Model
from alina.domain.runs import Completion, CompletionRequest, Message, ModelCall
from alina.errors import InvalidAnswer, ModelError
from alina.llm.grammar import grammar_from_schema

AnswerT = TypeVar("AnswerT", bound=BaseModel)

#: characters of a malformed answer, and of what is wrong with it, shown to the model again
_SHOWN = 400
#: wall seconds
_REPLAY_DEADLINE = Decimal(600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Structured(Generic[AnswerT]):
    """The answer, or what was wrong with the last attempt; and every call, for replay."""

    answer: AnswerT | None
    calls: tuple[ModelCall, ...]
    error: str | None


def ask(
    model: Model,
    messages: Sequence[Message],
    answer_type: type[AnswerT],
    *,
    check: Callable[[AnswerT], None] | None = None,
    max_tokens: int,
    temperature: Decimal,
    seed: int,
    deadline_seconds: Decimal,
    stream: AnswerStream | None = None,
) -> Structured[AnswerT]:
    """Ask once and, if the answer does not fit, once more with what was wrong and the next seed.

    `check` raises ValueError for an answer that fits the type but makes no sense. `stream` is told what is
    answered while it is; its end is the caller's to tell.
    The deadline covers both. Raises ModelError, such as ModelBusy, if the first call does;
    if the second does, there is no answer and the error says so.
    """
    request = CompletionRequest(
        messages=tuple(messages),
        json_schema=schema_of(answer_type),
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        deadline_seconds=deadline_seconds,
    )
    first = _called(model, 1, request, stream)
    try:
        return Structured(answer=_parsed(first, answer_type, check), calls=(first,), error=None)
    except InvalidAnswer as error:
        return _ask_again(model, first, str(error), answer_type, check, stream)


def _called(model: Model, attempt: int, request: CompletionRequest, stream: AnswerStream | None) -> ModelCall:
    if stream is None:
        return ModelCall(attempt=attempt, request=request, completion=model.complete(request))
    stream.begin(attempt)
    return ModelCall(attempt=attempt, request=request, completion=model.complete(request, stream.text))


def _ask_again(
    model: Model,
    first: ModelCall,
    fault: str,
    answer_type: type[AnswerT],
    check: Callable[[AnswerT], None] | None,
    stream: AnswerStream | None,
) -> Structured[AnswerT]:
    """The one repair, within what the first call left of the deadline."""
    calls: tuple[ModelCall, ...] = (first,)
    try:
        request = _repair(first, fault)
        calls = (first, _called(model, 2, request, stream))
        return Structured(answer=_parsed(calls[-1], answer_type, check), calls=calls, error=None)
    except ModelError as error:
        return Structured(answer=None, calls=calls, error=f"{fault}; asked again: {error}")


def _repair(first: ModelCall, fault: str) -> CompletionRequest:
    request, text = first.request, first.completion.text
    return replace(
        request,
        messages=(
            *request.messages,
            Message("assistant", text[:_SHOWN]),
            Message("user", f"This answer is not usable: {fault}. Answer again, correctly and in full."),
        ),
        seed=request.seed + 1,
        deadline_seconds=request.deadline_seconds - Decimal(first.completion.elapsed_ms) / 1000,
    )


def _parsed(call: ModelCall, answer_type: type[AnswerT], check: Callable[[AnswerT], None] | None) -> AnswerT:
    completion = call.completion
    if completion.finish_reason == "length":
        raise InvalidAnswer(f"it was cut off at {completion.completion_tokens} tokens")
    try:
        answer = answer_type.model_validate_json(completion.text)
        if check is not None:
            check(answer)
    except ValidationError as error:
        raise InvalidAnswer(_faults(error)) from error
    except ValueError as error:
        raise InvalidAnswer(str(error)[:_SHOWN]) from error
    return answer


def _faults(error: ValidationError) -> str:
    """What is wrong, field by field, without repeating what the model wrote."""
    faults = (
        f"{'.'.join(str(part) for part in fault['loc']) or 'answer'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return "; ".join(faults)[:_SHOWN]


def replay(model: Model, call: ModelCall) -> Completion:
    """Answer a stored request again, without its hurry: a deadline has no part in the text.

    The text is the same where `model` has the identity of the one that answered then.
    """
    return model.complete(replace(call.request, deadline_seconds=_REPLAY_DEADLINE))


def schema_of(answer_type: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a type, references inlined, in the order of its fields.

    Raises ModelError for what cannot be bounded, such as a string without `max_length`.
    """
    full = answer_type.model_json_schema()
    schema: dict[str, Any] = _inlined(full, full.get("$defs", {}))
    grammar_from_schema(schema)
    return schema


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name not in definitions:
            raise ModelError(f"type {name} contains itself, so its answers are unbounded: flatten it")
        rest = {other: value for other, value in definitions.items() if other != name}
        return _inlined(definitions[name], rest)
    return {key: _inlined(value, definitions) for key, value in node.items() if key != "$defs"}
