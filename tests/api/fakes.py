"""An engine in memory and the values it deals in. It dials nothing, keeps one claim table, and publishes on request."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from engine.errors import CallIsLive, IdempotencyConflict, UnknownCall
from engine.keys.key import ApiKey
from engine.keys.registry import KeyRegistry
from engine.readiness import Readiness
from engine.records import (
    CallFilter,
    CallRecord,
    CallRequest,
    Environment,
    IdempotencyClaim,
)
from engine.store import MemoryStore
from engine.trunks.trunks import TrunkState
from engine.webhooks.registry import WebhookRegistry
from tests.engine.samples import call_record

NOW = datetime(2026, 3, 9, 15, 30, 0, 123_456, tzinfo=UTC)
LIVE_KEY = "tk_live_" + "a" * 43
TEST_KEY = "tk_test_" + "b" * 43
REVOKED_KEY = "tk_live_" + "c" * 43
EXPIRED_KEY = "tk_live_" + "d" * 43
READING_KEY = "tk_live_" + "e" * 43
SLOW_KEY = "tk_live_" + "f" * 43


def api_key(secret: str, **changes: object) -> ApiKey:
    key = ApiKey(
        id=f"id of {secret[:9]}",
        name="n",
        prefix=secret[:14],
        digest=hashlib.sha256(secret.encode()).hexdigest(),
        environment=Environment.TEST if secret.startswith("tk_test_") else Environment.LIVE,
        scopes=frozenset({"*"}),
        rate_per_s=1_000_000.0,
        created_at=NOW,
    )
    return replace(key, **changes)  # type: ignore[arg-type]


def a_call(request: CallRequest | None = None, **changes: object) -> CallRecord:
    request = request or CallRequest(from_number="+14155559876", to_number="+14155551234")
    return call_record(**{"request": request, "created_at": NOW, **changes})


class FakeEngine:
    """Accepts every call; ``refusal`` is raised instead when set."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.webhooks = WebhookRegistry(self.store, allow_private=False)
        self.calls: dict[str, CallRecord] = {}
        self.claims: dict[tuple[str, str], tuple[str, CallRecord]] = {}
        self.hung_up: list[str] = []
        self.refusal: Exception | None = None
        self.state = Readiness(ready=True, checks={"trunk main": "up"})
        self.trunk_states: dict[Environment, list[TrunkState]] = {environment: [] for environment in Environment}
        self.touched: list[str] = []
        self.watchers: list[asyncio.Queue[CallRecord]] = []
        self.watched = asyncio.Event()
        self.unwatched = asyncio.Event()
        self.keys = KeyRegistry(self.store)
        self.api_keys = [
            api_key(LIVE_KEY),
            api_key(TEST_KEY),
            api_key(REVOKED_KEY, revoked_at=NOW - timedelta(days=1)),
            api_key(EXPIRED_KEY, expires_at=NOW),
            api_key(READING_KEY, scopes=frozenset({"voice:read"})),
            api_key(SLOW_KEY, rate_per_s=2.0),
        ]

    async def place(
        self, request: CallRequest, environment: Environment, claim: IdempotencyClaim | None, *, api_key_id: str
    ) -> CallRecord:
        if self.refusal:
            raise self.refusal
        call = a_call(request, environment=environment)
        if claim:
            digest, call = self.claims.setdefault((claim.api_key_id, claim.key), (claim.body_digest, call))
            if digest != claim.body_digest:
                raise IdempotencyConflict
        self.calls.setdefault(call.id, call)
        return self.calls[call.id]

    async def get(self, call_id: str, environment: Environment) -> CallRecord:
        if self.refusal:
            raise self.refusal
        call = self.calls.get(call_id)
        if call is None or call.environment is not environment:
            raise UnknownCall(call_id)
        return call

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        return await self.store.find(which, limit)

    async def hang_up(self, call_id: str, environment: Environment) -> CallRecord:
        call = await self.get(call_id, environment)
        self.hung_up.append(call_id)
        return call

    async def erase_transcript(self, call_id: str, environment: Environment) -> None:
        call = await self.get(call_id, environment)
        if not call.status.final:
            raise CallIsLive
        if call.ai:
            self.calls[call_id] = replace(call, ai=replace(call.ai, transcript=()))

    async def watch(self, call_id: str, environment: Environment) -> AsyncGenerator[CallRecord, None]:
        call = await self.get(call_id, environment)
        changes: asyncio.Queue[CallRecord] = asyncio.Queue()
        self.watchers.append(changes)
        self.watched.set()
        try:
            yield call
            while not call.status.final:
                yield (call := await changes.get())
        finally:
            self.watchers.remove(changes)
            self.unwatched.set()

    def publish(self, call: CallRecord) -> None:
        self.calls[call.id] = call
        for changes in self.watchers:
            changes.put_nowait(call)

    async def find_key(self, digest: str) -> ApiKey | None:
        return next((key for key in self.api_keys if key.digest == digest), None) or await self.store.find_key(digest)

    async def touch_key(self, key_id: str, at: datetime) -> None:
        assert at == NOW
        self.touched.append(key_id)

    def trunks(self, environment: Environment) -> list[TrunkState]:
        return self.trunk_states[environment]

    def metrics(self, environment: Environment) -> bytes:
        return f"of_{environment.value} 1\n".encode()

    def readiness(self) -> Readiness:
        return self.state


class ManualClock:
    """Time that stands still until it is turned."""

    def __init__(self) -> None:
        self.s = 1000.0

    def __call__(self) -> float:
        return self.s
