"""An API key as it is stored: its digest, its scopes and its expiry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from engine.records import (
    Environment,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is stored: never the secret, only its SHA-256 and the parts that may be shown."""

    id: str
    name: str
    prefix: str
    """The first characters of the key (``tk_live_ab12cd``), for display."""
    digest: str
    """SHA-256 of the whole key, hex."""
    environment: Environment
    scopes: frozenset[str]
    rate_per_s: float
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
