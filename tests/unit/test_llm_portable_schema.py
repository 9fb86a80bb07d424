"""Schemas as providers take them: closed, complete, in order, bounded by keywords or by words."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field

from alina.llm.portable_schema import portable_schema
from alina.llm.structured import schema_of


class Leg(BaseModel):
    symbol: str = Field(max_length=12)
    percent: int = Field(ge=1, le=100, description="of the budget")


class Answer(BaseModel):
    rationale: str = Field(min_length=12, max_length=120)
    legs: list[Leg] = Field(min_length=1, max_length=3)
    stop: int | None = Field(default=None, ge=1, le=10)


def keywords(node: Any) -> set[str]:
    if isinstance(node, dict):
        return set(node).union(*(keywords(value) for value in node.values()))
    return set().union(*(keywords(item) for item in node)) if isinstance(node, list) else set()


@pytest.mark.parametrize("takes_bounds", [True, False])
def test_every_object_is_closed_and_complete_in_the_same_order(takes_bounds: bool) -> None:
    schema = portable_schema(schema_of(Answer), takes_bounds=takes_bounds)
    Draft202012Validator.check_schema(schema)
    assert list(schema["properties"]) == schema["required"] == ["rationale", "legs", "stop"]
    leg = schema["properties"]["legs"]["items"]
    assert leg["required"] == ["symbol", "percent"]
    assert schema["additionalProperties"] is leg["additionalProperties"] is False
    assert not {"title", "default"} & keywords(schema)


def test_bounds_stay_where_they_are_understood() -> None:
    schema = portable_schema(schema_of(Answer), takes_bounds=True)
    assert schema["properties"]["rationale"]["maxLength"] == 120
    assert schema["properties"]["legs"]["items"]["properties"]["percent"]["maximum"] == 100


def test_bounds_become_words_where_keywords_are_refused() -> None:
    schema = portable_schema(schema_of(Answer), takes_bounds=False)
    bounds = {"minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"}
    assert not bounds & keywords(schema)
    properties = schema["properties"]
    assert properties["rationale"]["description"] == "at least 12 characters; at most 120 characters"
    percent = properties["legs"]["items"]["properties"]["percent"]
    assert percent["description"] == "of the budget; at least 1; at most 100"
    assert properties["stop"]["anyOf"][0]["description"] == "at least 1; at most 10"


def test_the_schema_itself_is_left_as_it_was() -> None:
    schema = schema_of(Answer)
    portable_schema(schema, takes_bounds=False)
    assert schema == schema_of(Answer)
