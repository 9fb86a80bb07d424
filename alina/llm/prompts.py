"""Prompt revisions rendered to messages, in a sandbox.

Templates are Jinja2 and may be written by a model, so they run without access to anything but
the values given to them. Text from outside (market data, facts, names) goes through the filter
`fence`: `{{ fact.text | fence }}`.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.exceptions import TemplateSyntaxError

from alina.domain.runs import Message, PromptRevision
from alina.errors import ConfigError
from alina.llm.templates import MESSAGE_LIMIT, environment

_FENCE_LIMIT = 400
_OPEN, _CLOSE = "«", "»"
#: what a template can raise by what it says
_FAULTS = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError)
#: control, format, half a character, and what ends a line or a paragraph
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def render(revision: PromptRevision, context: Mapping[str, Any]) -> tuple[Message, ...]:
    """The system and the user message of a revision. Raises ConfigError naming prompt and line."""
    return (
        Message("system", _rendered(revision, "system", revision.system, context)),
        Message("user", _rendered(revision, "template", revision.template, context)),
    )


def check(revision: PromptRevision) -> None:
    """Raise ConfigError naming prompt and line for what no context could be rendered with."""
    for part, source in (("system", revision.system), ("template", revision.template)):
        _compiled(source, _place(revision, part))


def fence(text: object, limit: int = _FENCE_LIMIT) -> str:
    """Outside text as one line of data in « », without control characters, at most `limit` long."""
    visible = "".join(
        " " if unicodedata.category(character) in _UNPRINTABLE else character
        for character in str(text)
        if character not in {_OPEN, _CLOSE}
    )
    return f"{_OPEN}{' '.join(visible.split())[:limit]}{_CLOSE}"


def _rendered(revision: PromptRevision, part: str, source: str, context: Mapping[str, Any]) -> str:
    place = _place(revision, part)
    template = _compiled(source, place)
    try:
        return _bounded(template, context, place)
    except _FAULTS as error:
        raise _fault(place, _line(error), error) from error


def _compiled(source: str, place: str) -> Template:
    try:
        return environment(fence).from_string(source)
    except TemplateSyntaxError as error:
        raise _fault(place, error.lineno, error.message) from error
    except (RecursionError, SyntaxError) as error:  # of Python, which has the template's structure
        raise _fault(place, 1, "it is nested too deeply") from error


def _place(revision: PromptRevision, part: str) -> str:
    return f"prompt {revision.prompt!r} revision {revision.number}, {part}"


def _fault(place: str, line: int, fault: object) -> ConfigError:
    return ConfigError(f"{place}, line {line}: {fault}")


def _bounded(template: Template, context: Mapping[str, Any], place: str) -> str:
    pieces, length = [], 0
    for piece in template.generate(context):
        pieces.append(piece)
        length += len(piece)
        if length > MESSAGE_LIMIT:
            raise ConfigError(f"{place}: renders to more than {MESSAGE_LIMIT} characters; shorten it")
    return "".join(pieces)


def _line(error: Exception) -> int:
    """The template's own line, which Jinja2 puts into the traceback."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
