"""The deliveries of all endpoints: an independent task for each webhook with pending deliveries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from engine.errors import EngineError
from engine.webhooks.endpoint import DeliveryRules, Endpoint, Outbox, Post

log = logging.getLogger("trunkline.webhooks")

_SWEEP_S = 30.0


class Dispatcher:
    """Delivers the outbox's deliveries from ``start`` to ``close``: at least once, in order per call and webhook.

    ``start`` picks up pending deliveries; those that are pending at ``close`` stay in the outbox.
    """

    def __init__(
        self, outbox: Outbox, post: Post, *, rules: DeliveryRules | None = None, sweep_s: float = _SWEEP_S
    ) -> None:
        self._outbox = outbox
        self._post = post
        self._rules = rules or DeliveryRules()
        self._sweep_s = sweep_s
        self._endpoints: dict[str, Endpoint] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        """Start with the pending deliveries."""
        self._outbox.on_queued(self.wake)
        self._run(self._sweep())

    async def close(self) -> None:
        """Stop. Attempts under way get two seconds to end; those that do not end are repeated after the next start."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self, webhook_id: str) -> None:
        """Deliveries to this webhook are pending."""
        if self._closed:
            return
        if webhook_id not in self._endpoints:
            self._endpoints[webhook_id] = Endpoint(webhook_id, self._outbox, self._post, self._rules)
            self._run(self._serve(webhook_id))
        self._endpoints[webhook_id].wake()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, webhook_id: str) -> None:
        try:
            await self._endpoints[webhook_id].run()
        except Exception:  # the supervisor of an endpoint: the others go on, and the sweep restarts it
            log.exception("deliveries to a webhook interrupted", extra={"webhook": webhook_id})
        finally:
            del self._endpoints[webhook_id]

    async def _sweep(self) -> None:
        """Look regularly for deliveries that ``wake`` missed: those of an earlier run, a failure or another process."""
        while True:
            try:
                for webhook_id in await self._outbox.backlogs():
                    self.wake(webhook_id)
            except EngineError:
                log.warning("cannot read the outbox, trying again")
            await asyncio.sleep(self._sweep_s)
