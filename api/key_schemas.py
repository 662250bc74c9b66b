"""What a client may ask of keys: read and checked whole, as calls are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from api import body
from api.field_errors import describe
from api.problems import VALIDATION_ERROR
from api.schemas import Given, Moment, Optionally, Word, refused
from engine.keys.keys import EVERYTHING, SCOPES
from engine.records import Environment

_NAMES = ", ".join(sorted(SCOPES))
MAX_RATE = 10_000


def _known(scope: str) -> str:
    if scope not in SCOPES:
        raise PydanticCustomError("expected", "no scope")
    return scope


def _to_come(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise PydanticCustomError("expected", "no time to come")
    return moment


Scope = Annotated[str, AfterValidator(_known)]


class KeyRequest(Given):
    """A key to make. It can have no more than the key that asks has."""

    name: Annotated[Word, StringConstraints(max_length=100)] = Field(
        description="who or what the key is for: a string of 1 to 100 characters that is not blank"
    )
    environment: Optionally[Environment] = Field(
        default=None, description='"live" or "test"; as with the key that asks when left out'
    )
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))] = Field(
        default=[EVERYTHING],
        description=f"an array of some of {_NAMES}, where * is all but keys:manage",
    )
    rate_limit: Optionally[Annotated[float, Field(gt=0, le=MAX_RATE)]] = Field(
        default=None, description=f"requests per second: a number above 0, up to {MAX_RATE} (10 when left out)"
    )
    expires_at: Optionally[Annotated[Moment, AfterValidator(_to_come)]] = Field(
        default=None, description='a time to come with its zone, such as "2030-01-31T00:00:00Z"'
    )


def read_key(content: bytes) -> KeyRequest:
    """The key that a body asks for. Raises ``Refusal`` with every mistake there is."""
    _, canonical = body.parse(content)
    try:
        return KeyRequest.model_validate_json(canonical)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise refused("No key was made", VALIDATION_ERROR, describe(found, KeyRequest)) from None
