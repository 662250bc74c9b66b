"""The store in memory: for tests, and for trials without a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from engine.errors import EngineError, IdempotencyConflict, TooManyWebhooks
from engine.keys.key import ApiKey
from engine.records import (
    CallChange,
    CallFilter,
    CallId,
    CallRecord,
    CountedCall,
    Environment,
    IdempotencyClaim,
    TranscriptTurn,
)
from engine.store.claims import LIFETIME
from engine.store.sql import only_the_id, utc_now
from engine.webhooks.delivery import Delivery, DeliveryStatus, Webhook
from engine.webhooks.subscriptions import MAX_WEBHOOKS, ShowCall, announce, without_words


class MemoryStore:
    """``CallStore``, ``KeyStore``, ``WebhookStore`` and ``Outbox``; passes the same tests as ``Store``.

    It does not imitate durability, other processes, waiting (nothing yields to the loop) or a failing database. It
    notes every use of a key.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now, show_call: ShowCall = only_the_id) -> None:
        self._now = now
        self._show_call = show_call
        self._notify: Callable[[str], None] = lambda webhook_id: None
        self._webhooks: dict[str, Webhook] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._calls: dict[CallId, CallRecord] = {}
        self._changes: dict[CallId, list[CallChange]] = {}
        self._turns: dict[CallId, dict[int, TranscriptTurn]] = {}
        self._claims: dict[tuple[str, str], tuple[IdempotencyClaim, CallId, datetime]] = {}
        self._keys: dict[str, ApiKey] = {}
        self.writable = True

    async def aclose(self) -> None:
        """Nothing to do."""

    async def add(self, call: CallRecord, claim: IdempotencyClaim | None, *changes: CallChange) -> CallRecord:
        if claim is not None and (earlier := await self.claimed(claim)):
            return earlier
        if call.id in self._calls:
            raise EngineError("There is a call with this id.")
        if claim is not None:
            self._claims[claim.api_key_id, claim.key] = (claim, call.id, self._now())
        self._calls[call.id], self._changes[call.id], self._turns[call.id] = call, list(changes), {}
        self._queue(call, changes)
        return call

    async def save(self, call: CallRecord, *changes: CallChange) -> None:
        self._must_exist(call.id)
        self._calls[call.id] = call
        there = {(change.kind, change.at) for change in self._changes[call.id]}
        new = [change for change in changes if (change.kind, change.at) not in there]
        self._changes[call.id].extend(new)
        self._queue(call, new)

    async def add_turn(self, call_id: CallId, turn: TranscriptTurn, at: datetime) -> None:
        self._must_exist(call_id)
        self._turns[call_id][turn.ordinal] = turn

    async def get(self, call_id: CallId) -> CallRecord | None:
        call = self._calls.get(call_id)
        if call is None or call.ai is None:
            return call
        transcript = tuple(turn for _, turn in sorted(self._turns[call_id].items()))
        return replace(call, ai=replace(call.ai, transcript=transcript))

    async def claimed(self, claim: IdempotencyClaim) -> CallRecord | None:
        earlier, call_id, at = self._claims.get((claim.api_key_id, claim.key), (claim, None, self._now()))
        if call_id is None or at <= self._now() - LIFETIME:
            return None
        if earlier.body_digest != claim.body_digest:
            raise IdempotencyConflict
        return await self.get(call_id)

    async def live(self) -> Sequence[CallRecord]:
        calls = [await self.get(call.id) for call in self._calls.values() if not call.status.final]
        return sorted((call for call in calls if call is not None), key=lambda call: (call.created_at, call.id))

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        def meant(call: CallRecord) -> bool:
            asked = call.request
            return (
                call.environment is which.environment
                and which.status in (None, call.status)
                and which.from_number in (None, asked.from_number)
                and which.to_number in (None, asked.to_number)
                and (which.created_after is None or call.created_at >= which.created_after)
                and (which.created_before is None or call.created_at < which.created_before)
                and (which.older_than is None or (call.created_at, call.id) < which.older_than)
            )

        found = sorted(filter(meant, self._calls.values()), key=lambda call: (call.created_at, call.id), reverse=True)
        return found[:limit]

    async def erase_conversation(self, call_id: CallId) -> None:
        call = self._calls[call_id]
        if call.request.agent is not None:
            agent = replace(call.request.agent, system_prompt="", tools=())
            self._calls[call_id] = replace(call, request=replace(call.request, agent=agent))
        self._turns[call_id] = {}
        for each in list(self._deliveries.values()):
            if each.call_id == call_id and each.status is DeliveryStatus.PENDING:
                self._deliveries[each.id] = replace(each, body=without_words(each.body))

    async def erase_conversations(self, before: datetime, limit: int) -> int:
        old = [
            call.id
            for call in self._calls.values()
            if call.ended_at is not None and call.ended_at < before
            if self._turns[call.id] or (call.request.agent is not None and call.request.agent.system_prompt)
        ]
        for call_id in old[:limit]:
            await self.erase_conversation(call_id)
        return len(old[:limit])

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        old = [
            each.id
            for each in self._deliveries.values()
            if each.created_at < before and each.status is not DeliveryStatus.PENDING
        ]
        for delivery_id in old[:limit]:
            del self._deliveries[delivery_id]
        return len(old[:limit])

    async def changes(self, call_id: CallId) -> Sequence[CallChange]:
        return list(self._changes.get(call_id, ()))

    async def placed_since(self, at: datetime, environment: Environment) -> Sequence[CountedCall]:
        return [
            CountedCall(
                api_key_id=call.api_key_id or "",
                to_number=call.request.to_number,
                created_at=call.created_at,
                answered_at=call.answered_at,
                ended_at=call.ended_at,
            )
            for call in sorted(self._calls.values(), key=lambda call: call.created_at)
            if call.created_at > at and call.environment is environment
        ]

    async def add_key(self, key: ApiKey) -> None:
        if key.id in self._keys or await self.find_key(key.digest):
            raise EngineError("There is a key with this id or digest.")
        self._keys[key.id] = key

    async def find_key(self, digest: str) -> ApiKey | None:
        return next((key for key in self._keys.values() if key.digest == digest), None)

    async def list_keys(self) -> Sequence[ApiKey]:
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    async def revoke_key(self, id_or_prefix: str, at: datetime) -> ApiKey | None:
        found = [key for key in self._keys.values() if id_or_prefix in (key.id, key.prefix)]
        if len(found) != 1:
            return None
        key = found[0]
        self._keys[key.id] = replace(key, revoked_at=key.revoked_at or at)
        return self._keys[key.id]

    async def touch_key(self, key_id: str, at: datetime) -> None:
        if key_id in self._keys:
            self._keys[key_id] = replace(self._keys[key_id], last_used_at=at)

    async def add_webhook(self, webhook: Webhook) -> None:
        if len(await self.list_webhooks(webhook.environment)) >= MAX_WEBHOOKS:
            raise TooManyWebhooks(MAX_WEBHOOKS)
        self._webhooks[webhook.id] = webhook

    async def list_webhooks(self, environment: Environment) -> Sequence[Webhook]:
        theirs = (webhook for webhook in self._webhooks.values() if webhook.environment is environment)
        return sorted(theirs, key=lambda webhook: (webhook.created_at, webhook.id))

    async def find_webhook(self, webhook_id: str) -> Webhook | None:
        return self._webhooks.get(webhook_id)

    async def delete_webhook(self, webhook_id: str, environment: Environment) -> bool:
        if webhook_id not in {webhook.id for webhook in await self.list_webhooks(environment)}:
            return False
        del self._webhooks[webhook_id]
        for delivery in self._of_webhook(webhook_id):
            del self._deliveries[delivery.id]
        return True

    async def disable_webhook(self, webhook_id: str, at: datetime) -> None:
        if (webhook := self._webhooks.get(webhook_id)) is not None:
            self._webhooks[webhook_id] = replace(webhook, disabled_at=webhook.disabled_at or at)
        for each in self._of_webhook(webhook_id):
            if each.status is DeliveryStatus.PENDING:
                self._deliveries[each.id] = replace(each, status=DeliveryStatus.FAILED, due_at=None, body="")

    def on_queued(self, notify: Callable[[str], None]) -> None:
        self._notify = notify

    async def backlogs(self) -> Sequence[str]:
        return sorted({each.webhook_id for each in self._deliveries.values() if each.due_at is not None})

    async def upcoming(self, webhook_id: str, limit: int) -> Sequence[Delivery]:
        due = [(each.due_at, each) for each in self._of_webhook(webhook_id) if each.due_at is not None]
        return [each for _, each in sorted(due, key=lambda pair: pair[0])[:limit]]

    async def list_deliveries(self, webhook_id: str, limit: int) -> Sequence[Delivery]:
        return self._of_webhook(webhook_id)[::-1][:limit]

    async def settle(self, delivery: Delivery, at: datetime) -> None:
        before = self._deliveries.get(delivery.id)
        if before is None or before.status is not DeliveryStatus.PENDING:
            return
        self._deliveries[delivery.id] = replace(delivery, body=before.body)
        if delivery.status is DeliveryStatus.PENDING:
            return
        self._deliveries[delivery.id] = replace(delivery, due_at=None, body="")
        for each in self._of_webhook(delivery.webhook_id):
            if each.call_id == delivery.call_id and each.status is DeliveryStatus.PENDING:
                self._deliveries[each.id] = replace(each, due_at=at)
                return

    def _of_webhook(self, webhook_id: str) -> list[Delivery]:
        return [each for each in self._deliveries.values() if each.webhook_id == webhook_id]

    def _queue(self, call: CallRecord, changes: Iterable[CallChange]) -> None:
        theirs = [
            webhook
            for webhook in self._webhooks.values()
            if webhook.environment is call.environment and webhook.disabled_at is None
        ]
        waiting = {
            each.webhook_id
            for each in self._deliveries.values()
            if each.call_id == call.id and each.status is DeliveryStatus.PENDING
        }
        for delivery in list(announce(call, changes, theirs, waiting=waiting, show=self._show_call)):
            self._deliveries[delivery.id] = delivery
            self._notify(delivery.webhook_id)

    def _must_exist(self, call_id: CallId) -> None:
        if call_id not in self._calls:
            raise EngineError("There is no call with this id.")
