"""An engine with fake worker pools, for the tests of the façade and of the intake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

from engine.agent_service import AgentService
from engine.calls.call import CallLimits
from engine.calls.dial_queue import DialQueue
from engine.calls.pacer import Pacer
from engine.config.guard import GuardConfig
from engine.engine import Engine
from engine.environments.backend import Backend
from engine.guard.guard import Guard
from engine.messages.commands import Command, Dial, HangUp
from engine.messages.events import AttemptEnded, Heartbeat
from engine.processes.pool import WorkerPool
from engine.records import (
    AttemptId,
    CallRecord,
    Environment,
)
from engine.store.memory import MemoryStore
from engine.trunks.trunks import ConfiguredTrunks, Trunk
from engine.webhooks.registry import WebhookRegistry
from tests.engine.samples import request, trunk

REQUEST = request()
TRUNK = trunk()


class FakePool:
    """Lines for everybody; a call that is hung up is over at once."""

    def __init__(self, max_calls: int = 2) -> None:
        self.max_calls = max_calls
        self.ready = self.real_time = True
        self.heartbeats = {4711: Heartbeat(calls=frozenset(), dials=0, late_p99_ms=1.26, late_max_ms=3.0)}
        self.dialled: list[AttemptId] = []
        self.engine: Engine | None = None
        self.swept = 0

    def watch(self, *, on_room: Callable[[], None], on_free: Callable[[AttemptId], None]) -> None: ...

    def lease(self, attempt_id: AttemptId) -> int | None:
        return 0

    def carries(self, attempt_id: AttemptId) -> bool:
        return attempt_id in self.dialled

    def sweep(self) -> None:
        self.swept += 1

    def give_back(self, attempt_id: AttemptId) -> None: ...

    def send(self, attempt_id: AttemptId, command: Command) -> bool:
        assert self.engine is not None
        if isinstance(command, Dial):
            self.dialled.append(attempt_id)
        elif isinstance(command, HangUp):
            self.engine.deliver(AttemptEnded(attempt_id=attempt_id, outcome=command.outcome, media={}))
        return True


class FakeBackend:
    """Nothing to start, nothing to close."""

    def __init__(self, pool: WorkerPool, trunks: ConfiguredTrunks, agents: AgentService | None) -> None:
        self.pool, self.trunks, self.agents = pool, trunks, agents
        self.dial_queue = DialQueue(pool, trunks, Pacer(trunks.limits()))

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class Rig:
    def __init__(
        self,
        *,
        max_calls: int = 2,
        trunks: tuple[Trunk, ...] = (TRUNK,),
        store: MemoryStore | None = None,
        agents: AgentService | None = None,
        **guard: int,
    ) -> None:
        self.store = store or MemoryStore()
        self.pools = {environment: FakePool(max_calls) for environment in Environment}
        backends: Mapping[Environment, Backend] = {
            environment: FakeBackend(cast(WorkerPool, pool), ConfiguredTrunks(trunks), agents)
            for environment, pool in self.pools.items()
        }
        limits = CallLimits(ring_timeout_s=30, queue_timeout_s=1, default_max_duration_s=60)
        webhooks = WebhookRegistry(self.store, allow_private=False)
        self.engine = Engine(
            backends=backends,
            store=self.store,
            keys=self.store,
            webhooks=webhooks,
            limits=limits,
            guard=Guard(GuardConfig.model_validate(guard)),
        )
        for pool in self.pools.values():
            pool.engine = self.engine

    async def place(self) -> CallRecord:
        return await self.engine.place(REQUEST, Environment.LIVE)

    async def final(self, record: CallRecord) -> CallRecord:
        """The call's record once it is final."""
        async with asyncio.timeout(30):
            async for change in self.engine.watch(record.id, Environment.LIVE):
                record = change
        return record
