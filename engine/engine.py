"""The engine as the API sees it: place, look up, hang up and watch calls."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from engine.call import Call, CallLimits, final_kinds
from engine.errors import NoCapacity, TrunkUnavailable, UnknownCall
from engine.outcome import ENGINE_RESTARTED, ENGINE_SHUTDOWN
from engine.pool import CallEvent
from engine.ports import CallStore, IdempotencyClaim, KeyStore, Readiness
from engine.realm import Realm
from engine.records import (
    AiRecord,
    AiStatus,
    ApiKey,
    CallChange,
    CallId,
    CallRecord,
    CallRequest,
    Environment,
    SipCallId,
    Status,
)
from engine.webhooks.registry import WebhookRegistry

log = logging.getLogger("trunkline.engine")

_RETRY_AFTER_S = 2
_DRAIN_S = 8.0


class Engine:
    """All live calls of this process, and the store of all calls.

    One event loop; nothing here blocks. Between ``start`` and ``close`` it places calls.
    """

    def __init__(
        self,
        *,
        realms: Mapping[Environment, Realm],
        store: CallStore,
        keys: KeyStore,
        webhooks: WebhookRegistry,
        limits: CallLimits,
    ) -> None:
        self.webhooks = webhooks
        self._realms = realms
        self._store = store
        self._keys = keys
        self._limits = limits
        self._calls: dict[CallId, Call] = {}
        self._reserved: dict[Environment, int] = dict.fromkeys(Environment, 0)
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: dict[CallId, set[asyncio.Queue[CallRecord]]] = {}
        self._closing = False

    # -- life ----------------------------------------------------------------------------------------------------------

    async def recover(self) -> int:
        """Make the calls final that were live when the process died; returns how many there were."""
        abandoned = await self._store.live()
        now = datetime.now(UTC)
        for call in abandoned:
            answered = call.answered_at is not None
            ended_at = now
            if call.answered_at is not None:
                # Nobody saw the end; the workers hung up with the process, and no call outlives its limit.
                limit_s = call.request.max_duration_s or self._limits.default_max_duration_s
                ended_at = min(now, call.answered_at + timedelta(seconds=limit_s))
            ai = replace(call.ai, status=AiStatus.ENDED, ended_at=ended_at) if call.ai is not None else None
            final = replace(
                call,
                status=Status.COMPLETED if answered else Status.FAILED,
                ended_at=ended_at,
                outcome=ENGINE_RESTARTED,
                ai=ai,
            )
            kinds = final_kinds(final)
            await self._store.save(final, *(CallChange(call_id=call.id, kind=kind, at=now) for kind in kinds))
        if abandoned:
            log.warning("calls of an earlier run were made final", extra={"calls": len(abandoned)})
        return len(abandoned)

    async def close(self) -> None:
        """Take no more calls, end those that are live, and wait for their records."""
        self._closing = True
        for call in list(self._calls.values()):
            call.end(ENGINE_SHUTDOWN)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_DRAIN_S)
        for realm in self._realms.values():
            await realm.close()

    # -- what the API asks ---------------------------------------------------------------------------------------------

    async def place(
        self, request: CallRequest, environment: Environment, claim: IdempotencyClaim | None = None
    ) -> CallRecord:
        """Accept a call and have it dialled; returns its record, committed, without waiting for the far end.

        With a ``claim`` made before, the call of that time. Raises ``NoCapacity``, ``TrunkUnavailable``,
        ``CallerNotAllowed``, ``IdempotencyConflict``.
        """
        if claim is not None and (earlier := await self._store.claimed(claim)) is not None:
            return earlier
        realm = self._realms[environment]
        if self._closing:
            raise NoCapacity("The engine is shutting down.", retry_after_s=_RETRY_AFTER_S)
        if self._reserved[environment] >= realm.pool.max_calls:
            raise NoCapacity(
                f"All {realm.pool.max_calls} lines (sip.max_calls) are in use.", retry_after_s=_RETRY_AFTER_S
            )
        self._reserved[environment] += 1
        try:
            record = await self._accept(request, environment, realm, claim)
        except BaseException:
            self._reserved[environment] -= 1
            raise
        if record.id not in self._calls:
            self._reserved[environment] -= 1  # somebody else's claim won
        return record

    async def get(self, call_id: str, environment: Environment) -> CallRecord:
        """The call's record as it stands. Raises ``UnknownCall``."""
        live = self._calls.get(CallId(call_id))
        record = live.record if live is not None else await self._store.get(CallId(call_id))
        if record is None or record.environment is not environment:
            raise UnknownCall(call_id)
        return record

    async def hang_up(self, call_id: str, environment: Environment) -> CallRecord:
        """Have the call ended; on one that is over nothing happens. Raises ``UnknownCall``."""
        record = await self.get(call_id, environment)
        if (live := self._calls.get(record.id)) is not None:
            live.end()
        return record

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

    def readiness(self) -> Readiness:
        """Whether a new call would be taken: a trunk is up and a line is free, live when trunks are configured."""
        live = self._realms[Environment.LIVE]
        configured = live.trunks.states()
        realm = live if configured else self._realms[Environment.TEST]
        checks = {f"trunk {name}": state for name, state in realm.trunks.states().items()}
        trunk_up = any(state.startswith("up") for state in realm.trunks.states().values())
        environment = Environment.LIVE if configured else Environment.TEST
        used, limit = self._reserved[environment], realm.pool.max_calls
        checks["lines"] = f"{used} of {limit} in use" + ("" if realm.pool.ready else ", none warm")
        if beats := realm.pool.heartbeats.values():
            late_ms = max(beat.late_p99_ms for beat in beats), max(beat.late_max_ms for beat in beats)
            checks["media clock"] = (
                f"late by {late_ms[0]:.1f} ms (p99), {late_ms[1]:.1f} ms at most, in the last second"
                + ("" if realm.pool.real_time else "; without real-time scheduling")
            )
        checks["engine"] = "shutting down" if self._closing else "running"
        ready = trunk_up and not self._closing and used < limit and (realm.pool.ready or used > 0)
        return Readiness(ready=ready, checks=checks)

    # -- the realms' events --------------------------------------------------------------------------------------------

    def tell(self, event: CallEvent) -> None:
        """An event of a worker for one of the calls; one for a call whose record is final already is dropped."""
        if (call := self._calls.get(event.call_id)) is not None:
            call.tell(event)

    def lost(self, call_id: CallId) -> None:
        """The worker of a call died."""
        if (call := self._calls.get(call_id)) is not None:
            call.lost()

    # -- inside --------------------------------------------------------------------------------------------------------

    async def _accept(
        self, request: CallRequest, environment: Environment, realm: Realm, claim: IdempotencyClaim | None
    ) -> CallRecord:
        await realm.start()
        trunk = realm.trunks.pick(request.from_number)
        if request.agent is not None and realm.agents is None:
            raise TrunkUnavailable(
                "AI calls need ultravox.api_key in trunkline.toml; plain calls work without it.", retry_after_s=60
            )
        now = datetime.now(UTC)
        record = CallRecord(
            id=CallId(str(uuid.uuid4())),
            sip_call_id=SipCallId(f"CA{uuid.uuid4().hex}"),
            environment=environment,
            request=request,
            provider="ultravox" if request.agent is not None else trunk.provider,
            trunk=trunk.account.name,
            status=Status.INITIATED,
            created_at=now,
            ai=AiRecord() if request.agent is not None else None,
        )
        stored = await self._store.add(record, CallChange(call_id=record.id, kind="voice.initiated", at=now), claim)
        if stored.id == record.id:
            self._run(record, realm)
        return stored

    def _run(self, record: CallRecord, realm: Realm) -> None:
        call = Call(
            record,
            lines=realm.pool,
            trunks=realm.trunks,
            agents=realm.agents,
            store=self._store,
            limits=self._limits,
            publish=self._publish,
        )
        self._calls[record.id] = call
        task = asyncio.create_task(self._carry(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, call: Call) -> None:
        try:
            await call.run()
        finally:
            del self._calls[call.record.id]
            self._reserved[call.record.environment] -= 1

    def _publish(self, record: CallRecord) -> None:
        for changes in self._watchers.get(record.id, ()):
            changes.put_nowait(record)
