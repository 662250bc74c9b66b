"""The base of every request and every answer: models, types that they share, and validation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from api.body import Body
from api.field_errors import describe
from api.problems import BAD_REQUEST, VALIDATION_ERROR, FieldError, Kind, Refusal

T = TypeVar("T")
G = TypeVar("G", bound="Given")

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_E164 = r"^\+[1-9][0-9]{6,14}$"
_MALFORMED = "malformed"


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


def validate(body: Body, model: type[G], consequence: str, *, also: Sequence[FieldError] = ()) -> G:
    """``body`` as a ``model``; ``also`` has mistakes that were found by other means.

    Raises ``Refusal`` with every mistake: 400 if each is a number that is not E.164, else 422.
    """
    return _validate(body.canonical, model, consequence, also, malformed=BAD_REQUEST)


def validate_query(query: QueryParams, model: type[G], consequence: str) -> G:
    """``query`` as a ``model``. Raises ``Refusal`` with every mistake."""
    names = (str(field.alias) for field in model.model_fields.values())
    also = [FieldError(field=name, message="Expected once.") for name in names if len(query.getlist(name)) > 1]
    return _validate(json.dumps(dict(query)), model, consequence, also, malformed=VALIDATION_ERROR)


def _validate(
    content: bytes | str, model: type[G], consequence: str, also: Sequence[FieldError], *, malformed: Kind
) -> G:
    kind, mistakes = VALIDATION_ERROR, list(also)
    try:
        given = model.model_validate_json(content)
    except ValidationError as error:
        if not also and all(one["type"] == _MALFORMED for one in error.errors(include_url=False)):
            kind = malformed
        mistakes += describe(error, model)
    if mistakes:
        raise refused(consequence, kind, mistakes)
    return given


def path_id(request: Request, form: re.Pattern[str], unknown: Callable[[str], Exception]) -> str:
    """The ``{id}`` of the path. Raises ``unknown`` for one that no id of ours looks like, which spares the store."""
    given: str = request.path_params["id"]
    if not form.fullmatch(given):
        raise unknown(given[:64])
    return given


def refused(consequence: str, kind: Kind, mistakes: list[FieldError]) -> Refusal:
    """The refusal of a request with ``mistakes``, and its ``consequence``, such as "No call was placed"."""
    count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return Refusal(kind, f"{consequence}: the request has {count}, see errors.", errors=mistakes)


def _not_null(value: object) -> object:
    # Null is not the same as absent: a null systemPrompt may or may not have meant "no AI".
    if value is None:
        raise PydanticCustomError("expected", "null")
    return value


def _e164(number: str) -> str:
    if not re.fullmatch(_E164, number):
        raise PydanticCustomError(_MALFORMED, "not E.164")
    return number


def _from_digits(value: object) -> object:
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value


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
E164 = Annotated[str, AfterValidator(_e164), WithJsonSchema({"type": "string", "pattern": _E164})]
FromDigits = Annotated[T, BeforeValidator(_from_digits)]
"""A whole number in a query."""
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
