"""Turns requests into calls: checks each one, gives it a line, and writes it to the store before it is dialled."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from engine.calls.call import Call, CallLimits
from engine.calls.call_store import CallStore
from engine.calls.capacity import Capacity
from engine.calls.ledger import first_kinds
from engine.calls.live_calls import LiveCalls
from engine.calls.recovery import Recovery
from engine.environments.backend import Backend
from engine.errors import ShuttingDown, StoreUnavailable, TrunkUnavailable
from engine.guard.guard import Clearance, Guard
from engine.records import (
    AiRecord,
    CallChange,
    CallId,
    CallRecord,
    CallRequest,
    Environment,
    IdempotencyClaim,
    SipCallId,
    Status,
)
from engine.trunks.trunks import Trunk

_RETRY_AFTER_S = 2


class Intake:
    """The only entrance for calls. An accepted call goes to ``live`` with its line."""

    def __init__(
        self,
        *,
        backends: Mapping[Environment, Backend],
        store: CallStore,
        limits: CallLimits,
        guard: Guard,
        capacity: Capacity,
        recovery: Recovery,
        live: LiveCalls,
    ) -> None:
        self.closed = False
        self._backends = backends
        self._store = store
        self._limits = limits
        self._guard = guard
        self._capacity = capacity
        self._recovery = recovery
        self._live = live
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Accept no more calls. A request that repeats an earlier claim still gets its answer."""
        self.closed = True

    async def accept(
        self, request: CallRequest, environment: Environment, api_key_id: str, claim: IdempotencyClaim | None
    ) -> CallRecord:
        """Accept a call and start to dial it; returns its first record, committed. Does not wait for the far end.

        When ``claim`` was made before, returns the earlier call, even if the request would be refused now. Raises
        ``NoCapacity``, ``TrunkUnavailable``, ``CallerNotAllowed``, ``GuardRefused``, ``QuotaReached``,
        ``IdempotencyConflict``, ``ShuttingDown``, ``StoreUnavailable``; then nothing is held or counted.
        """
        async with self._turn(claim):
            if claim is not None and (earlier := await self._store.claimed(claim)) is not None:
                return earlier
            with self._clear(request, environment, api_key_id) as clearance, ExitStack() as line:
                if self.closed:
                    raise ShuttingDown(
                        "The engine is shutting down and accepts no more calls.", retry_after_s=_RETRY_AFTER_S
                    )
                line.enter_context(self._capacity.hold(environment))
                route = await self._route(request, environment)
                trunk = self._backends[environment].trunks.get(route[0])
                record = _first_record(request, environment, trunk, api_key_id)
                stored = await self._commit(record, claim)
                if stored.id == record.id:  # otherwise another request made the claim first
                    clearance.keep(record.id)
                    self._live.carry(self._call(record, route), line.pop_all())
            await asyncio.sleep(0)  # so that the call's first step, its INVITE, comes before the answer
            return stored

    def _turn(self, claim: IdempotencyClaim | None) -> AbstractAsyncContextManager[object]:
        """Requests with the same claim run one after the other: only the first may hold a line and be counted."""
        if claim is None:
            return nullcontext()
        return self._turns.setdefault((claim.api_key_id, claim.key), asyncio.Lock())

    def _clear(self, request: CallRequest, environment: Environment, api_key_id: str) -> Clearance:
        """Ask the guard. The sandbox has no guard, because its calls cost nothing."""
        if environment is Environment.TEST:
            return Clearance.of_sandbox()
        limit_s = request.max_duration_s or self._limits.default_max_duration_s
        return self._guard.clear(request, api_key_id, limit_s)

    async def _route(self, request: CallRequest, environment: Environment) -> tuple[str, ...]:
        """The trunks to try, in order. Raises when they or the agent service cannot take the call in time."""
        backend = self._backends[environment]
        await backend.start()
        route = backend.trunks.route(request.from_number)
        if request.agent is not None and backend.agents is None:
            raise TrunkUnavailable(
                "AI calls need ultravox.api_key in trunkline.toml; plain calls work without it.", retry_after_s=60
            )
        backend.dial_queue.check_wait(route, self._limits.queue_timeout_s, new_session=request.agent is not None)
        return route

    async def _commit(self, record: CallRecord, claim: IdempotencyClaim | None) -> CallRecord:
        """Write the record; returns the record of ``claim``: an earlier call's if the claim was made before."""
        changes = [CallChange(call_id=record.id, kind=kind, at=record.created_at) for kind in first_kinds(record)]
        try:
            return await self._store.add(record, claim, *changes)
        except StoreUnavailable:
            self._recovery.doubt(record.id)
            raise

    def _call(self, record: CallRecord, route: tuple[str, ...]) -> Call:
        backend = self._backends[record.environment]
        return Call(
            record,
            route,
            queue=backend.dial_queue,
            trunks=backend.trunks,
            agents=backend.agents,
            store=self._store,
            limits=self._limits,
            publish=self._live.publish,
        )


def _first_record(request: CallRequest, environment: Environment, trunk: Trunk, api_key_id: str) -> CallRecord:
    with_agent = request.agent is not None
    return CallRecord(
        id=CallId(str(uuid.uuid4())),
        sip_call_id=SipCallId(f"CA{uuid.uuid4().hex}"),
        environment=environment,
        request=request,
        provider="ultravox" if with_agent else trunk.provider,
        trunk=trunk.name,
        status=Status.INITIATED,
        created_at=datetime.now(UTC),
        ai=AiRecord() if with_agent else None,
        api_key_id=api_key_id or None,
    )
