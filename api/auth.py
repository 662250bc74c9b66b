"""Authentication and authorisation: Bearer keys (RFC 6750), their scopes, expiry, revocation and rate limits.

A key is hashed at once; it is never stored, logged or repeated. Unknown, revoked and expired keys get the same answer,
so that guessing reveals nothing. Each request looks its key up in the store, so that a revocation takes effect at once.
A request beyond a rate limit is refused before that, so that a flood costs next to nothing.
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
from engine.keys import keys
from engine.keys.key import ApiKey

Handler = Callable[[Request, ApiKey], Awaitable[Response]]

_BEARER = re.compile(r"(?i:bearer) +(tk_(?:live|test)_[A-Za-z0-9_-]{32,128})")

_UNKNOWN_KEYS_PER_S = 100.0
"""How many keys that have not been valid in a request yet are looked up per second."""


class TokenBucket:
    """Grants ``rate`` requests per second on average, in bursts of up to one second's worth (at least one)."""

    __slots__ = ("_at_s", "_tokens", "rate")

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._tokens = math.inf
        self._at_s = 0.0

    def take(self, now_s: float) -> float:
        """0 if the request is granted, else the seconds until one would be."""
        self._tokens = min(max(1.0, self.rate), self._tokens + (now_s - self._at_s) * self.rate)
        self._at_s = now_s
        if self._tokens < 1:
            return (1 - self._tokens) / self.rate
        self._tokens -= 1
        return 0.0


class Authenticator:
    """Admits requests with a valid key to the operations that need one."""

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
        """By digest, for each key that was valid when it was last used."""
        self._unknown_keys = TokenBucket(_UNKNOWN_KEYS_PER_S)

    def __call__(self, scope: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """``handler`` for requests whose key is valid and has ``scope``; any other request raises ``Refusal``."""

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
            self._limit(known or self._unknown_keys)
            key = await self._store.find_key(digest)
            now = self._now()
            if key and hmac.compare_digest(key.digest, digest) and keys.usable(key, now):
                if known is None:
                    # A key's first requests may be looked up at the same time; they must share one bucket.
                    self._limit(self._buckets.setdefault(digest, TokenBucket(key.rate_per_s)))
                await self._store.touch_key(key.id, now)
                return key
            self._buckets.pop(digest, None)
        raise _unauthorized("The key is unknown, revoked or expired.")

    def _limit(self, bucket: TokenBucket) -> None:
        if wait_s := bucket.take(self._monotonic_s()):
            keys_used = "unknown keys" if bucket is self._unknown_keys else "this key"
            detail = f"Too many requests with {keys_used} ({bucket.rate:g} per second)."
            raise Refusal(RATE_LIMITED, detail, headers={"Retry-After": str(math.ceil(wait_s))})


def _unauthorized(detail: str) -> Refusal:
    return Refusal(UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
