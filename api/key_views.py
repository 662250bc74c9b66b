"""What a client is shown of keys: never the key itself, but for the one time when it is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field

from api.views import Timestamp, View
from engine.keys.key import ApiKey
from engine.records import Environment


class KeyView(View):
    """A key, by what may be shown of it."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    name: str
    prefix: str = Field(description="the key's first characters")
    environment: Environment
    scopes: list[str]
    rate_limit: float = Field(description="requests per second")
    created_at: Timestamp
    expires_at: Timestamp | None = None
    revoked_at: Timestamp | None = None
    last_used_at: Timestamp | None = Field(default=None, description="within ten seconds")

    @classmethod
    def of(cls, key: ApiKey, /, **more: str) -> Self:
        return cls(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            environment=key.environment,
            scopes=sorted(key.scopes),
            rate_limit=key.rate_per_s,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
            **more,
        )


class KeyCreated(KeyView):
    """A key, the only time whole."""

    key: str = Field(description="the key itself; it is not shown again", repr=False)


class KeyList(View):
    """The keys of the asking key's environment, and of the sandbox; oldest first."""

    keys: list[KeyView]

    @classmethod
    def of(cls, keys: Iterable[ApiKey]) -> KeyList:
        return cls(keys=[KeyView.of(key) for key in keys])


class KeyRevoked(View):
    """The key is good for nothing any more."""

    revoked: Literal[True]
