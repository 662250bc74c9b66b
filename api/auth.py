"""Who asks, and may they: Bearer keys (RFC 6750), their scopes, expiry, revocation, and rate limit.

A key itself is hashed at once and is never stored, logged or repeated. Unknown, revoked and expired keys get the same
answer, so that nothing is learnt by trying. A key is looked up in the store at every request, so that its revocation is
in force at once; but what is beyond a limit is refused before, so that a flood costs next to nothing.
"""

from __future__ import annotations

import hmac
import math
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from api.ports import Keys
from api.problems import FORBIDDEN, RATE_LIMITED, UNAUTHORIZED, Refusal
from engine.errors import EngineError
from engine.keys import keys
from engine.keys.key import ApiKey

Handler = Callable[[Request, ApiKey], Awaitable[Response]]

_BEARER = re.compile(r"(?i:bearer) +(tk_(?:live|test)_[A-Za-z0-9_-]{32,128})")


_STRANGERS_PER_S = 100.0
"""How many keys that were never seen good are looked up in a second."""


class TokenBucket:
    """Grants ``rate`` requests a second on average, and a second's worth (at least one) at once."""

    __slots__ = ("_at_s", "_tokens", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._tokens = math.inf
        self._at_s = 0.0

    def take(self, now_s: float) -> float:
        """0 when granted, else the seconds until the next request would be."""
        self._tokens = min(max(1.0, self.rate), self._tokens + (now_s - self._at_s) * self.rate)
        self._at_s = now_s
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0


class Authenticator:
    """Stands before every operation that needs a key."""

    def __init__(
        self,
        store: Keys,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._now = now
        self._monotonic_s = monotonic_s
        self._buckets: dict[str, TokenBucket] = {}
        """By the digest of each key that was good when it was last used."""
        self._strangers = TokenBucket(_STRANGERS_PER_S)

    def __call__(self, scope: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """``handler`` for requests with a good key that has ``scope``; a ``Refusal`` for the rest."""

        async def guarded(request: Request) -> Response:
            key = await self._authenticate(request)
            if not keys.allows(key, scope):
                raise Refusal(FORBIDDEN, f"This key lacks the scope {scope}.")
            return await handler(request, key)

        return guarded

    async def _authenticate(self, request: Request) -> ApiKey:
        given = request.headers.getlist("authorization")
        if not given:
            raise _unauthorized("Send your key in the header Authorization: Bearer tk_…")
        bearer = _BEARER.fullmatch(given[0])
        if len(given) == 1 and bearer:
            digest = keys.digest(bearer[1])
            known = self._buckets.get(digest)
            self._limit(known or self._strangers)
            key = await self._store.find_key(digest)
            now = self._now()
            if key and hmac.compare_digest(key.digest, digest) and keys.usable(key, now):
                if known is None:
                    # Of several first requests that were looked up together each must find the others' bucket.
                    self._limit(self._buckets.setdefault(digest, TokenBucket(key.rate_per_s)))
                await self._store.touch_key(key.id, now)
                return key
            self._buckets.pop(digest, None)
        raise _unauthorized("The key is unknown, revoked or expired.")

    def _limit(self, bucket: TokenBucket) -> None:
        if wait_s := bucket.take(self._monotonic_s()):
            whose = "No key that was not seen before is taken now" if bucket is self._strangers else "This key's limit"
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise Refusal(RATE_LIMITED, f"{whose}: {bucket.rate:g} requests a second.", headers=headers)


async def is_still_good(store: Keys, key: ApiKey) -> bool:
    """Whether ``key`` is neither revoked nor expired by now, for answers that last; False when the store fails."""
    try:
        found = await store.find_key(key.digest)
    except EngineError:
        return False
    return found is not None and keys.usable(found, datetime.now(UTC))


def _unauthorized(detail: str) -> Refusal:
    return Refusal(UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
