"""``/api/webhooks``: the URLs that receive events of calls, and the log of deliveries to them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from api import body
from api.models import FromDigits, Given, Timestamp, View, answer, path_id, refused, validate, validate_query
from api.ports import Engine
from api.problems import VALIDATION_ERROR, FieldError
from engine.errors import TargetRefused, UnknownWebhook
from engine.keys.key import ApiKey
from engine.webhooks.delivery import Delivery, DeliveryStatus, Webhook
from engine.webhooks.subscriptions import EVENTS, matches

MAX_LOGS = 100
DEFAULT_LOGS = 20

_ID = re.compile(r"whk_[0-9a-f]{32}")


def _selects_something(pattern: str) -> str:
    if not any(matches(pattern, event) for event in EVENTS):
        raise PydanticCustomError("expected", "selects nothing")
    return pattern


Target = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9._~:/!$&'()*+,;=%?@\[\]-]+$", max_length=2048)]
EventGlob = Annotated[str, StringConstraints(pattern=r"^[a-z.*?]{1,64}$"), AfterValidator(_selects_something)]


class WebhookRequest(Given):
    """A webhook to create."""

    url: Target = Field(description="an https:// URL of a public host, up to 2048 characters long")
    events: Annotated[list[EventGlob], Field(min_length=1, max_length=16)] = Field(
        description=f"an array of 1 to 16 glob patterns such as voice.*, each matching some of {', '.join(EVENTS)}"
    )


class DeliveryQuery(Given):
    """How many deliveries to list. Other parameters are ignored."""

    model_config = ConfigDict(extra="ignore")

    limit: FromDigits[Annotated[int, Field(ge=1, le=MAX_LOGS)]] = Field(
        default=DEFAULT_LOGS, description=f"a whole number from 1 to {MAX_LOGS}"
    )


class WebhookCreated(View):
    """A webhook with its secret, which is shown only here."""

    id: str = Field(pattern="^whk_[0-9a-f]{32}$")
    url: str
    events: list[str]
    secret: str = Field(description="verifies signatures (Standard Webhooks); it is not shown again")

    @classmethod
    def of(cls, webhook: Webhook) -> WebhookCreated:
        return cls(id=webhook.id, url=webhook.url, events=list(webhook.events), secret=webhook.secret)


class WebhookView(View):
    """A webhook."""

    id: str = Field(pattern="^whk_[0-9a-f]{32}$")
    url: str
    events: list[str]
    created_at: Timestamp
    disabled_at: Timestamp | None = Field(default=None, description="when its endpoint answered 410 Gone")

    @classmethod
    def of(cls, webhook: Webhook) -> WebhookView:
        return cls(
            id=webhook.id,
            url=webhook.url,
            events=list(webhook.events),
            created_at=webhook.created_at,
            disabled_at=webhook.disabled_at,
        )


class WebhookList(View):
    """The webhooks of the key's environment, oldest first."""

    webhooks: list[WebhookView]

    @classmethod
    def of(cls, webhooks: Iterable[Webhook]) -> WebhookList:
        return cls(webhooks=[WebhookView.of(webhook) for webhook in webhooks])


class WebhookDeleted(View):
    """The webhook is deleted."""

    deleted: Literal[True]


class DeliveryView(View):
    """One event for one webhook, and the attempts to deliver it."""

    id: str = Field(description="the header `webhook-id` and the event's `id`")
    event_type: str
    status: DeliveryStatus
    attempts: int
    response_code: Annotated[
        int | None,
        WithJsonSchema(
            {"type": ["integer", "null"], "description": "of the last attempt; null if there was no response"}
        ),
    ]
    created_at: Timestamp

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryView:
        return cls(
            id=delivery.id,
            event_type=delivery.event,
            status=delivery.status,
            attempts=delivery.attempts,
            response_code=delivery.response_code,
            created_at=delivery.created_at,
        )


class DeliveryList(View):
    """A webhook's deliveries, newest first."""

    deliveries: list[DeliveryView]

    def json_text(self) -> str:
        """One line of JSON. ``responseCode`` is null without a response, not absent: the contract names the member."""
        return self.model_dump_json()

    @classmethod
    def of(cls, deliveries: Iterable[Delivery]) -> DeliveryList:
        return cls(deliveries=[DeliveryView.of(delivery) for delivery in deliveries])


async def create_webhook(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Create a webhook, which sends events of calls to a URL.

    The answer shows the secret that verifies the signatures, only this once.
    """
    wanted = validate(await body.read(request), WebhookRequest, "No webhook was made")
    try:
        webhook = await engine.webhooks.add(wanted.url, wanted.events, key.environment)
    except TargetRefused as error:
        mistake = FieldError(field="url", message=str(error))
        raise refused("No webhook was made", VALIDATION_ERROR, [mistake]) from None
    return answer(WebhookCreated.of(webhook))


async def list_webhooks(engine: Engine, _: Request, key: ApiKey) -> Response:
    """List the webhooks."""
    return answer(WebhookList.of(await engine.webhooks.all_of(key.environment)))


async def delete_webhook(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Delete a webhook.

    Pending deliveries are dropped.
    """
    await engine.webhooks.delete(_webhook_id(request), key.environment)
    return answer(WebhookDeleted(deleted=True))


async def list_deliveries(engine: Engine, request: Request, key: ApiKey) -> Response:
    """List the latest deliveries of a webhook."""
    query = validate_query(request.query_params, DeliveryQuery, "No deliveries were listed")
    found = await engine.webhooks.deliveries(_webhook_id(request), key.environment, query.limit)
    return answer(DeliveryList.of(found))


def _webhook_id(request: Request) -> str:
    return path_id(request, _ID, UnknownWebhook)
