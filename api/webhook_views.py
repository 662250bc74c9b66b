"""What a client is shown of webhooks and their deliveries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from api.views import Timestamp, View
from engine.webhooks.delivery import Delivery, DeliveryStatus, Webhook


class WebhookCreated(View):
    """A webhook, the only time with its secret."""

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
    disabled_at: Timestamp | None = Field(default=None, description="when its endpoint answered 410: it is gone")

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
    """The webhook is told nothing any more."""

    deleted: Literal[True]


class DeliveryView(View):
    """One event for one webhook, and how often it was tried."""

    id: str = Field(description="the header `webhook-id` and the event's `id`")
    event_type: str
    status: DeliveryStatus
    attempts: int
    response_code: Annotated[
        int | None,
        WithJsonSchema({"type": ["integer", "null"], "description": "of the last attempt; null: no response came"}),
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
    """A webhook's deliveries, the newest first."""

    deliveries: list[DeliveryView]

    def json_text(self) -> str:
        """One line of JSON, in which a delivery without a response says so by null: the contract names the member."""
        return self.model_dump_json()

    @classmethod
    def of(cls, deliveries: Iterable[Delivery]) -> DeliveryList:
        return cls(deliveries=[DeliveryView.of(delivery) for delivery in deliveries])
