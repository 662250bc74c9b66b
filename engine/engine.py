"""The engine as the API sees it: place, look up, hang up and watch calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from weakref import WeakValueDictionary

from engine.calls.call import Call, CallLimits
from engine.calls.call_store import CallStore
from engine.calls.ledger import first_kinds
from engine.calls.recovery import Recovery
from engine.environments.backend import Backend
from engine.errors import CallIsLive, NoCapacity, ShuttingDown, StoreUnavailable, TrunkUnavailable, UnknownCall
from engine.guard.guard import Clearance, Guard
from engine.keys.key import ApiKey
from engine.keys.registry import KeyRegistry, KeyStore
from engine.messages.events import CallEvent
from engine.metrics import Metrics, Standing
from engine.outcome import ENGINE_SHUTDOWN
from engine.readiness import Readiness, judge
from engine.records import (
    AiRecord,
    AttemptId,
    CallChange,
    CallFilter,
    CallId,
    CallRecord,
    CallRequest,
    Environment,
    IdempotencyClaim,
    SipCallId,
    Status,
    call_of,
)
from engine.trunks.trunks import TrunkState
from engine.webhooks.registry import WebhookRegistry

log = logging.getLogger("trunkline.engine")

_RETRY_AFTER_S = 2
_END_S = 8.0
"""How long the calls that a close ends may take to become final."""


class Engine:
    """All live calls of this process, and the store of all calls.

    One event loop; nothing here blocks. Between ``start`` and ``close`` it places calls.
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
        self._limits = limits
        self._guard = guard
        self._recovery = Recovery(store, max_duration_s=limits.default_max_duration_s)
        self._claiming: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()
        self._calls: dict[CallId, Call] = {}
        self._reserved: dict[Environment, int] = dict.fromkeys(Environment, 0)
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._watchers: dict[CallId, set[asyncio.Queue[CallRecord]]] = {}
        self._metrics = {environment: Metrics(partial(self._standing, environment)) for environment in backends}
        self._draining = self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Make the calls final that were live when the process died; returns how many there were."""
        abandoned = await self._recovery.recover()
        if self._guard.remembers:
            now = datetime.now(UTC)
            counted = await self._store.placed_since(now - self._guard.remembers, Environment.LIVE)
            self._guard.restore(counted, now)
        return abandoned

    async def drain(self, timeout_s: float) -> None:
        """Take no more calls and let the live ones go on; returns when all are over, after ``timeout_s`` at most."""
        self._draining = True
        if self._calls:
            log.info("no more calls are taken; the live ones go on", extra={"calls": len(self._calls)})
        await self._until_quiet(timeout_s)

    async def close(self) -> None:
        """Take no more calls, end those that are live, and wait for their records."""
        self._draining = self._closing = True
        for call in self._calls.values():
            call.end(ENGINE_SHUTDOWN)
        await self._until_quiet(_END_S)
        for backend in self._backends.values():
            await backend.close()

    # -- what the API asks ---------------------------------------------------------------------------------------------

    async def place(
        self,
        request: CallRequest,
        environment: Environment,
        claim: IdempotencyClaim | None = None,
        *,
        api_key_id: str = "",
    ) -> CallRecord:
        """Accept a call and have it dialled; returns its record, committed, without waiting for the far end.

        With a ``claim`` made before, the call of that time, whatever would be refused by now. Raises ``NoCapacity``,
        ``TrunkUnavailable``, ``CallerNotAllowed``, ``GuardRefused``, ``QuotaReached``, ``IdempotencyConflict``.
        """
        async with self._turn(claim):
            if claim is not None and (earlier := await self._store.claimed(claim)) is not None:
                return earlier
            with self._clear(request, environment, api_key_id) as clearance:
                record = await self._reserve(request, environment, claim, api_key_id)
                if record.id in self._calls:
                    clearance.keep(record.id)
            await asyncio.sleep(0)  # the call's first step, its INVITE, goes before the answer
            return record

    async def _reserve(
        self, request: CallRequest, environment: Environment, claim: IdempotencyClaim | None, api_key_id: str
    ) -> CallRecord:
        """Place the call on a line of its own, which is held until its end."""
        backend = self._backends[environment]
        if self._draining:
            raise ShuttingDown("The engine is shutting down and takes no more calls.", retry_after_s=_RETRY_AFTER_S)
        if self._reserved[environment] >= backend.pool.max_calls:
            raise NoCapacity(
                f"All {backend.pool.max_calls} lines (sip.max_calls) are in use.", retry_after_s=_RETRY_AFTER_S
            )
        self._reserved[environment] += 1
        self._quiet.clear()
        try:
            record = await self._accept(request, environment, backend, claim, api_key_id)
        except BaseException:
            self._release(environment)
            raise
        if record.id not in self._calls:
            self._release(environment)  # somebody else's claim won
        return record

    async def get(self, call_id: str, environment: Environment) -> CallRecord:
        """The call's record as it stands. Raises ``UnknownCall``."""
        live = self._calls.get(CallId(call_id))
        record = live.record if live is not None else await self._store.get(CallId(call_id))
        if record is None or record.environment is not environment:
            raise UnknownCall(call_id)
        return record

    async def find(self, which: CallFilter, limit: int) -> Sequence[CallRecord]:
        """The newest of the calls that are meant, newest first, without their transcripts."""
        return await self._store.find(which, limit)

    async def hang_up(self, call_id: str, environment: Environment) -> CallRecord:
        """Have the call ended; on one that is over nothing happens. Raises ``UnknownCall``."""
        record = await self.get(call_id, environment)
        if (live := self._calls.get(record.id)) is not None:
            live.end()
        return record

    async def erase_transcript(self, call_id: str, environment: Environment) -> None:
        """Forget what was said in a call that is over, and what its agent was told.

        Raises ``UnknownCall``, ``CallIsLive``.
        """
        record = await self.get(call_id, environment)
        if not record.status.final:
            raise CallIsLive
        await self._store.erase_conversation(record.id)

    async def watch(self, call_id: str, environment: Environment) -> AsyncGenerator[CallRecord, None]:
        """The record now and at each change; ends after the final one. Raises ``UnknownCall`` at the first step."""
        changes: asyncio.Queue[CallRecord] = asyncio.Queue()
        watchers = self._watchers.setdefault(CallId(call_id), set())
        watchers.add(changes)
        try:
            record = await self.get(call_id, environment)
            yield record
            while not record.status.final:
                record = await changes.get()
                yield record
        finally:
            watchers.discard(changes)
            if not watchers:
                self._watchers.pop(CallId(call_id), None)

    async def find_key(self, digest: str) -> ApiKey | None:
        """The API key with this SHA-256, straight from the store."""
        return await self._keys.find_key(digest)

    async def touch_key(self, key_id: str, at: datetime) -> None:
        """Note that a key was used."""
        await self._keys.touch_key(key_id, at)

    def trunks(self, environment: Environment) -> Sequence[TrunkState]:
        """Each trunk as it stands."""
        backend = self._backends[environment]
        return [
            TrunkState(trunk=backend.trunks.get(name), health=health, calls=backend.dial_queue.calls(name))
            for name, health in backend.trunks.health().items()
        ]

    def readiness(self) -> Readiness:
        """Whether a new call would be taken: a trunk is up and a line is free, live when trunks are configured."""
        environment = Environment.LIVE if self._backends[Environment.LIVE].trunks.health() else Environment.TEST
        return judge(
            self._backends[environment],
            used=self._reserved[environment],
            refusals=self._guard.refusals,
            writable=self._store.writable,
            draining=self._draining,
        )

    def metrics(self, environment: Environment) -> bytes:
        """The environment's metrics in Prometheus' text format."""
        return self._metrics[environment].exposition()

    def _standing(self, environment: Environment) -> Standing:
        backend = self._backends[environment]
        return Standing(
            lines=self._reserved[environment],
            lines_limit=backend.pool.max_calls,
            tick_late_s=max((beat.late_max_ms for beat in backend.pool.heartbeats.values()), default=0.0) / 1000,
            trunks={name: health.up for name, health in backend.trunks.health().items()},
            refusals=self._guard.refusals if environment is Environment.LIVE else {},
        )

    # -- the backends' events ------------------------------------------------------------------------------------------

    def deliver(self, event: CallEvent) -> None:
        """An event of a worker for one of the calls; one for a call whose record is final already is dropped."""
        if (call := self._calls.get(call_of(event.attempt_id))) is not None:
            call.deliver(event)

    def lost(self, attempt_id: AttemptId) -> None:
        """The worker that carried the attempt died."""
        if (call := self._calls.get(call_of(attempt_id))) is not None:
            call.lost(attempt_id)

    def sweep(self) -> None:
        """Find what is stuck, and end it: a silent worker, a call without a line, a call past its limits.

        To be called once a second.
        """
        for backend in self._backends.values():
            backend.pool.sweep()
        for call in self._calls.values():
            if call.attempt_id is not None and not self._backends[call.record.environment].pool.carries(
                call.attempt_id
            ):
                call.lost(call.attempt_id)  # unless its end is known already and waits to be taken in
            call.check()
        if self._recovery.doubtful:
            self._spawn(self._recovery.settle())

    # -- inside --------------------------------------------------------------------------------------------------------

    def _turn(self, claim: IdempotencyClaim | None) -> contextlib.AbstractAsyncContextManager[object]:
        """Requests with one claim go one after the other: only the first may take what a call takes."""
        if claim is None:
            return contextlib.nullcontext()
        return self._claiming.setdefault((claim.api_key_id, claim.key), asyncio.Lock())

    def _clear(self, request: CallRequest, environment: Environment, api_key_id: str) -> Clearance:
        """Ask the guard; nothing can be spent in the sandbox."""
        if environment is Environment.TEST:
            return Clearance([], {})
        limit_s = request.max_duration_s or self._limits.default_max_duration_s
        return self._guard.clear(request, api_key_id, limit_s)

    async def _accept(
        self,
        request: CallRequest,
        environment: Environment,
        backend: Backend,
        claim: IdempotencyClaim | None,
        api_key_id: str,
    ) -> CallRecord:
        await backend.start()
        route = backend.trunks.route(request.from_number)
        trunk = backend.trunks.get(route[0])
        if request.agent is not None and backend.agents is None:
            raise TrunkUnavailable(
                "AI calls need ultravox.api_key in trunkline.toml; plain calls work without it.", retry_after_s=60
            )
        backend.dial_queue.check_wait(route, self._limits.queue_timeout_s, new_session=request.agent is not None)
        now = datetime.now(UTC)
        record = CallRecord(
            id=CallId(str(uuid.uuid4())),
            sip_call_id=SipCallId(f"CA{uuid.uuid4().hex}"),
            environment=environment,
            request=request,
            provider="ultravox" if request.agent is not None else trunk.provider,
            trunk=trunk.name,
            status=Status.INITIATED,
            created_at=now,
            ai=AiRecord() if request.agent is not None else None,
            api_key_id=api_key_id or None,
        )
        changes = [CallChange(call_id=record.id, kind=kind, at=now) for kind in first_kinds(record)]
        try:
            stored = await self._store.add(record, claim, *changes)
        except StoreUnavailable:
            self._recovery.doubt(record.id)
            raise
        if stored.id == record.id:
            self._run(record, route, backend)
        return stored

    def _run(self, record: CallRecord, route: tuple[str, ...], backend: Backend) -> None:
        call = Call(
            record,
            route,
            queue=backend.dial_queue,
            trunks=backend.trunks,
            agents=backend.agents,
            store=self._store,
            limits=self._limits,
            publish=self._publish,
        )
        self._calls[record.id] = call
        if self._closing:  # it was being accepted when that began
            call.end(ENGINE_SHUTDOWN)
        self._spawn(self._carry(call))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, call: Call) -> None:
        try:
            await call.run()
        finally:
            del self._calls[call.record.id]
            self._guard.ended(call.record)
            self._release(call.record.environment)

    async def _until_quiet(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), timeout_s)

    def _release(self, environment: Environment) -> None:
        self._reserved[environment] -= 1
        if not any(self._reserved.values()):
            self._quiet.set()

    def _publish(self, record: CallRecord) -> None:
        if record.status.final:
            self._metrics[record.environment].ended(record)
        for changes in self._watchers.get(record.id, ()):
            changes.put_nowait(record)
