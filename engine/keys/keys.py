"""API keys: making and recognising a key, and checking its scopes. Pure, except for the random characters."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from uuid import uuid4

from engine.keys.key import ApiKey
from engine.records import Environment

VOICE_CALL = "voice:call"
VOICE_READ = "voice:read"
WEBHOOKS_MANAGE = "webhooks:manage"
KEYS_MANAGE = "keys:manage"
EVERYTHING = "*"
"""All of the above except ``keys:manage``. A key has ``*`` by default, and a leaked key must not be able to make new
keys that outlive its revocation."""
SCOPES = frozenset({VOICE_CALL, VOICE_READ, WEBHOOKS_MANAGE, KEYS_MANAGE, EVERYTHING})

DEFAULT_RATE_PER_S = 10.0
_RANDOM_BYTES = 32
_SHOWN_CHARACTERS = 6


def mint(
    environment: Environment,
    name: str,
    *,
    now: datetime,
    scopes: Iterable[str] = (EVERYTHING,),
    rate_per_s: float = DEFAULT_RATE_PER_S,
    expires_at: datetime | None = None,
) -> tuple[str, ApiKey]:
    """A new key: the secret, to be shown once and stored nowhere, and the record to store.

    Raises ``ValueError`` with a sentence for an unknown scope, no scope at all, or a rate that is not positive.
    """
    granted = frozenset(scopes)
    if not granted or not granted <= SCOPES:
        unknown = ", ".join(sorted(granted - SCOPES)) or "none"
        raise ValueError(f"expected scopes among {', '.join(sorted(SCOPES))}, got {unknown}")
    if not 0 < rate_per_s < float("inf"):
        raise ValueError(f"expected a rate above 0 requests per second, got {rate_per_s}")
    start = f"tk_{environment}_"
    secret = start + secrets.token_urlsafe(_RANDOM_BYTES)
    return secret, ApiKey(
        id=str(uuid4()),
        name=name,
        prefix=secret[: len(start) + _SHOWN_CHARACTERS],
        digest=digest(secret),
        environment=environment,
        scopes=granted,
        rate_per_s=rate_per_s,
        created_at=now,
        expires_at=expires_at,
    )


def digest(secret: str) -> str:
    """SHA-256 in hex, the only form that is kept. A slow hash would add nothing: nobody guesses 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def usable(key: ApiKey, now: datetime) -> bool:
    """True unless the key is revoked or expired."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def allows(key: ApiKey, scope: str) -> bool:
    """True when the key has ``scope``, or has ``*`` and ``scope`` is not ``keys:manage``."""
    return scope in key.scopes or (EVERYTHING in key.scopes and scope != KEYS_MANAGE)
