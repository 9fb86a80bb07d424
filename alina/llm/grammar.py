"""A JSON schema as a GBNF grammar, so that a model can write nothing else.

Only what can be bounded is accepted, for small models run away inside unbounded text: strings
need `maxLength`, integers `minimum` and `maximum`, arrays `maxItems`; there are no floats.
Properties are written in the schema's own order, all of them, in the layout of `json.dumps`.
Strings hold no escapes and no control characters, so that every answer can be stored as text.
"""

import json
from collections.abc import Mapping
from typing import Any

from alina.errors import ModelError

_CHARACTER = r'[^"\\\x00-\x1F\x7F]'
_NOTES = {"title", "description", "default", "examples"}
_KEYWORDS = {
    "object": {"type", "properties", "required", "additionalProperties"},
    "array": {"type", "items", "minItems", "maxItems"},
    "string": {"type", "minLength", "maxLength"},
    "integer": {"type", "minimum", "maximum"},
    "boolean": {"type"},
    "null": {"type"},
}


def grammar_from_schema(schema: Mapping[str, Any]) -> str:
    """GBNF whose root is `schema`. Raises ModelError naming what cannot be bounded or is unknown."""
    return f"root ::= {_rule(schema, '$')}"


def _rule(schema: Mapping[str, Any], path: str) -> str:
    if "enum" in schema or "const" in schema:
        return _choice(_literal(json.dumps(value)) for value in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return _choice(_rule(option, path) for option in schema["anyOf"])
    kind = schema.get("type")
    if kind not in _KEYWORDS:
        raise ModelError(f"schema at {path}: type {kind!r} cannot be bounded; use {', '.join(_KEYWORDS)}")
    unknown = set(schema) - _KEYWORDS[kind] - _NOTES
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ModelError(f"schema at {path}: {names} cannot be kept by a grammar; drop it")
    if kind == "boolean":
        return _choice(['"true"', '"false"'])
    return '"null"' if kind == "null" else _RULES[kind](schema, path)


def _object(schema: Mapping[str, Any], path: str) -> str:
    if schema.get("additionalProperties"):
        raise ModelError(f"schema at {path}: unnamed properties are unbounded; name every one")
    members = [
        f"{_literal(json.dumps(name) + ': ')} {_rule(member, f'{path}.{name}')}"
        for name, member in schema.get("properties", {}).items()
    ]
    return " ".join(['"{"', ' ", " '.join(members), '"}"'])


def _array(schema: Mapping[str, Any], path: str) -> str:
    low, high = schema.get("minItems", 0), _needed(schema, "maxItems", path)
    item = _rule(schema["items"], f"{path}[]")
    items = f'{item} (", " {item}){{{max(low - 1, 0)},{high - 1}}}'
    return f'"[" {items} "]"' if low else f'"[" ({items})? "]"'


def _string(schema: Mapping[str, Any], path: str) -> str:
    return rf'"\"" {_CHARACTER}{{{schema.get("minLength", 0)},{_needed(schema, "maxLength", path)}}} "\""'


def _integer(schema: Mapping[str, Any], path: str) -> str:
    low, high = _needed(schema, "minimum", path), _needed(schema, "maximum", path)
    if low > high:
        raise ModelError(f"schema at {path}: minimum {low} is above maximum {high}")
    options = []
    if low < 0:
        options += [f'"-" {option}' for option in _numbers(max(1, -high), -low)]
    if high >= 0:
        options += _numbers(max(0, low), high)
    return _choice(options)


def _numbers(low: int, high: int) -> list[str]:
    """Rules for the whole numbers low to high, neither negative, one or more for each count of digits."""
    rules = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        smallest = max(low, 10 ** (digits - 1) if digits > 1 else 0)
        rules.append(_digits(str(smallest), str(min(high, 10**digits - 1))))
    return rules


def _digits(low: str, high: str) -> str:
    """A rule for the numbers between two of equally many digits."""
    if not low:
        return ""
    if low[0] == high[0]:
        return f'"{low[0]}" {_digits(low[1:], high[1:])}'.strip()
    rest = len(low) - 1
    nines, zeros = "9" * rest, "0" * rest
    if (low[1:], high[1:]) == (zeros, nines):
        return f"[{low[0]}-{high[0]}]" + (f" [0-9]{{{rest}}}" if rest else "")
    if low[1:] != zeros:
        above = str(int(low[0]) + 1) + zeros
        return _choice([_digits(low, low[0] + nines), _digits(above, high)])
    below = str(int(high[0]) - 1) + nines
    return _choice([_digits(low, below), _digits(high[0] + zeros, high)])


def _needed(schema: Mapping[str, Any], keyword: str, path: str) -> int:
    if not isinstance(schema.get(keyword), int):
        raise ModelError(f"schema at {path}: {schema['type']} is unbounded; give it a whole {keyword}")
    return int(schema[keyword])


def _choice(options: Any) -> str:
    return "(" + " | ".join(options) + ")"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_RULES = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
}
