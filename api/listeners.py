"""Who follows calls by event streams: a bounded number for each key, and one look-up a second for all of a key's."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from api.ports import Keys
from api.problems import RATE_LIMITED, Refusal
from engine.errors import EngineError
from engine.keys import keys
from engine.keys.key import ApiKey

MOST_STREAMS = 32
"""Of one key."""
_CHECK_S = 1.0
"""How long the answer of one look-up holds."""


class Listeners:
    """The event streams that are open, by key."""

    def __init__(self, store: Keys, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic_s = monotonic_s
        self._by_key: dict[str, _Permission] = {}

    @contextlib.contextmanager
    def listening(self, key: ApiKey) -> Iterator[None]:
        """Count one stream of ``key`` while the block runs. Raises ``Refusal`` (429) when it has too many."""
        permission = self._by_key.setdefault(key.id, _Permission(self._store, key, self._monotonic_s))
        if permission.streams >= MOST_STREAMS:
            detail = f"This key follows {MOST_STREAMS} calls already. Close one of its event streams first."
            raise Refusal(RATE_LIMITED, detail, headers={"Retry-After": "1"})
        permission.streams += 1
        try:
            yield
        finally:
            permission.streams -= 1
            if not permission.streams:
                del self._by_key[key.id]

    async def may_listen(self, key: ApiKey) -> bool:
        """Whether ``key`` was neither revoked nor expired within the last second; False if the store cannot be read."""
        permission = self._by_key.get(key.id)
        return permission is not None and await permission.holds()


class _Permission:
    """One key's: looked up by the first stream that asks in a second, for all the others too."""

    def __init__(self, store: Keys, key: ApiKey, monotonic_s: Callable[[], float]) -> None:
        self.streams = 0
        self._store = store
        self._key = key
        self._monotonic_s = monotonic_s
        self._good = False
        self._checked_s = -math.inf
        self._checking = asyncio.Lock()

    async def holds(self) -> bool:
        async with self._checking:
            if self._monotonic_s() - self._checked_s >= _CHECK_S:
                self._good = await self._look_up()
                self._checked_s = self._monotonic_s()
        return self._good

    async def _look_up(self) -> bool:
        try:
            found = await self._store.find_key(self._key.digest)
        except EngineError:
            return False
        return found is not None and keys.usable(found, datetime.now(UTC))
