from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.field_errors import MAX_ERRORS, broken_rule, describe, path


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    size: int = Field(description="a whole number")


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    fullName: str = Field(default="", description="a string")  # noqa: N815
    parts: list[Inner] | None = Field(default=None, description="an array")
    words: dict[str, str] | None = Field(default=None, description="an object")


def reported(value: object) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate_json(json.dumps(value))
    return [(error.field, error.message) for error in describe(caught.value, Outer)]


def test_wrong_value_is_reported_with_the_fields_description() -> None:
    assert reported({"fullName": 1, "parts": [{"size": "x"}]}) == [
        ("fullName", "Expected a string."),
        ("parts[0].size", "Expected a whole number."),
    ]


def test_missing_field_is_reported_with_what_was_expected() -> None:
    assert reported({"parts": [{}]}) == [("parts[0].size", "Required: a whole number.")]


def test_value_without_a_description_is_reported_in_pydantics_words() -> None:
    assert reported({"words": {"a": 1}, "parts": [1]}) == [
        ("parts[0]", "Expected an object."),
        ("words.a", "Expected a valid string."),
    ]


@pytest.mark.parametrize("typo", ["fullname", "FULLNAME", "full_name", "fulName", "FullName"])
def test_unknown_field_is_reported_with_the_nearest_known_one(typo: str) -> None:
    assert reported({typo: "x"}) == [(typo, "Unknown field; did you mean fullName?")]


def test_unknown_field_unlike_any_is_reported_with_the_known_ones_of_its_level() -> None:
    assert reported({"zzz": 1, "parts": [{"size": 1, "qqq": 1}]}) == [
        ("parts[0].qqq", "Unknown field; known: size."),
        ("zzz", "Unknown field; known: fullName, parts, words."),
    ]


def test_number_of_reported_errors_is_bounded() -> None:
    assert len(reported({f"x{n}": 1 for n in range(1000)})) == MAX_ERRORS


def test_broken_rule_keeps_its_own_words_and_place() -> None:
    error = ValidationError.from_exception_data("Outer", [broken_rule(("parts", 1), "Expected {something} else.")])
    assert [(e.field, e.message) for e in describe(error, Outer)] == [("parts[1]", "Expected {something} else.")]


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (("tools", 0, "http", "httpMethod"), "tools[0].http.httpMethod"),
        (("metadata", "order-id"), "metadata.order-id"),
        (("metadata", "a b"), 'metadata["a b"]'),
        (("metadata", "\r\n"), 'metadata["\\r\\n"]'),
        (("metadata", "x", "[key]"), "metadata.x"),
        (("y" * 100_000,), '["' + "y" * 64 + '"]'),
    ],
)
def test_path_reads_like_the_json_it_points_into(location: tuple[int | str, ...], text: str) -> None:
    assert path(location) == text
