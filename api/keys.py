"""``/api/keys``: API keys created, listed and revoked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from api import body
from api.models import UUID, Given, Moment, Optionally, Timestamp, View, Word, answer, path_id, validate
from api.ports import Engine
from engine.errors import UnknownKey
from engine.keys.key import ApiKey
from engine.keys.keys import EVERYTHING, SCOPES
from engine.records import Environment

MAX_RATE = 10_000

_NAMES = ", ".join(sorted(SCOPES))


def _known(scope: str) -> str:
    if scope not in SCOPES:
        raise PydanticCustomError("expected", "unknown scope")
    return scope


def _future(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise PydanticCustomError("expected", "not in the future")
    return moment


Scope = Annotated[str, AfterValidator(_known)]


class KeyRequest(Given):
    """A key to create. It can have no more rights than the key that creates it."""

    name: Annotated[Word, StringConstraints(max_length=100)] = Field(
        description="who or what the key is for: a non-blank string of up to 100 characters"
    )
    environment: Optionally[Environment] = Field(
        default=None, description='"live" or "test" (by default that of the key that creates it)'
    )
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))] = Field(
        default=[EVERYTHING],
        description=f"a non-empty array of scopes among {_NAMES}, where * is all except keys:manage",
    )
    rate_limit: Optionally[Annotated[float, Field(gt=0, le=MAX_RATE)]] = Field(
        default=None, description=f"requests per second: a number above 0, up to {MAX_RATE} (by default 10)"
    )
    expires_at: Optionally[Annotated[Moment, AfterValidator(_future)]] = Field(
        default=None, description='a future time with its zone, such as "2030-01-31T00:00:00Z"'
    )


class KeyView(View):
    """An API key, without the key itself."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    name: str
    prefix: str = Field(description="the key's first characters")
    environment: Environment
    scopes: list[str]
    rate_limit: float = Field(description="requests per second")
    created_at: Timestamp
    expires_at: Timestamp | None = None
    revoked_at: Timestamp | None = None
    last_used_at: Timestamp | None = Field(default=None, description="to within ten seconds")

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
    """An API key with the key itself, which is shown only here."""

    key: str = Field(description="the key itself; it is not shown again", repr=False)


class KeyList(View):
    """The API keys of the requesting key's environment and of the sandbox, oldest first."""

    keys: list[KeyView]

    @classmethod
    def of(cls, keys: Iterable[ApiKey]) -> KeyList:
        return cls(keys=[KeyView.of(key) for key in keys])


class KeyRevoked(View):
    """The key no longer works."""

    revoked: Literal[True]


async def create_key(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Create a key, with at most the rights of the key that creates it.

    The answer shows the key itself, only this once.
    """
    wanted = validate(await body.read(request), KeyRequest, "No key was made")
    secret, made = await engine.keys.create(
        wanted.name,
        by=key,
        environment=wanted.environment,
        scopes=wanted.scopes,
        rate_per_s=wanted.rate_limit,
        expires_at=wanted.expires_at,
    )
    return answer(KeyCreated.of(made, key=secret))


async def list_keys(engine: Engine, _: Request, key: ApiKey) -> Response:
    """List the keys."""
    return answer(KeyList.of(await engine.keys.all_of(key)))


async def revoke_key(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Revoke a key at once.

    A key that was revoked before gets the same answer.
    """
    await engine.keys.revoke(path_id(request, UUID, UnknownKey), by=key)
    return answer(KeyRevoked(revoked=True))
