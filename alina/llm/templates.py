"""The sandbox of prompts' templates: what of Jinja2 they may use, so that none runs code or fills the memory.

A template may be written by a model. It shows and compares what it is given, in two loops within one another
at most. Whatever makes long text or numbers out of short ones is left out, or looked at before it is done.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: characters of one rendered message; far above what any context holds
MESSAGE_LIMIT = 100_000
_NUMBER_LIMIT = 10**30
_LOOPS = 2
_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.For, nodes.If, nodes.Assign),
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Getattr, nodes.Getitem, nodes.Slice),
    *(nodes.Filter, nodes.Test, nodes.Keyword, nodes.CondExpr, nodes.Compare, nodes.Operand),
    *(nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Pos),
    *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod),
)
_FILTERS = ("abs", "capitalize", "count", "d", "default", "first", "float", "int", "last", "length", "lower")
_MORE_FILTERS = ("max", "min", "sort", "title", "trim", "upper")


def environment(fence: Callable[..., str]) -> ImmutableSandboxedEnvironment:
    """Jinja2 within these bounds. `fence` is the filter for text from outside.

    Raises TemplateSyntaxError for what is not allowed, and SecurityError where it shows while rendering.
    """
    # Prompts are text, not HTML: escaping would only garble them.
    made = _Sandbox(undefined=StrictUndefined, autoescape=False)
    made.globals.clear()  # range and the like: a prompt loops over what it is given, only
    kept = {name: made.filters[name] for name in (*_FILTERS, *_MORE_FILTERS)}
    made.filters = {**kept, "fence": fence, "join": _join}
    return made


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        """Jinja2's own place to look at a template between reading and compiling it."""
        _check(source, loops=0)
        return super()._generate(source, name, filename, defer_init)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        for side in (left, right):
            if isinstance(side, Sequence) or (isinstance(side, int) and abs(side) > _NUMBER_LIMIT):
                raise SecurityError(f"{operator} is only between numbers, and none of more than 30 digits")
        return super().call_binop(context, operator, left, right)


def _check(node: nodes.Node, loops: int) -> None:
    """Raises TemplateSyntaxError naming the line."""
    if isinstance(node, nodes.Pow):
        raise _refused("powers are not allowed", node)
    if not isinstance(node, _ALLOWED):
        raise _refused(f"{type(node).__name__} is not allowed: show, compare, loop and filter only", node)
    loops += isinstance(node, nodes.For)
    if loops > _LOOPS:
        raise _refused(f"more than {_LOOPS} loops within one another are not allowed", node)
    is_made_here = isinstance(node, nodes.List | nodes.Tuple) and getattr(node, "ctx", "load") == "load"
    if is_made_here and not all(isinstance(item, nodes.Const) for item in node.iter_child_nodes()):
        raise _refused("a list may hold words and numbers only", node)
    for child in node.iter_child_nodes():
        _check(child, loops)


def _refused(fault: str, node: nodes.Node) -> TemplateSyntaxError:
    return TemplateSyntaxError(fault, node.lineno)


def _join(values: Iterable[object], separator: str = "") -> str:
    """Jinja2's own, but that it looks first how long the text would be."""
    parts = [str(each) for each in islice(values, MESSAGE_LIMIT)]
    if sum(map(len, parts)) + len(parts) * len(separator) > MESSAGE_LIMIT:
        raise SecurityError(f"join makes more than {MESSAGE_LIMIT} characters")
    return separator.join(parts)
