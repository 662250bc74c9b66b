"""Who asks, and may they: Bearer keys (RFC 6750), their scopes, expiry, revocation, and rate limit.

A key itself is hashed at once and is never stored, logged or repeated. Unknown, revoked and expired keys get the same
answer, so that nothing is learnt by trying.
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
from engine import keys
from engine.records import ApiKey

Handler = Callable[[Request, ApiKey], Awaitable[Response]]

_BEARER = re.compile(r"(?i:bearer) +(tk_(?:live|test)_[A-Za-z0-9_-]{32,128})")


class TokenBucket:
    """Grants ``rate`` requests a second on average, and a second's worth (at least one) at once."""

    __slots__ = ("_at_s", "_tokens")

    def __init__(self) -> None:
        self._tokens = math.inf
        self._at_s = 0.0

    def take(self, rate: float, now_s: float) -> float:
        """0 when granted, else the seconds until the next request would be."""
        self._tokens = min(max(1.0, rate), self._tokens + (now_s - self._at_s) * rate)
        self._at_s = now_s
        if self._tokens < 1:
            return (1 - self._tokens) / rate
        self._tokens -= 1
        return 0.0


class Guard:
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

    def __call__(self, scope: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """``handler`` for requests with a good key that has ``scope``; a ``Refusal`` for the rest."""

        async def guarded(request: Request) -> Response:
            key = await self._authenticate(request)
            self._limit(key)
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
            key = await self._store.find_key(digest)
            now = self._now()
            if key and hmac.compare_digest(key.digest, digest) and keys.usable(key, now):
                await self._store.touch_key(key.id, now)
                return key
        raise _unauthorized("The key is unknown, revoked or expired.")

    def _limit(self, key: ApiKey) -> None:
        wait_s = self._buckets.setdefault(key.id, TokenBucket()).take(key.rate_per_s, self._monotonic_s())
        if wait_s:
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise Refusal(RATE_LIMITED, f"This key allows {key.rate_per_s:g} requests a second.", headers=headers)


def _unauthorized(detail: str) -> Refusal:
    return Refusal(UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
