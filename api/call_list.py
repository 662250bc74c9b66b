"""Which calls a client wants listed: the query read and checked whole, and the cursor that leads from page to page."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.datastructures import QueryParams

from api.call_views import CallPage, CallView
from api.field_errors import describe
from api.models import E164, Given, Moment, Optionally, refused
from api.problems import VALIDATION_ERROR, FieldError
from engine.records import CallFilter, CallId, CallRecord, Environment, Status

MAX_PAGE = 100
DEFAULT_PAGE = 20

_PLACE = re.compile(r"(\S{19,32}) ([0-9a-f-]{36})")


def _place(cursor: object) -> tuple[datetime, CallId]:
    try:
        found = _PLACE.fullmatch(base64.urlsafe_b64decode(str(cursor)).decode("ascii"))
        at = datetime.fromisoformat(found[1] if found else "")
    except ValueError:
        raise PydanticCustomError("expected", "no cursor") from None
    if found is None or at.tzinfo is None:
        raise PydanticCustomError("expected", "no cursor")
    return at, CallId(found[2])


def _cursor(call: CallRecord) -> str:
    return base64.urlsafe_b64encode(f"{call.created_at.isoformat()} {call.id}".encode()).decode()


Cursor = Annotated[tuple[datetime, CallId], PlainValidator(_place), WithJsonSchema({"type": "string"})]


class CallQuery(Given):
    """Which calls; all of it must hold."""

    status: Optionally[Status] = Field(default=None, description=f"one of {', '.join(Status)}")
    from_: Optionally[E164] = Field(
        default=None, alias="from", description="the caller's number in E.164, its + written %2B (%2B14155559876)"
    )
    to: Optionally[E164] = Field(
        default=None, description="the number that was called in E.164, its + written %2B (%2B14155551234)"
    )
    created_after: Optionally[Moment] = Field(
        default=None, description="a time with its zone, such as 2030-01-31T00:00:00Z; calls of then or later"
    )
    created_before: Optionally[Moment] = Field(
        default=None, description="a time with its zone, such as 2030-01-31T00:00:00Z; calls before that"
    )
    page_size: Annotated[int, Field(ge=1, le=MAX_PAGE)] = Field(
        default=DEFAULT_PAGE, description=f"a whole number from 1 to {MAX_PAGE}"
    )
    cursor: Optionally[Cursor] = Field(default=None, description="the nextCursor of the page before, with its filters")


def read_list(query: QueryParams, environment: Environment) -> tuple[CallFilter, int]:
    """The calls that a query asks for, and how many at once. Raises ``Refusal`` with every mistake there is."""
    twice = sorted({name for name in query if len(query.getlist(name)) > 1})
    mistakes = [FieldError(field=name[:64], message="Expected once.") for name in twice]
    given: dict[str, Any] = dict(query)
    if re.fullmatch(r"[0-9]{1,9}", size := given.get("pageSize", "")):
        given["pageSize"] = int(size)
    try:
        asked = CallQuery.model_validate_json(json.dumps(given))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        mistakes += describe(found, CallQuery)
    if mistakes:
        raise refused("Nothing was looked up", VALIDATION_ERROR, mistakes)
    which = CallFilter(
        environment=environment,
        status=asked.status,
        from_number=asked.from_,
        to_number=asked.to,
        created_after=asked.created_after,
        created_before=asked.created_before,
        older_than=asked.cursor,
    )
    return which, asked.page_size


def page(calls: Sequence[CallRecord], size: int) -> CallPage:
    """The first ``size`` of ``calls``, and where the next ones begin if there are more."""
    more = len(calls) > size
    shown = [CallView.of(call, words=False) for call in calls[:size]]
    return CallPage(calls=shown, next_cursor=_cursor(calls[size - 1]) if more else None)
