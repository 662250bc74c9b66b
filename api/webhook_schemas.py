"""What a client may ask of webhooks: read and checked whole, as calls are."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError
from starlette.datastructures import QueryParams

from api import body
from api.field_errors import describe
from api.problems import VALIDATION_ERROR, FieldError
from api.schemas import Given, refused
from engine.webhooks.subscriptions import EVENTS, matches

MAX_LOGS = 100
DEFAULT_LOGS = 20


def _selects_something(pattern: str) -> str:
    if not any(matches(pattern, event) for event in EVENTS):
        raise PydanticCustomError("expected", "selects nothing")
    return pattern


Target = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9._~:/!$&'()*+,;=%?@\[\]-]+$", max_length=2048)]
EventGlob = Annotated[str, StringConstraints(pattern=r"^[a-z.*?]{1,64}$"), AfterValidator(_selects_something)]


class WebhookRequest(Given):
    """A webhook to make."""

    url: Target = Field(description="an https:// URL of a public host, of up to 2048 characters")
    events: Annotated[list[EventGlob], Field(min_length=1, max_length=16)] = Field(
        description=f"an array of 1 to 16 globs such as voice.*, each selecting some of {', '.join(EVENTS)}"
    )


def read_webhook(content: bytes) -> WebhookRequest:
    """The webhook that a body asks for. Raises ``Refusal`` with every mistake there is."""
    _, canonical = body.parse(content)
    try:
        return WebhookRequest.model_validate_json(canonical)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise refused("No webhook was made", VALIDATION_ERROR, describe(found, WebhookRequest)) from None


def read_limit(query: QueryParams) -> int:
    """``?limit=20``, once or not at all. Raises ``Refusal``."""
    given = query.getlist("limit") or [str(DEFAULT_LOGS)]
    if len(given) == 1 and given[0].isascii() and given[0].isdecimal() and 1 <= int(given[0][:9]) <= MAX_LOGS:
        return int(given[0])
    expected = FieldError(field="limit", message=f"Expected a whole number from 1 to {MAX_LOGS}, once.")
    raise refused("Nothing was looked up", VALIDATION_ERROR, [expected])
