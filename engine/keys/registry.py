"""The API keys that a key may manage: those of its environment; a live key also manages those of the sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from engine.errors import GrantRefused, UnknownKey
from engine.keys import keys
from engine.keys.key import ApiKey
from engine.records import Environment


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


class KeyRegistry:
    """The key ``by`` asks for every operation; it can grant nothing that it does not have itself."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store

    async def create(
        self,
        name: str,
        *,
        by: ApiKey,
        environment: Environment | None = None,
        scopes: Iterable[str] = (keys.EVERYTHING,),
        rate_per_s: float | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[str, ApiKey]:
        """A new key: its secret, which is stored nowhere, and its record. Arguments left out are as in ``by``.

        Raises ``GrantRefused``.
        """
        environment = environment or by.environment
        rate_per_s = rate_per_s or min(by.rate_per_s, keys.DEFAULT_RATE_PER_S)
        expires_at = expires_at or by.expires_at
        scopes = frozenset(scopes)
        if environment not in _reach(by):
            raise GrantRefused("A sandbox key can create sandbox keys only.")
        if missing := sorted(scope for scope in scopes if not keys.allows(by, scope)):
            raise GrantRefused(f"This key cannot grant scopes that it lacks: {', '.join(missing)}.")
        if rate_per_s > by.rate_per_s:
            raise GrantRefused(f"This key cannot grant a rate limit above its own ({by.rate_per_s:g} per second).")
        if by.expires_at is not None and (expires_at is None or expires_at > by.expires_at):
            raise GrantRefused(f"This key cannot grant a later expiry than its own ({by.expires_at.isoformat()}).")
        secret, key = keys.mint(
            environment, name, now=datetime.now(UTC), scopes=scopes, rate_per_s=rate_per_s, expires_at=expires_at
        )
        await self._store.add_key(key)
        return secret, key

    async def all_of(self, by: ApiKey) -> Sequence[ApiKey]:
        """The keys that ``by`` may manage, oldest first, with revoked and expired ones."""
        return [key for key in await self._store.list_keys() if key.environment in _reach(by)]

    async def revoke(self, key_id: str, *, by: ApiKey) -> None:
        """Revoke the key at once; a revoked key stays revoked. Raises ``UnknownKey``."""
        if key_id not in {key.id for key in await self.all_of(by)}:
            raise UnknownKey(key_id)
        await self._store.revoke_key(key_id, datetime.now(UTC))


def _reach(key: ApiKey) -> frozenset[Environment]:
    return frozenset({key.environment, Environment.TEST})
