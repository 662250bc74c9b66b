"""The clients' webhooks: adds, lists and deletes them, and lists their deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from engine.errors import UnknownWebhook
from engine.records import Environment
from engine.webhooks.delivery import Delivery, Webhook
from engine.webhooks.subscriptions import subscribe
from engine.webhooks.targets import Resolver, check_url

_LOOKUP_S = 2.0


class WebhookStore(Protocol):
    """The store of webhooks and of their deliveries' results."""

    async def add_webhook(self, webhook: Webhook) -> None:
        """Raises ``TooManyWebhooks``."""
        ...

    async def list_webhooks(self, environment: Environment) -> Sequence[Webhook]:
        """The environment's webhooks, oldest first, with the disabled ones."""
        ...

    async def delete_webhook(self, webhook_id: str, environment: Environment) -> bool:
        """Delete the webhook and its deliveries; False when there is no such webhook."""
        ...

    async def list_deliveries(self, webhook_id: str, limit: int) -> Sequence[Delivery]:
        """The webhook's last ``limit`` deliveries, newest first."""
        ...


class WebhookRegistry:
    """The webhooks of each environment; an environment does not know those of the other. Without a resolver, no name is
    looked up."""

    def __init__(self, store: WebhookStore, *, allow_private: bool, resolver: Resolver | None = None) -> None:
        self._store = store
        self._allow_private = allow_private
        self._resolver = resolver

    async def add(self, url: str, events: Sequence[str], environment: Environment) -> Webhook:
        """A new webhook that gets all later events. Raises ``TargetRefused``, ``TooManyWebhooks``."""
        target = check_url(url, allow_private=self._allow_private)
        # A name that is unknown or slow now is not an error: each delivery looks it up again.
        with suppress(OSError, UnicodeError):
            if self._resolver is not None and not self._allow_private:
                await asyncio.wait_for(self._resolver.addresses(target.host), _LOOKUP_S)
        webhook = subscribe(environment, url, events, datetime.now(UTC))
        await self._store.add_webhook(webhook)
        return webhook

    async def all_of(self, environment: Environment) -> Sequence[Webhook]:
        """The environment's webhooks, oldest first."""
        return await self._store.list_webhooks(environment)

    async def delete(self, webhook_id: str, environment: Environment) -> None:
        """Delete a webhook; its pending deliveries are dropped. Raises ``UnknownWebhook``."""
        if not await self._store.delete_webhook(webhook_id, environment):
            raise UnknownWebhook(webhook_id)

    async def deliveries(self, webhook_id: str, environment: Environment, limit: int) -> Sequence[Delivery]:
        """The webhook's last ``limit`` deliveries, newest first. Raises ``UnknownWebhook``."""
        if webhook_id not in {webhook.id for webhook in await self._store.list_webhooks(environment)}:
            raise UnknownWebhook(webhook_id)
        return await self._store.list_deliveries(webhook_id, limit)
