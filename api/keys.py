"""``/api/keys``: keys made, listed and revoked by a key that may."""

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
        raise PydanticCustomError("expected", "no scope")
    return scope


def _to_come(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise PydanticCustomError("expected", "no time to come")
    return moment


Scope = Annotated[str, AfterValidator(_known)]


class KeyRequest(Given):
    """A key to make. It can have no more than the key that asks has."""

    name: Annotated[Word, StringConstraints(max_length=100)] = Field(
        description="who or what the key is for: a string of 1 to 100 characters that is not blank"
    )
    environment: Optionally[Environment] = Field(
        default=None, description='"live" or "test"; as with the key that asks when left out'
    )
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))] = Field(
        default=[EVERYTHING],
        description=f"an array of some of {_NAMES}, where * is all but keys:manage",
    )
    rate_limit: Optionally[Annotated[float, Field(gt=0, le=MAX_RATE)]] = Field(
        default=None, description=f"requests per second: a number above 0, up to {MAX_RATE} (10 when left out)"
    )
    expires_at: Optionally[Annotated[Moment, AfterValidator(_to_come)]] = Field(
        default=None, description='a time to come with its zone, such as "2030-01-31T00:00:00Z"'
    )


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


async def create_key(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Make a key, which can have no more than the one that asks. The answer shows it, this once."""
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
    """The keys there are."""
    return answer(KeyList.of(await engine.keys.all_of(key)))


async def revoke_key(engine: Engine, request: Request, key: ApiKey) -> Response:
    """Revoke a key, at once. One that was revoked before gets the same answer."""
    await engine.keys.revoke(path_id(request, UUID, UnknownKey), by=key)
    return answer(KeyRevoked(revoked=True))
