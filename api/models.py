"""What every request and every answer is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from api.problems import FieldError, Kind, Refusal

T = TypeVar("T")


class Given(BaseModel):
    """A request, or a part of one: strict types, no unknown members.

    A field's description completes "Expected …": it is the OpenAPI text and the error message at once.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, alias_generator=to_camel)


class View(BaseModel):
    """An answer, or a part of one. A member without a value is left out."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True)

    def json_text(self) -> str:
        """One line of JSON."""
        return self.model_dump_json(exclude_none=True)


def answer(view: View, status: int = 200) -> Response:
    """The HTTP answer that shows ``view``."""
    return Response(view.json_text(), status, media_type="application/json")


def refused(what: str, kind: Kind, mistakes: list[FieldError]) -> Refusal:
    """The refusal of a request with every mistake in it; ``what`` says what was not done ("No call was placed")."""
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return Refusal(kind, f"{what}: the request has {count}, see errors.", errors=mistakes)


def _not_null(value: object) -> object:
    # Null is not the same as absent: a null systemPrompt may or may not have meant "no AI".
    if value is None:
        raise PydanticCustomError("expected", "null")
    return value


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) and "T" in value else "")
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("expected", "no time with a zone")


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Optionally = Annotated[T | None, BeforeValidator(_not_null)]
"""A field that may be left out but not be null."""
E164 = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]
Word = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\s][^\x00-\x1f\x7f]*$")
]
"""One line that is not blank."""
Moment = Annotated[datetime, PlainValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
"""RFC 3339, with its zone."""
Timestamp = Annotated[
    datetime,
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "description": "UTC, with milliseconds"}),
]


class SipView(View):
    """The final SIP response (RFC 3261 §21)."""

    code: int
    reason: str
