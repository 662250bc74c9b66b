"""One endpoint's pending deliveries: sent when they are due, a bounded number at once, and again when they fail."""

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
"""Makes one attempt; the response's status. Raises ``Undelivered``."""

GONE = 410
_JITTER = 0.2
_LOOK_AGAIN_S = 60.0
"""The wall clock may jump: no wait for a time of day is longer."""
_STORE_REST_S = 5.0
_GRACE_S = 2.0


class Outbox(Protocol):
    """What is still to be delivered. Of each call and webhook only the earliest pending delivery is ever due."""

    def on_queued(self, tell: Callable[[str], None]) -> None:
        """Have ``tell`` called with the webhook's id after deliveries to it were committed in this process.

        It may be missed when a caller is cancelled: look at ``backlogs`` now and then.
        """
        ...

    async def backlogs(self) -> Sequence[str]:
        """The webhooks that have something pending."""
        ...

    async def find_webhook(self, webhook_id: str) -> Webhook | None: ...

    async def upcoming(self, webhook_id: str, limit: int) -> Sequence[Delivery]:
        """Its deliveries that are due now or later, the earliest first."""
        ...

    async def settle(self, delivery: Delivery, at: datetime) -> None:
        """Write what an attempt came to. When the delivery is over, the call's next one becomes due ``at`` once.

        Nothing happens to one that was over before, or whose webhook was deleted.
        """
        ...

    async def disable_webhook(self, webhook_id: str, at: datetime) -> None:
        """Tell it nothing any more: what is pending has failed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """How deliveries are tried."""

    retry_after_s: Sequence[float] = (5, 30, 120, 600, 3600, 21_600, 86_400)
    """The least wait after each failed attempt, up to a fifth more; after the last one it is given up."""
    at_once: int = 8
    """Attempts under way to one endpoint, of different calls."""
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
    """Works off the deliveries of one webhook. They are kept in the outbox alone, so any number may be pending.

    The order of a call's deliveries is the outbox's doing: it lets only the first pending one be due.
    """

    def __init__(self, webhook_id: str, outbox: Outbox, post: Post, rules: DeliveryRules) -> None:
        self._webhook_id = webhook_id
        self._outbox = outbox
        self._post = post
        self._rules = rules
        self._woken = asyncio.Event()
        self._attempts: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """There is something new to deliver."""
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
        """One round, which ends when there may be more to do; False when nothing is pending."""
        self._woken.clear()
        busy = set(self._attempts)  # before the outbox is read: what it says of these will be old by then
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
                wait_s = None  # the end of an attempt wakes
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
        except Exception:  # the supervisor of an attempt: it has failed, and the others go on
            log.exception("an attempt to deliver failed inside Trunkline", extra=about)
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
            log.warning("the store did not note an attempt, so it will be repeated", extra=about)
            await asyncio.sleep(_STORE_REST_S)
