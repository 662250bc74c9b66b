"""Webhook subscriptions: makes webhooks, and turns changes into deliveries. Pure, except for the random characters."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any
from uuid import uuid4

from engine.records import CallChange, CallId, CallRecord, Environment
from engine.webhooks.delivery import Delivery, Webhook

ShowCall = Callable[[CallRecord], Mapping[str, Any]]
"""Shows a call to clients as the ``data`` of an event. Pure; it runs inside the store's transaction."""

EVENTS = (
    "voice.initiated",
    "voice.ai.initiated",
    "voice.ringing",
    "voice.answered",
    "voice.completed",
    "voice.failed",
    "voice.ai.ended",
)
"""The kinds of change that are sent; other kinds stay in the call's history."""
TEST_EVENT = "webhook.test"

MAX_WEBHOOKS = 32
"""The limit for each environment: every event of a call is written once for each webhook."""
_SECRET_BYTES = 32


def subscribe(environment: Environment, url: str, events: Iterable[str], now: datetime) -> Webhook:
    """A new webhook with its own secret (Standard Webhooks: ``whsec_`` and base64 of 24 to 64 bytes)."""
    return Webhook(
        id=f"whk_{uuid4().hex}",
        environment=environment,
        url=url,
        events=tuple(dict.fromkeys(events)),
        secret="whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode(),
        created_at=now,
    )


def matches(pattern: str, event: str) -> bool:
    """Whether a glob (``voice.*``) selects an event; ``*`` also matches dots."""
    return fnmatchcase(event, pattern)


def wants(webhook: Webhook, kind: str) -> bool:
    """Whether a change of this kind is an event that the webhook asked for."""
    return kind in EVENTS and any(matches(pattern, kind) for pattern in webhook.events)


def announce(
    call: CallRecord,
    changes: Iterable[CallChange],
    webhooks: Sequence[Webhook],
    *,
    waiting: Collection[str],
    show: ShowCall,
) -> Iterator[Delivery]:
    """A delivery for each change and each webhook that wants it, in the order of the changes.

    ``waiting`` names the webhooks for which an earlier event of the call is still pending.
    """
    wanted = [(change, webhook) for change in changes for webhook in webhooks if wants(webhook, change.kind)]
    data = show(call) if wanted else {}
    queued = set(waiting)
    for change, webhook in wanted:
        yield _delivery(change, webhook, data, at_once=webhook.id not in queued)
        queued.add(webhook.id)


def trial_event(webhook: Webhook, at: datetime) -> Delivery:
    """A delivery without a call, for the webhook's owner to try the receiver. It is not put into the outbox."""
    delivery_id = f"msg_{uuid4().hex}"
    event = {"type": TEST_EVENT, "id": delivery_id, "timestamp": _timestamp(at), "data": {}}
    return Delivery(
        id=delivery_id,
        webhook_id=webhook.id,
        call_id=CallId(""),
        event=TEST_EVENT,
        body=_json(event),
        created_at=at,
        due_at=at,
    )


def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def without_words(body: str) -> str:
    """An event's body without the words of its call's transcript."""
    event = json.loads(body)
    for words in ("transcript", "turns"):
        event["data"].get("ai", {}).pop(words, None)
    return _json(event)


def _json(event: Mapping[str, Any]) -> str:
    # The agent's JSON may hold half of a surrogate pair, which cannot be encoded to sign or send.
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace").decode()


def _delivery(change: CallChange, webhook: Webhook, data: Mapping[str, Any], *, at_once: bool) -> Delivery:
    delivery_id = f"msg_{uuid4().hex}"
    event = {"type": change.kind, "id": delivery_id, "timestamp": _timestamp(change.at), "data": data}
    return Delivery(
        id=delivery_id,
        webhook_id=webhook.id,
        call_id=change.call_id,
        event=change.kind,
        body=_json(event),
        created_at=change.at,
        due_at=change.at if at_once else None,
    )
