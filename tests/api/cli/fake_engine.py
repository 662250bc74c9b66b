"""An engine that takes no calls, for what happens around one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path

from engine.config.settings import Config
from engine.errors import NoCapacity, UnknownCall
from engine.keys.key import ApiKey
from engine.keys.registry import KeyRegistry
from engine.log import LogSettings
from engine.readiness import Readiness
from engine.records import CallRecord, CallRequest, Environment, IdempotencyClaim
from engine.store import MemoryStore
from engine.webhooks.registry import WebhookRegistry
from engine.webhooks.subscriptions import ShowCall


class FakeEngine:
    def __init__(self) -> None:
        store = MemoryStore()
        self.keys = KeyRegistry(store)
        self.webhooks = WebhookRegistry(store, allow_private=False)

    async def place(
        self, request: CallRequest, environment: Environment, claim: IdempotencyClaim | None, *, api_key_id: str
    ) -> CallRecord:
        raise NoCapacity("No lines at all.", retry_after_s=1)

    async def get(self, call_id: str, environment: Environment) -> CallRecord:
        raise UnknownCall(call_id)

    async def hang_up(self, call_id: str, environment: Environment) -> CallRecord:
        raise UnknownCall(call_id)

    async def erase_transcript(self, call_id: str, environment: Environment) -> None:
        raise UnknownCall(call_id)

    async def watch(self, call_id: str, environment: Environment) -> AsyncGenerator[CallRecord, None]:
        yield await self.get(call_id, environment)

    async def find_key(self, digest: str) -> ApiKey | None:
        return None

    async def touch_key(self, key_id: str, at: datetime) -> None: ...

    async def drain(self, timeout_s: float) -> None: ...

    def metrics(self, environment: Environment) -> bytes:
        return b""

    def readiness(self) -> Readiness:
        return Readiness(ready=False, checks={})


RunningEngine = Callable[..., AbstractAsyncContextManager[FakeEngine]]


def running(
    started: Callable[[], None] = lambda: None, closing: Callable[[], Awaitable[None]] | None = None
) -> RunningEngine:
    """In place of ``running_engine``: says when it has started and when it is closing."""

    @asynccontextmanager
    async def running_engine(
        config: Config, *, log: LogSettings | None = None, recordings: Path | None = None, show_call: ShowCall
    ) -> AsyncIterator[FakeEngine]:
        started()
        yield FakeEngine()
        if closing is not None:
            await closing()

    return running_engine
