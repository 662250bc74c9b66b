"""Calls and keys for the store's tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from engine.calls.call_store import CallStore
from engine.keys.key import ApiKey
from engine.keys.keys import mint
from engine.keys.registry import KeyStore
from engine.records import (
    AgentSettings,
    AiRecord,
    AiStatus,
    CallChange,
    CallRecord,
    Environment,
    IdempotencyClaim,
    Speaker,
    TranscriptTurn,
)
from engine.retention import Archive
from engine.webhooks.delivery import Webhook
from engine.webhooks.endpoint import Outbox
from engine.webhooks.registry import WebhookStore
from engine.webhooks.subscriptions import subscribe
from tests.engine.samples import NOON as NOON
from tests.engine.samples import call_record, request


class AnyStore(Archive, CallStore, KeyStore, WebhookStore, Outbox, Protocol):
    """What both stores are."""

    async def aclose(self) -> None: ...


@dataclass
class Clock:
    """A clock that a test turns."""

    time: datetime = NOON

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **units: float) -> None:
        self.time += timedelta(**units)


def a_call(**given: Any) -> CallRecord:
    return call_record(**{"environment": Environment.TEST, "trunk": "office", **given})


def an_ai_call(**given: Any) -> CallRecord:
    agent = AgentSettings(
        system_prompt="You are a pizza shop: “Ciao” – 🍕", temperature=0.3, tools=({"http": {"a": 1}},)
    )
    asked = request(agent=agent, max_duration_s=12.5, metadata={"order": "7"})
    return a_call(**{"request": asked, "provider": "ultravox", "ai": AiRecord(status=AiStatus.PENDING), **given})


def a_change(call: CallRecord, kind: str = "voice.initiated", **data: Any) -> CallChange:
    return CallChange(call_id=call.id, kind=kind, at=NOON, data=data)


def a_line(ordinal: int, text: str = "Hello?", *, truncated: bool = False) -> TranscriptTurn:
    return TranscriptTurn(ordinal=ordinal, speaker=Speaker.USER, text=text, truncated=truncated)


def a_claim(key: str = "order-7", *, body: str = "body", api_key_id: str = "alice") -> IdempotencyClaim:
    return IdempotencyClaim(key=key, api_key_id=api_key_id, body_digest=body)


def a_key(environment: Environment = Environment.TEST, **given: Any) -> ApiKey:
    return mint(environment, "laptop", now=NOON, **given)[1]


def a_webhook(
    *events: str, environment: Environment = Environment.TEST, url: str = "https://example.com/hook", age_s: float = 0
) -> Webhook:
    return subscribe(environment, url, events or ("voice.*",), NOON - timedelta(seconds=age_s))
