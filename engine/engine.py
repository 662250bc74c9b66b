"""The engine as the API sees it: place, look up, hang up and watch calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from engine.calls.call import CallLimits
from engine.calls.call_store import CallStore
from engine.calls.capacity import Capacity
from engine.calls.live_calls import LiveCalls
from engine.calls.recovery import Recovery
from engine.environments.backend import Backend
from engine.errors import CallIsLive, UnknownCall
from engine.guard.guard import Guard
from engine.intake import Intake
from engine.keys.key import ApiKey
from engine.keys.registry import KeyRegistry, KeyStore
from engine.messages.events import CallEvent
from engine.metrics import Metrics, Standing
from engine.outcome import ENGINE_SHUTDOWN
from engine.readiness import Readiness, judge, standing
from engine.records import (
    AttemptId,
    CallFilter,
    CallId,
    CallRecord,
    CallRequest,
    Environment,
    IdempotencyClaim,
)
from engine.trunks.trunks import TrunkState
from engine.webhooks.registry import WebhookRegistry

log = logging.getLogger("trunkline.engine")

_END_S = 8.0
"""The time that live calls get on ``close`` to become final."""


class Engine:
    """All live calls of this process, and the store of all calls.

    One event loop; nothing here blocks. It places calls until ``drain`` or ``close``.
    """

    def __init__(
        self,
        *,
        backends: Mapping[Environment, Backend],
        store: CallStore,
        keys: KeyStore,
        webhooks: WebhookRegistry,
        limits: CallLimits,
        guard: Guard,
    ) -> None:
        self.webhooks = webhooks
        self.keys = KeyRegistry(keys)
        self._backends = backends
        self._store = store
        self._keys = keys
        self._guard = guard
        self._recovery = Recovery(store, max_duration_s=limits.default_max_duration_s)
        self._settling: set[asyncio.Task[None]] = set()
        self._metrics = {environment: Metrics(partial(self._standing, environment)) for environment in backends}
        self._capacity = Capacity({environment: backend.pool.max_calls for environment, backend in backends.items()})
        self._live = LiveCalls(self._on_over)
        self._intake = Intake(
            backends=backends,
            store=store,
            limits=limits,
            guard=guard,
            capacity=self._capacity,
            recovery=self._recovery,
            live=self._live,
        )

    # -- life ----------------------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Finish the calls that were live when the process died; returns their number."""
        abandoned = await self._recovery.recover()
        if self._guard.remembers:
            now = datetime.now(UTC)
            counted = await self._store.placed_since(now - self._guard.remembers, Environment.LIVE)
            self._guard.restore(counted, now)
        return abandoned

    async def drain(self, timeout_s: float) -> None:
        """Accept no more calls and let the live ones go on; returns when all are over, after ``timeout_s`` at most."""
        self._intake.close()
        if live := len(self._live):
            log.info("engine draining, waiting for live calls", extra={"calls": live})
        await self._capacity.until_idle(timeout_s)

    async def close(self) -> None:
        """Accept no more calls, end those that are live, and wait for their records."""
        self._intake.close()
        self._live.end_all(ENGINE_SHUTDOWN)
        await self._capacity.until_idle(_END_S)
        for backend in self._backends.values():
            await backend.close()

    def sweep(self) -> None:
        """Find and end everything that is stuck: silent workers, calls without a line, calls past a limit.

        To be called each second.
        """
        for backend in self._backends.values():
            backend.pool.sweep()
        self._live.sweep(lambda environment, attempt_id: self._backends[environment].pool.carries(attempt_id))
        if self._recovery.doubtful:
            task = asyncio.create_task(self._recovery.settle())
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def place(
        self,
        request: CallRequest,
        environment: Environment,
        claim: IdempotencyClaim | None = None,
        *,
        api_key_id: str = "",
    ) -> CallRecord:
        """Accept a call and have it dialled (``Intake.accept``)."""
        return await self._intake.accept(request, environment, api_key_id, claim)

    async def get(self, call_id: str, environment: Environment) -> CallRecord:
        """The call's current record. Raises ``UnknownCall``."""
        live = self._live.get(CallId(call_id))
        record = live.record if live is not None else await self._store.get(CallId(call_id))
        if record is None or record.environment is not environment:
            raise UnknownCall(call_id)
        return record

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        """The newest of the calls that match, newest first, without their transcripts."""
        return await self._store.find(which, limit)

    async def hang_up(self, call_id: str, environment: Environment) -> CallRecord:
        """End the call; does nothing when it is over. Raises ``UnknownCall``."""
        record = await self.get(call_id, environment)
        if (live := self._live.get(record.id)) is not None:
            live.end()
        return record

    async def erase_transcript(self, call_id: str, environment: Environment) -> None:
        """Erase the transcript of a call that is over, and its agent's instructions.

        Raises ``UnknownCall``, ``CallIsLive``.
        """
        record = await self.get(call_id, environment)
        if not record.status.final:
            raise CallIsLive
        await self._store.erase_conversation(record.id)

    async def watch(self, call_id: str, environment: Environment) -> AsyncGenerator[CallRecord, None]:
        """The record now and at each change; ends after the final one. Raises ``UnknownCall`` at the first step."""
        with self._live.changes(CallId(call_id)) as changes:
            record = await self.get(call_id, environment)
            yield record
            while not record.status.final:
                record = await changes.get()
                yield record

    def deliver(self, event: CallEvent) -> None:
        """Hand a worker's event to its call."""
        self._live.deliver(event)

    def lost(self, attempt_id: AttemptId) -> None:
        """Notify a call that the worker of its attempt died."""
        self._live.lost(attempt_id)

    # -- keys, trunks, monitoring --------------------------------------------------------------------------------------

    async def find_key(self, digest: str) -> ApiKey | None:
        """The API key with this SHA-256, always read from the store."""
        return await self._keys.find_key(digest)

    async def touch_key(self, key_id: str, at: datetime) -> None:
        """Note that a key was used."""
        await self._keys.touch_key(key_id, at)

    def trunks(self, environment: Environment) -> Sequence[TrunkState]:
        """The current state of each trunk."""
        backend = self._backends[environment]
        return [
            TrunkState(trunk=backend.trunks.get(name), health=health, calls=backend.dial_queue.calls(name))
            for name, health in backend.trunks.health().items()
        ]

    def readiness(self) -> Readiness:
        """Whether a new call would be accepted: a live one if trunks are configured, otherwise one of the sandbox."""
        environment = Environment.LIVE if self._backends[Environment.LIVE].trunks.health() else Environment.TEST
        return judge(
            self._backends[environment],
            used=self._capacity.used(environment),
            refusals=self._guard.refusals,
            writable=self._store.writable,
            draining=self._intake.closed,
        )

    def metrics(self, environment: Environment) -> bytes:
        """The environment's metrics in Prometheus' text format."""
        return self._metrics[environment].exposition()

    def _standing(self, environment: Environment) -> Standing:
        refusals = self._guard.refusals if environment is Environment.LIVE else {}
        return standing(self._backends[environment], used=self._capacity.used(environment), refusals=refusals)

    def _on_over(self, call: CallRecord) -> None:
        self._guard.ended(call)
        if call.status.final:
            self._metrics[call.environment].ended(call)
