"""Pydantic's errors in the contract's words: which field, and what was expected there.

The expectation is the field's description, which the OpenAPI document shows too. A rule that spans fields raises
``broken_rule`` with its own sentence.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from api.problems import FieldError

MAX_ERRORS = 50
"""The most mistakes that one answer reports."""

_Location = tuple[int | str, ...]
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def broken_rule(location: _Location, message: str) -> InitErrorDetails:
    """One mistake for ``ValidationError.from_exception_data``; ``location`` is relative to the model that raises it."""
    return InitErrorDetails(type=PydanticCustomError("rule", message), loc=location, input=None)


def describe(error: ValidationError, model: type[BaseModel]) -> list[FieldError]:
    """The mistakes that ``model`` found, at most ``MAX_ERRORS``, in the order of its fields."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return [FieldError(field=path(one["loc"]), message=_message(one, model)) for one in found[:MAX_ERRORS]]


def path(location: _Location) -> str:
    """``("tools", 0, "http")`` as ``tools[0].http``; names that would confuse a reader are quoted."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part == "[key]":  # pydantic's mark for "the key itself"
            continue
        elif _PLAIN_NAME.fullmatch(part) and len(part) <= 64:
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part[:64])}]"
    return text


def _message(error: ErrorDetails, model: type[BaseModel]) -> str:
    location = error["loc"]
    match error["type"]:
        case "rule":
            return error["msg"]
        case "extra_forbidden":
            parent, _ = _resolve(model, location[:-1])
            return _unknown(str(location[-1]), parent)
        case "missing":
            _, field = _resolve(model, location)
            return f"Required: {field.description}." if field else "Required."
        case _:
            _, field = _resolve(model, location)
            expected = field.description if field else None
            return f"Expected {expected}." if expected else error["msg"].replace("Input should be", "Expected", 1) + "."


def _unknown(name: str, model: type[BaseModel] | None) -> str:
    known = {alias.lower(): alias for alias in _fields(model)}
    near = difflib.get_close_matches(name[:64].lower(), known, n=1)
    return (
        f"Unknown field; did you mean {known[near[0]]}?"
        if near
        else f"Unknown field; known: {', '.join(known.values())}."
    )


def _resolve(model: type[BaseModel] | None, location: _Location) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model found at ``location``, and the field if ``location`` names one."""
    field = None
    for part in location:
        field = None if isinstance(part, int) else _fields(model).get(part)
        if not isinstance(part, int):
            model = _model_in(field.annotation) if field else None
    return model, field


def _fields(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()} if model else {}


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)
