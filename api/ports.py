"""What the API needs from the engine, declared by the API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from engine.keys.key import ApiKey
from engine.readiness import Readiness
from engine.records import CallFilter, CallRecord, CallRequest, Environment, IdempotencyClaim
from engine.trunks.trunks import TrunkState
from engine.webhooks.delivery import Delivery, Webhook


class Keys(Protocol):
    """The API keys."""

    async def find_key(self, digest: str) -> ApiKey | None:
        """The key with this SHA-256, revoked and expired ones included, or None."""
        ...

    async def touch_key(self, key_id: str, at: datetime) -> None:
        """Record that the key was used; cheap enough for every request."""
        ...


class KeyManagement(Protocol):
    """The API keys, for the operations that manage them."""

    async def create(
        self,
        name: str,
        *,
        by: ApiKey,
        environment: Environment | None,
        scopes: Iterable[str],
        rate_per_s: float | None,
        expires_at: datetime | None,
    ) -> tuple[str, ApiKey]:
        """The secret and the stored key. None means as ``by`` has it. Raises ``GrantRefused``."""
        ...

    async def all_of(self, by: ApiKey) -> Sequence[ApiKey]:
        """Oldest first, revoked and expired ones included."""
        ...

    async def revoke(self, key_id: str, *, by: ApiKey) -> None:
        """Raises ``UnknownKey``."""
        ...


class Webhooks(Protocol):
    """The webhooks of each environment."""

    async def add(self, url: str, events: Sequence[str], environment: Environment) -> Webhook:
        """Raises ``TargetRefused``, ``TooManyWebhooks``."""
        ...

    async def all_of(self, environment: Environment) -> Sequence[Webhook]:
        """Oldest first."""
        ...

    async def delete(self, webhook_id: str, environment: Environment) -> None:
        """Raises ``UnknownWebhook``."""
        ...

    async def deliveries(self, webhook_id: str, environment: Environment, limit: int) -> Sequence[Delivery]:
        """Newest first. Raises ``UnknownWebhook``."""
        ...


class Engine(Keys, Protocol):
    """The calls."""

    @property
    def keys(self) -> KeyManagement: ...

    @property
    def webhooks(self) -> Webhooks: ...

    async def place(
        self,
        request: CallRequest,
        environment: Environment,
        claim: IdempotencyClaim | None,
        *,
        api_key_id: str,
    ) -> CallRecord:
        """Accept a call; never waits for the far end. Raises ``NoCapacity``, ``TrunkUnavailable``, ``GuardRefused``,
        ``QuotaReached``, ``IdempotencyConflict``. For a claim that was made before, returns its call in its present
        state, even if a new call would be refused."""
        ...

    async def get(self, call_id: str, environment: Environment) -> CallRecord:
        """Raises ``UnknownCall``, also for a call of the other environment."""
        ...

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        """The newest calls that match, newest first, without their transcripts."""
        ...

    async def hang_up(self, call_id: str, environment: Environment) -> CallRecord:
        """Start to hang up the call; no effect on one that has ended. Raises ``UnknownCall``."""
        ...

    async def erase_transcript(self, call_id: str, environment: Environment) -> None:
        """Delete the transcript and the agent's prompt and tools. Raises ``UnknownCall``, ``CallIsLive``."""
        ...

    def watch(self, call_id: str, environment: Environment) -> AsyncGenerator[CallRecord, None]:
        """The call as it is now, again at each change (transcript turns included), and last in its final state.

        Raises ``UnknownCall`` at the first step. Closing the generator ends the watch.
        """
        ...

    def trunks(self, environment: Environment) -> Sequence[TrunkState]:
        """The present state of each trunk of the environment; never waits."""
        ...

    def metrics(self, environment: Environment) -> bytes: ...

    def readiness(self) -> Readiness:
        """Whether a new call would be accepted; never waits."""
        ...
