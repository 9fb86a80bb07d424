"""A JSON schema as providers take it: closed, complete, and bounded in words where keywords are refused.

What a provider does not enforce is checked when the answer is here: see `structured`.
"""

from collections.abc import Mapping
from typing import Any

#: what a bound is called where only words are understood
_BOUNDS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}
_DROPPED = {"title", "default", "examples"}


def portable_schema(schema: Mapping[str, Any], *, takes_bounds: bool) -> dict[str, Any]:
    """`schema` with every property required and no other allowed, in the same order.

    Without `takes_bounds` lengths and ranges move into the descriptions.
    """
    plain = {key: value for key, value in schema.items() if key not in _DROPPED}
    if not takes_bounds:
        plain = _told_in_words(plain)
    if "anyOf" in plain:
        plain["anyOf"] = [portable_schema(each, takes_bounds=takes_bounds) for each in plain["anyOf"]]
    if "items" in plain:
        plain["items"] = portable_schema(plain["items"], takes_bounds=takes_bounds)
    if plain.get("type") == "object":
        properties = plain.get("properties", {})
        plain["properties"] = {
            name: portable_schema(each, takes_bounds=takes_bounds) for name, each in properties.items()
        }
        plain |= {"required": list(properties), "additionalProperties": False}
    return plain


def _told_in_words(schema: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key not in _BOUNDS}
    words = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    if words:
        told = [schema["description"]] if "description" in schema else []
        kept["description"] = "; ".join([*told, *words])
    return kept
