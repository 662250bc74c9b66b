"""The store in memory: for tests, and for trying things out without a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from engine.errors import EngineError, IdempotencyConflict
from engine.keys import usable
from engine.ports import IdempotencyClaim
from engine.records import ApiKey, CallChange, CallId, CallRecord, Environment, TranscriptLine
from engine.store.claims import LIFETIME
from engine.store.sql import utc_now


class MemoryStore:
    """``CallStore`` and ``KeyStore`` that pass the same tests as the real one.

    It does not imitate durability, other processes, waiting (nothing yields to the loop) nor a database that fails, and
    it notes every use of a key.
    """

    def __init__(self, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self._calls: dict[CallId, CallRecord] = {}
        self._changes: dict[CallId, list[CallChange]] = {}
        self._lines: dict[CallId, dict[int, TranscriptLine]] = {}
        self._claims: dict[tuple[str, str], tuple[IdempotencyClaim, CallId, datetime]] = {}
        self._keys: dict[str, ApiKey] = {}

    async def aclose(self) -> None:
        """Nothing to do."""

    async def add(self, call: CallRecord, change: CallChange, claim: IdempotencyClaim | None) -> CallRecord:
        if claim is not None and (earlier := await self.claimed(claim)):
            return earlier
        if call.id in self._calls:
            raise EngineError("There is a call with this id.")
        if claim is not None:
            self._claims[claim.api_key_id, claim.key] = (claim, call.id, self._now())
        self._calls[call.id], self._changes[call.id], self._lines[call.id] = call, [change], {}
        return call

    async def save(self, call: CallRecord, change: CallChange) -> None:
        self._must_exist(call.id)
        self._calls[call.id] = call
        self._changes[call.id].append(change)

    async def add_line(self, call_id: CallId, line: TranscriptLine, at: datetime) -> None:
        self._must_exist(call_id)
        self._lines[call_id][line.ordinal] = line

    async def get(self, call_id: CallId) -> CallRecord | None:
        call = self._calls.get(call_id)
        if call is None or call.ai is None:
            return call
        transcript = tuple(line for _, line in sorted(self._lines[call_id].items()))
        return replace(call, ai=replace(call.ai, transcript=transcript))

    async def claimed(self, claim: IdempotencyClaim) -> CallRecord | None:
        earlier, call_id, at = self._claims.get((claim.api_key_id, claim.key), (claim, None, self._now()))
        if call_id is None or at <= self._now() - LIFETIME:
            return None
        if earlier.body_digest != claim.body_digest:
            raise IdempotencyConflict
        return await self.get(call_id)

    async def live(self) -> Sequence[CallRecord]:
        calls = [await self.get(call.id) for call in self._calls.values() if not call.status.final]
        return sorted((call for call in calls if call is not None), key=lambda call: (call.created_at, call.id))

    async def changes(self, call_id: CallId) -> Sequence[CallChange]:
        return list(self._changes.get(call_id, ()))

    async def add_key(self, key: ApiKey) -> None:
        if key.id in self._keys or await self.find_key(key.digest):
            raise EngineError("There is a key with this id or digest.")
        self._keys[key.id] = key

    async def find_key(self, digest: str) -> ApiKey | None:
        return next((key for key in self._keys.values() if key.digest == digest), None)

    async def list_keys(self) -> Sequence[ApiKey]:
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    async def revoke_key(self, id_or_prefix: str, at: datetime) -> ApiKey | None:
        found = [key for key in self._keys.values() if id_or_prefix in (key.id, key.prefix)]
        if len(found) != 1:
            return None
        key = found[0]
        self._keys[key.id] = replace(key, revoked_at=key.revoked_at or at)
        return self._keys[key.id]

    async def touch_key(self, key_id: str, at: datetime) -> None:
        if key_id in self._keys:
            self._keys[key_id] = replace(self._keys[key_id], last_used_at=at)

    async def environments(self) -> frozenset[Environment]:
        return frozenset(key.environment for key in self._keys.values() if usable(key, self._now()))

    def _must_exist(self, call_id: CallId) -> None:
        if call_id not in self._calls:
            raise EngineError("There is no call with this id.")
