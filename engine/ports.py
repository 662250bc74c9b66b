"""What the control process needs from outside it, said by the engine: stores, an agent service, lines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from engine.records import (
    ApiKey,
    CallChange,
    CallFilter,
    CallId,
    CallRecord,
    CallRequest,
    CountedCall,
    Delivery,
    Environment,
    TranscriptTurn,
    Webhook,
)

ShowCall = Callable[[CallRecord], Mapping[str, Any]]
"""How a call is shown to clients: the ``data`` of an event. Pure, and it runs inside the store's transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyClaim:
    """One use of an ``Idempotency-Key`` header. ``body_digest`` tells the same body from another."""

    key: str
    api_key_id: str
    body_digest: str


class CallStore(Protocol):
    """Where calls are remembered. Every method is safe to call concurrently on one event loop.

    When a writing method returns, what it wrote is committed: it survives ``kill -9`` of this process. So are the
    deliveries of each change to the webhooks that want it: the same transaction queues them.
    """

    @property
    def writable(self) -> bool:
        """False when a write failed just now (``StoreUnavailable``), as every method may, and none succeeded since."""
        ...

    async def add(self, call: CallRecord, claim: IdempotencyClaim | None, *changes: CallChange) -> CallRecord:
        """Write a new call with its first changes, in one transaction.

        Returns ``call``, or, when ``claim`` was made before within 24 h with the same body, the call of that time and
        writes nothing. Raises ``IdempotencyConflict`` when the body differs. Of two claims made at the same moment one
        wins and the other gets the winner's call.
        """
        ...

    async def save(self, call: CallRecord, *changes: CallChange) -> None:
        """Replace the call's row (transcript lines apart) and append the changes, in one transaction.

        A change that is there already, for an earlier try failed after its commit had reached the disk, stays one.
        """
        ...

    async def add_turn(self, call_id: CallId, turn: TranscriptTurn, at: datetime) -> None:
        """Append a transcript line; a second line of the same ordinal replaces the first."""
        ...

    async def get(self, call_id: CallId) -> CallRecord | None:
        """The call with its transcript in order of ordinals, or None."""
        ...

    async def claimed(self, claim: IdempotencyClaim) -> CallRecord | None:
        """The call that ``claim`` was answered with before, or None. Raises ``IdempotencyConflict``."""
        ...

    async def live(self) -> Sequence[CallRecord]:
        """Calls that are not final, oldest first: after a start, those that were live when the process died."""
        ...

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        """The newest ``limit`` of them, newest first, without their transcripts."""
        ...

    async def changes(self, call_id: CallId) -> Sequence[CallChange]:
        """The call's history, oldest first."""
        ...

    async def placed_since(self, at: datetime, environment: Environment) -> Sequence[CountedCall]:
        """The calls placed after ``at``, oldest first."""
        ...

    async def erase_conversation(self, call_id: CallId) -> None:
        """Forget a call's transcript, prompt and tools, also in the deliveries that are still to be made."""
        ...


class Archive(Protocol):
    """What is kept for a time only. Each method does ``limit`` at most and returns how many it did."""

    async def erase_conversations(self, before: datetime, limit: int) -> int:
        """``erase_conversation`` of calls that ended before then."""
        ...

    async def forget_deliveries(self, before: datetime, limit: int) -> int:
        """Delete what became of deliveries that were queued before then and are over."""
        ...


class KeyStore(Protocol):
    """Where API keys are kept (their digests only)."""

    async def add_key(self, key: ApiKey) -> None: ...

    async def find_key(self, digest: str) -> ApiKey | None:
        """The key with this SHA-256, revoked and expired ones included, or None. Always reads the store, so that a
        revocation by another process is in force at once."""
        ...

    async def list_keys(self) -> Sequence[ApiKey]: ...

    async def revoke_key(self, id_or_prefix: str, at: datetime) -> ApiKey | None:
        """Revoke by id or by a prefix that names exactly one key; None when there is no such key."""
        ...

    async def touch_key(self, key_id: str, at: datetime) -> None:
        """Note that the key was used; may be delayed and coalesced."""
        ...

    async def environments(self) -> frozenset[Environment]:
        """The environments that have a usable key."""
        ...


class WebhookStore(Protocol):
    """Where webhooks are kept, with what became of their deliveries."""

    async def add_webhook(self, webhook: Webhook) -> None:
        """Raises ``TooManyWebhooks``."""
        ...

    async def list_webhooks(self, environment: Environment) -> Sequence[Webhook]:
        """Oldest first, the disabled ones included."""
        ...

    async def delete_webhook(self, webhook_id: str, environment: Environment) -> bool:
        """Forget the webhook and its deliveries; False when there is none."""
        ...

    async def list_deliveries(self, webhook_id: str, limit: int) -> Sequence[Delivery]:
        """The newest first."""
        ...


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
class SessionTerms:
    """What a call asks of its session, which is joined when the phone is answered: after ``rings_for_s`` at most."""

    sample_rate_hz: int
    max_duration_s: float
    rings_for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSession:
    """A session the agent service holds for a call. ``join_url`` is a credential."""

    ultravox_call_id: str
    join_url: str = field(repr=False)
    sample_rate_hz: int


class AgentService(Protocol):
    """The AI service as the control process uses it. Errors are ``media.errors.AgentError``."""

    async def create(self, request: CallRequest, terms: SessionTerms, gave_up: asyncio.Event) -> AgentSession:
        """Have a session made; while the service asks to come back later, wait, but not after ``gave_up`` is set."""
        ...

    def give_back(self, session: AgentSession) -> None:
        """Nobody will join this session. Never raises."""
        ...

    async def end_reason(self, ultravox_call_id: str, timeout_s: float) -> str | None:
        """Why the service says the session ended; None when it cannot say within ``timeout_s``. Never raises."""
        ...
