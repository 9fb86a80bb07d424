import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alina.errors import ModelError
from alina.llm.grammar import grammar_from_schema


def as_regex(grammar: str) -> re.Pattern[str]:
    """The one-rule grammars of this module are regular: read them with Python's own engine."""
    rule = grammar.removeprefix("root ::= ")
    parts = re.findall(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[^\s]', rule)
    return re.compile("".join(_part(part) for part in parts))


def _part(part: str) -> str:
    if part.startswith('"'):
        return re.escape(re.sub(r"\\(.)", r"\1", part[1:-1]))
    return part


def accepts(schema: Mapping[str, Any], text: str) -> bool:
    return as_regex(grammar_from_schema(schema)).fullmatch(text) is not None


@given(bounds=st.tuples(st.integers(-2500, 2500), st.integers(-2500, 2500)), number=st.integers(-3000, 3000))
def test_an_integer_is_accepted_exactly_within_its_bounds(bounds: tuple[int, int], number: int) -> None:
    low, high = sorted(bounds)
    schema = {"type": "integer", "minimum": low, "maximum": high}
    assert accepts(schema, str(number)) == (low <= number <= high)


@pytest.mark.parametrize("text", ["007", "-0", "+1", "1.0", "1e1", ""])
def test_an_integer_has_one_spelling(text: str) -> None:
    assert not accepts({"type": "integer", "minimum": -10, "maximum": 10}, text)


def test_a_string_is_held_to_its_length_and_holds_nothing_that_json_would_escape() -> None:
    schema = {"type": "string", "minLength": 1, "maxLength": 3}
    assert accepts(schema, '"abc"')
    assert accepts(schema, '"é[]"')
    for refused in ['""', '"abcd"', '"a\nb"', '"a\\n"', '"a"b"', '"\x00"']:
        assert not accepts(schema, refused)


def test_properties_are_written_in_the_order_of_the_schema_and_all_of_them() -> None:
    schema = {
        "type": "object",
        "properties": {"b": {"enum": ["x", "y"]}, "a": {"type": "boolean"}, "c": {"type": "null"}},
        "required": ["b"],
        "additionalProperties": False,
    }
    assert accepts(schema, '{"b": "x", "a": true, "c": null}')
    assert not accepts(schema, '{"a": true, "b": "x", "c": null}')
    assert not accepts(schema, '{"b": "x"}')


def test_an_array_holds_between_its_least_and_its_most_items() -> None:
    item = {"enum": [1]}
    some = {"type": "array", "items": item, "minItems": 2, "maxItems": 3}
    assert [accepts(some, text) for text in ("[1]", "[1, 1]", "[1, 1, 1]", "[1, 1, 1, 1]")] == [
        False,
        True,
        True,
        False,
    ]
    assert accepts({"type": "array", "items": item, "maxItems": 2}, "[]")


def test_a_value_may_be_one_of_several_kinds() -> None:
    schema = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "null"}]}
    assert accepts(schema, "4")
    assert accepts(schema, "null")
    assert not accepts(schema, "6")


@pytest.mark.parametrize(
    ("schema", "remedy"),
    [
        ({"type": "string"}, "maxLength"),
        ({"type": "integer", "minimum": 0}, "maximum"),
        ({"type": "array", "items": {"type": "null"}}, "maxItems"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "'number' cannot be bounded"),
        ({"type": "object", "additionalProperties": {"type": "null"}}, "name every one"),
        ({"type": "string", "maxLength": 9, "pattern": "^a"}, "pattern"),
        ({"$ref": "#/$defs/A"}, "None"),
    ],
)
def test_what_a_grammar_cannot_bound_is_refused_by_name(schema: Mapping[str, Any], remedy: str) -> None:
    with pytest.raises(ModelError, match=re.escape(remedy)):
        grammar_from_schema({"type": "object", "properties": {"field": schema}})
