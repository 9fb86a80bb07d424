"""Prompt revisions rendered to messages, in a sandbox.

Templates are Jinja2 and may be written by a model, so they run without access to anything but
the values given to them. Text from outside (market data, facts, names) goes through the filter
`fence`: `{{ fact.text | fence }}`.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from alina.domain.runs import Message, PromptRevision
from alina.errors import ConfigError

#: characters of one rendered message; far above what any context holds
_MESSAGE_LIMIT = 100_000
_FENCE_LIMIT = 400
_OPEN, _CLOSE = "«", "»"


def render(revision: PromptRevision, context: Mapping[str, Any]) -> tuple[Message, ...]:
    """The system and the user message of a revision. Raises ConfigError naming prompt and line."""
    return (
        Message("system", _rendered(revision, "system", revision.system, context)),
        Message("user", _rendered(revision, "template", revision.template, context)),
    )


def check(revision: PromptRevision) -> None:
    """Raise ConfigError naming prompt and line for what no context could be rendered with."""
    for part, source in (("system", revision.system), ("template", revision.template)):
        try:
            _environment().from_string(source)
        except TemplateSyntaxError as error:
            raise _fault(_place(revision, part), error.lineno, error.message) from error


def fence(text: object, limit: int = _FENCE_LIMIT) -> str:
    """Outside text as one line of data in « », without control characters, at most `limit` long."""
    visible = "".join(
        " " if unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"} else character
        for character in str(text)
        if character not in {_OPEN, _CLOSE}
    )
    return f"{_OPEN}{' '.join(visible.split())[:limit]}{_CLOSE}"


def _rendered(revision: PromptRevision, part: str, source: str, context: Mapping[str, Any]) -> str:
    place = _place(revision, part)
    try:
        text = _bounded(_environment().from_string(source), context, place)
    except TemplateSyntaxError as error:
        raise _fault(place, error.lineno, error.message) from error
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _fault(place, _line(error), error) from error
    return text


def _place(revision: PromptRevision, part: str) -> str:
    return f"prompt {revision.prompt!r} revision {revision.number}, {part}"


def _fault(place: str, line: int, fault: object) -> ConfigError:
    return ConfigError(f"{place}, line {line}: {fault}")


def _bounded(template: Template, context: Mapping[str, Any], place: str) -> str:
    pieces, length = [], 0
    for piece in template.generate(context):
        pieces.append(piece)
        length += len(piece)
        if length > _MESSAGE_LIMIT:
            raise ConfigError(f"{place}: renders to more than {_MESSAGE_LIMIT} characters; shorten it")
    return "".join(pieces)


class _Sandbox(ImmutableSandboxedEnvironment):
    """No powers and no repeated text: both can fill the memory in one short expression."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or isinstance(left, Sequence) or isinstance(right, Sequence):
            raise SecurityError("powers are not allowed, and * only between numbers")
        return super().call_binop(context, operator, left, right)


def _environment() -> ImmutableSandboxedEnvironment:
    # Prompts are text, not HTML: escaping would only garble them.
    environment = _Sandbox(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()  # range and the like: a prompt loops over what it is given, only
    environment.filters["fence"] = fence
    return environment


def _line(error: Exception) -> int:
    """The template's own line, which Jinja2 puts into the traceback."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
