"""What the API needs of the engine, said by the API."""

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
        """Note that the key was used; cheap enough for every request."""
        ...


class KeyManagement(Protocol):
    """The API keys that a key may manage."""

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
        """The secret and what is kept. What is None is as with ``by``. Raises ``GrantRefused``."""
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
        """The newest first. Raises ``UnknownWebhook``."""
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
        ``QuotaReached``, ``IdempotencyConflict``. A claim made before answers with the call of that time, as it is
        by now, whatever would be refused."""
        ...

    async def get(self, call_id: str, environment: Environment) -> CallRecord:
        """Raises ``UnknownCall``, also for a call of the other environment."""
        ...

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        """The newest of the calls that are meant, newest first, without their transcripts."""
        ...

    async def hang_up(self, call_id: str, environment: Environment) -> CallRecord:
        """Put the call on its way down; nothing happens to one that has ended. Raises ``UnknownCall``."""
        ...

    async def erase_transcript(self, call_id: str, environment: Environment) -> None:
        """Forget what was said and what the agent was told. Raises ``UnknownCall``, ``CallIsLive``."""
        ...

    def watch(self, call_id: str, environment: Environment) -> AsyncGenerator[CallRecord, None]:
        """The call as it stands now, again at each change (transcript lines included), and last when it is final.

        Raises ``UnknownCall`` at the first step. Closing the generator ends the watch.
        """
        ...

    def trunks(self, environment: Environment) -> Sequence[TrunkState]:
        """Each trunk of the environment as it stands; never waits."""
        ...

    def metrics(self, environment: Environment) -> bytes: ...

    def readiness(self) -> Readiness:
        """Whether a new call would be taken; never waits."""
        ...
