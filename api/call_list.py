"""The list of calls: its filters, and the cursor that leads from page to page."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.call_views import CallPage, CallView
from api.models import E164, FromDigits, Given, Moment, Optionally
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
    """Which calls to list; a call must match every filter."""

    status: Optionally[Status] = Field(default=None, description=f"one of {', '.join(Status)}")
    from_: Optionally[E164] = Field(
        default=None, alias="from", description="the caller's number in E.164, with + written as %2B (%2B14155559876)"
    )
    to: Optionally[E164] = Field(
        default=None, description="the called number in E.164, with + written as %2B (%2B14155551234)"
    )
    created_after: Optionally[Moment] = Field(
        default=None, description="a time with its zone, such as 2030-01-31T00:00:00Z, for calls created then or later"
    )
    created_before: Optionally[Moment] = Field(
        default=None, description="a time with its zone, such as 2030-01-31T00:00:00Z, for calls created before then"
    )
    page_size: FromDigits[Annotated[int, Field(ge=1, le=MAX_PAGE)]] = Field(
        default=DEFAULT_PAGE, description=f"a whole number from 1 to {MAX_PAGE}"
    )
    cursor: Optionally[Cursor] = Field(
        default=None, description="the nextCursor of the previous page, with the same filters"
    )

    def filter(self, environment: Environment) -> CallFilter:
        """The store's filter for these calls of ``environment``."""
        return CallFilter(
            environment=environment,
            status=self.status,
            from_number=self.from_,
            to_number=self.to,
            created_after=self.created_after,
            created_before=self.created_before,
            older_than=self.cursor,
        )


def page(calls: Sequence[CallRecord], size: int) -> CallPage:
    """A page of the first ``size`` of ``calls``, with a cursor if there are more."""
    more = len(calls) > size
    shown = [CallView.of(call, words=False) for call in calls[:size]]
    return CallPage(calls=shown, next_cursor=_cursor(calls[size - 1]) if more else None)
