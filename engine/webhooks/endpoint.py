"""One endpoint's pending deliveries: sent when due, a bounded number at once, and retried when they fail."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from engine.errors import EngineError
from engine.webhooks.delivery import Delivery, DeliveryStatus, Webhook
from engine.webhooks.sender import Undelivered

log = logging.getLogger("trunkline.webhooks")

Post = Callable[[Webhook, Delivery], Awaitable[int]]
"""Makes one attempt; returns the response's status. Raises ``Undelivered``."""

GONE = 410
_JITTER = 0.2
_LOOK_AGAIN_S = 60.0
"""The longest wait for a time of day, because the wall clock may jump."""
_STORE_REST_S = 5.0
_GRACE_S = 2.0


class Outbox(Protocol):
    """The pending deliveries. For each call and webhook, only the earliest pending delivery is ever due."""

    def on_queued(self, notify: Callable[[str], None]) -> None:
        """Have ``notify`` called with the webhook's id after deliveries to it were committed in this process.

        A notification may be missed when a caller is cancelled: check ``backlogs`` regularly.
        """
        ...

    async def backlogs(self) -> Sequence[str]:
        """The webhooks that have pending deliveries."""
        ...

    async def find_webhook(self, webhook_id: str) -> Webhook | None: ...

    async def upcoming(self, webhook_id: str, limit: int) -> Sequence[Delivery]:
        """The webhook's deliveries that are due now or later, earliest first."""
        ...

    async def settle(self, delivery: Delivery, at: datetime) -> None:
        """Write the result of an attempt. When the delivery is over, the call's next one becomes due ``at`` once.

        Does nothing for a delivery that was over before, or whose webhook was deleted.
        """
        ...

    async def disable_webhook(self, webhook_id: str, at: datetime) -> None:
        """Disable the webhook: it gets no more events, and its pending deliveries fail."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """The retry rules of deliveries."""

    retry_after_s: Sequence[float] = (5, 30, 120, 600, 3600, 21_600, 86_400)
    """The least wait after each failed attempt; up to a fifth is added. After the last one the delivery is given up."""
    at_once: int = 8
    """The most attempts at once to one endpoint, each for another call."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


def after_attempt(delivery: Delivery, code: int | None, rules: DeliveryRules) -> Delivery:
    """The delivery after one more attempt, which got ``code`` or no response."""
    tried = replace(delivery, attempts=delivery.attempts + 1, response_code=code)
    if code is not None and 200 <= code < 300:
        return replace(tried, status=DeliveryStatus.DELIVERED, due_at=None)
    if code == GONE or tried.attempts > len(rules.retry_after_s):
        return replace(tried, status=DeliveryStatus.FAILED, due_at=None)
    wait_s = rules.retry_after_s[tried.attempts - 1] * random.uniform(1, 1 + _JITTER)
    return replace(tried, due_at=rules.now() + timedelta(seconds=wait_s))


class Endpoint:
    """Makes the deliveries of one webhook. Only the outbox holds them, so any number may be pending.

    The outbox keeps the deliveries of a call in order: only the first pending one is due.
    """

    def __init__(self, webhook_id: str, outbox: Outbox, post: Post, rules: DeliveryRules) -> None:
        self._webhook_id = webhook_id
        self._outbox = outbox
        self._post = post
        self._rules = rules
        self._woken = asyncio.Event()
        self._attempts: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """A new delivery is pending."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until nothing is pending. When cancelled, gives the attempts under way a short time to end."""
        try:
            while await self._start_what_is_due():
                pass
        finally:
            if self._attempts:
                _, late = await asyncio.wait(self._attempts.values(), timeout=_GRACE_S)
                for attempt in late:
                    attempt.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    async def _start_what_is_due(self) -> bool:
        """Run one round, until there may be more to do; False when nothing is pending."""
        self._woken.clear()
        busy = set(self._attempts)  # taken before the outbox is read: its state of these will be old by then
        webhook = await self._outbox.find_webhook(self._webhook_id)
        upcoming = await self._outbox.upcoming(self._webhook_id, len(busy) + self._rules.at_once + 1)
        if webhook is None or not upcoming:
            if self._attempts:
                await self._woken.wait()
            return bool(self._attempts) or self._woken.is_set()
        wait_s: float | None = None
        for delivery in upcoming:
            if delivery.id in busy or delivery.due_at is None:
                continue
            if len(self._attempts) >= self._rules.at_once:
                wait_s = None  # the end of an attempt wakes this task
                break
            wait_s = (delivery.due_at - self._rules.now()).total_seconds()
            if wait_s > 0:
                break
            wait_s = None
            self._start(webhook, delivery)
        try:
            async with asyncio.timeout(None if wait_s is None else min(wait_s, _LOOK_AGAIN_S)):
                await self._woken.wait()
        except TimeoutError:
            pass
        return True

    def _start(self, webhook: Webhook, delivery: Delivery) -> None:
        attempt = asyncio.create_task(self._attempt(webhook, delivery))
        self._attempts[delivery.id] = attempt
        attempt.add_done_callback(lambda _: self._ended(delivery.id))

    def _ended(self, delivery_id: str) -> None:
        del self._attempts[delivery_id]
        self._woken.set()

    async def _attempt(self, webhook: Webhook, delivery: Delivery) -> None:
        code, reason = None, ""
        about = {"webhook": webhook.id, "delivery": delivery.id, "call": delivery.call_id}
        try:
            code = await self._post(webhook, delivery)
        except Undelivered as error:
            reason = str(error)
        except Exception:  # the supervisor of an attempt: this one failed, the others go on
            log.exception("delivery attempt failed inside Trunkline", extra=about)
        after = after_attempt(delivery, code, self._rules)
        if after.status is not DeliveryStatus.DELIVERED:
            what = "given up" if after.status is DeliveryStatus.FAILED else "to be tried again"
            fields = {**about, "attempt": after.attempts, "code": code, "reason": reason}
            log.warning("webhook not delivered, %s", what, extra=fields)
        try:
            await self._outbox.settle(after, self._rules.now())
            if code == GONE:
                await self._outbox.disable_webhook(webhook.id, self._rules.now())
        except EngineError:
            log.warning("cannot write the result of a delivery attempt; it will be repeated", extra=about)
            await asyncio.sleep(_STORE_REST_S)
