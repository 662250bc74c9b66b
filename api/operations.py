"""Every operation of the API: the one table that the routes and the OpenAPI document are made from.

A new operation needs a row here, a handler in the module of its resource and, if the engine has to do something new,
a method in ``ports``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from api import health, keys, trunks, voice, webhooks
from api.call_list import CallQuery
from api.call_request import VoiceRequest
from api.call_views import CallAccepted, CallEnded, CallPage, CallView, TranscriptDeleted
from api.health import Alive, ReadinessView
from api.keys import KeyCreated, KeyList, KeyRequest, KeyRevoked
from api.problems import (
    BAD_REQUEST,
    CALL_NOT_ALLOWED,
    CONFLICT,
    CONTENT_TOO_LARGE,
    NO_CAPACITY,
    NOT_FOUND,
    SHUTTING_DOWN,
    TRUNK_UNAVAILABLE,
    UNSUPPORTED_MEDIA_TYPE,
    VALIDATION_ERROR,
    Kind,
)
from api.trunks import TrunkList
from api.webhooks import DeliveryList, DeliveryQuery, WebhookCreated, WebhookDeleted, WebhookList, WebhookRequest
from engine.keys.keys import KEYS_MANAGE, VOICE_CALL, VOICE_READ, WEBHOOKS_MANAGE


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. The docstring of its handler is its text in the OpenAPI document."""

    path: str
    method: str
    handler: Callable[..., Awaitable[Response]]
    """Takes the engine, the request, and the key when there is a scope."""
    scope: str | None
    """What the key must be allowed to do; None: no key is needed."""
    answers: type[BaseModel] | str
    """The model of the 200 answer, or the media type of an answer that has no model."""
    reads: type[BaseModel] | None = None
    """The model of the body."""
    query: type[BaseModel] | None = None
    """The model whose members are the parameters of the query."""
    header: Mapping[str, Any] | None = None
    """A header that the operation reads, as an OpenAPI parameter."""
    refuses: tuple[Kind, ...] = ()
    """Beside the problems that every operation may answer."""
    unavailable: str | None = None
    """What a 503 with the same model as the 200 answer means."""


IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "For 24 hours, the same key with the same body gets the first answer and places no second call.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
BODY = (BAD_REQUEST, CONTENT_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, VALIDATION_ERROR)
PLACING = (CALL_NOT_ALLOWED, *BODY, CONFLICT, NO_CAPACITY, SHUTTING_DOWN, TRUNK_UNAVAILABLE)

OPERATIONS = (
    Operation("/api/voice", "POST", voice.place_call, VOICE_CALL,
              reads=VoiceRequest, header=IDEMPOTENCY_KEY, answers=CallAccepted, refuses=PLACING),
    Operation("/api/voice", "GET", voice.list_calls, VOICE_READ,
              query=CallQuery, answers=CallPage, refuses=(VALIDATION_ERROR,)),
    Operation("/api/voice/{id}", "GET", voice.get_call, VOICE_READ, answers=CallView, refuses=(NOT_FOUND,)),
    Operation("/api/voice/{id}", "DELETE", voice.hang_up, VOICE_CALL, answers=CallEnded, refuses=(NOT_FOUND,)),
    Operation("/api/voice/{id}/events", "GET", voice.stream_events, VOICE_READ,
              answers="text/event-stream", refuses=(NOT_FOUND,)),
    Operation("/api/voice/{id}/transcript", "DELETE", voice.delete_transcript, VOICE_CALL,
              answers=TranscriptDeleted, refuses=(NOT_FOUND, CONFLICT)),
    Operation("/api/webhooks", "POST", webhooks.create_webhook, WEBHOOKS_MANAGE,
              reads=WebhookRequest, answers=WebhookCreated, refuses=(*BODY, CONFLICT)),
    Operation("/api/webhooks", "GET", webhooks.list_webhooks, WEBHOOKS_MANAGE, answers=WebhookList),
    Operation("/api/webhooks/{id}", "DELETE", webhooks.delete_webhook, WEBHOOKS_MANAGE,
              answers=WebhookDeleted, refuses=(NOT_FOUND,)),
    Operation("/api/webhooks/{id}/logs", "GET", webhooks.list_deliveries, WEBHOOKS_MANAGE,
              query=DeliveryQuery, answers=DeliveryList, refuses=(NOT_FOUND, VALIDATION_ERROR)),
    Operation("/api/trunks", "GET", trunks.list_trunks, VOICE_READ, answers=TrunkList),
    Operation("/api/keys", "POST", keys.create_key, KEYS_MANAGE, reads=KeyRequest, answers=KeyCreated, refuses=BODY),
    Operation("/api/keys", "GET", keys.list_keys, KEYS_MANAGE, answers=KeyList),
    Operation("/api/keys/{id}", "DELETE", keys.revoke_key, KEYS_MANAGE, answers=KeyRevoked, refuses=(NOT_FOUND,)),
    Operation("/metrics", "GET", health.get_metrics, VOICE_READ, answers="text/plain"),
    Operation("/healthz", "GET", health.get_liveness, None, answers=Alive),
    Operation("/readyz", "GET", health.get_readiness, None,
              answers=ReadinessView, unavailable="New calls cannot be accepted now."),
    Operation("/openapi.json", "GET", health.get_description, None, answers="application/json"),
)  # fmt: skip
