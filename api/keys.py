"""``/api/keys``: keys made, listed and revoked by a key that may."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from api import body
from api.key_schemas import read_key
from api.key_views import KeyCreated, KeyList, KeyRevoked
from api.ports import KeyManagement
from api.views import answer
from engine.errors import UnknownKey
from engine.keys.key import ApiKey

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class KeyResource:
    """The resource's three operations. Each takes a request that a key was found good for."""

    def __init__(self, keys: KeyManagement) -> None:
        self._keys = keys

    async def create(self, request: Request, key: ApiKey) -> Response:
        wanted = read_key(await body.read(request))
        secret, made = await self._keys.create(
            wanted.name,
            by=key,
            environment=wanted.environment,
            scopes=wanted.scopes,
            rate_per_s=wanted.rate_limit,
            expires_at=wanted.expires_at,
        )
        return answer(KeyCreated.of(made, key=secret))

    async def list_all(self, request: Request, key: ApiKey) -> Response:
        return answer(KeyList.of(await self._keys.all_of(key)))

    async def revoke(self, request: Request, key: ApiKey) -> Response:
        key_id: str = request.path_params["id"]
        if not _UUID.fullmatch(key_id):  # spares the store what no client can have got from us
            raise UnknownKey(key_id[:64])
        await self._keys.revoke(key_id, by=key)
        return answer(KeyRevoked(revoked=True))
