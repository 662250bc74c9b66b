"""The facade: admission, idempotency, environments, recovery, watching."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from engine.agent_service import AgentService
from engine.calls.call import CallLimits
from engine.calls.dial_queue import DialQueue
from engine.calls.pacer import Pacer
from engine.config.guard import GuardConfig
from engine.engine import Engine
from engine.environments.backend import Backend
from engine.errors import (
    CallIsLive,
    GuardRefused,
    NoCapacity,
    QuotaReached,
    ShuttingDown,
    StoreUnavailable,
    TrunkUnavailable,
    UnknownCall,
)
from engine.guard.guard import Guard
from engine.messages.commands import Command, Dial, HangUp, TrunkAccount
from engine.messages.events import Answered, AttemptEnded, Heartbeat, Progress
from engine.outcome import CALLEE_HANGUP, Cause
from engine.processes.pool import WorkerPool
from engine.records import (
    AgentSettings,
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
    attempt_id_of,
)
from engine.store.memory import MemoryStore
from engine.trunks.trunks import ConfiguredTrunks, Trunk
from engine.webhooks.registry import WebhookRegistry
from engine.webhooks.subscriptions import subscribe

REQUEST = CallRequest(from_number="+14155550100", to_number="+14155550111")
EVERY_CALL = CallFilter(environment=Environment.LIVE)
TRUNK = Trunk(account=TrunkAccount(name="main", uri="sip:carrier.example", codecs=("PCMU",)), provider="sip")


class FakePool:
    """Lines for everybody; a call that is hung up is over at once."""

    def __init__(self, max_calls: int = 2) -> None:
        self.max_calls = max_calls
        self.ready = self.real_time = True
        self.heartbeats = {
            4711: Heartbeat(calls=frozenset(), dials=0, ticks=50, late_p99_ms=1.26, late_max_ms=3.0, cpu_s=0.1)
        }
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
        self.agents = agents
        self.store = store or MemoryStore()
        self.pools = {environment: FakePool(max_calls) for environment in Environment}
        backends: Mapping[Environment, Backend] = {
            environment: self.backend(cast(WorkerPool, pool), ConfiguredTrunks(trunks))
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

    def backend(self, pool: WorkerPool, trunks: ConfiguredTrunks) -> Backend:
        dial_queue = DialQueue(pool, trunks, Pacer(trunks.limits()))
        return Backend(
            pool=pool, dial_queue=dial_queue, trunks=trunks, agents=self.agents, start=self.nothing, close=self.nothing
        )

    @staticmethod
    async def nothing() -> None: ...

    async def place(self) -> CallRecord:
        return await self.engine.place(REQUEST, Environment.LIVE)


async def test_a_placed_call_is_committed_before_it_is_told() -> None:
    rig = Rig()
    record = await rig.place()
    assert record.status is Status.INITIATED
    assert await rig.store.get(record.id) == record
    await rig.engine.close()


async def test_an_ai_call_tells_that_its_agents_side_begins_before_the_phone_rings() -> None:
    rig = Rig(agents=cast(AgentService, object()))  # nothing rings, so it is not asked for anything
    webhook = subscribe(Environment.LIVE, "https://example.com/", ["voice.*"], datetime.now(UTC))
    await rig.store.add_webhook(webhook)
    request = replace(REQUEST, agent=AgentSettings(system_prompt="Be kind."))
    record = await rig.engine.place(request, Environment.LIVE)
    await rig.engine.hang_up(record.id, Environment.LIVE)
    await _final(rig, record)
    told = [delivery.event for delivery in await rig.store.list_deliveries(webhook.id, 9)][::-1]
    assert told == ["voice.initiated", "voice.ai.initiated", "voice.ai.ended", "voice.failed"]
    await rig.engine.close()


async def test_calls_beyond_the_lines_are_refused_and_a_finished_one_makes_room() -> None:
    rig = Rig(max_calls=2)
    first, _ = await rig.place(), await rig.place()
    with pytest.raises(NoCapacity, match=r"All 2 lines \(sip.max_calls\)"):
        await rig.place()
    await rig.engine.hang_up(first.id, Environment.LIVE)
    await _final(rig, first)
    await rig.place()
    await rig.engine.close()


async def test_one_environments_calls_are_unknown_to_the_other() -> None:
    rig = Rig()
    record = await rig.place()
    for ask in (rig.engine.get, rig.engine.hang_up):
        with pytest.raises(UnknownCall):
            await ask(record.id, Environment.TEST)
    await rig.engine.close()


async def test_one_idempotency_key_is_one_call_also_when_two_requests_arrive_together() -> None:
    rig = Rig(max_calls=5)
    claim = IdempotencyClaim(key="k", api_key_id="key", body_digest="d")
    calls = await asyncio.gather(*(rig.engine.place(REQUEST, Environment.LIVE, claim) for _ in range(5)))
    assert len({call.id for call in calls}) == 1
    assert rig.engine.readiness().checks["lines"].startswith("1 of 5")
    await rig.engine.close()


async def test_a_repeated_request_is_answered_even_when_no_line_is_free() -> None:
    rig = Rig(max_calls=1)
    claim = IdempotencyClaim(key="k", api_key_id="key", body_digest="d")
    first = await rig.engine.place(REQUEST, Environment.LIVE, claim)
    again = await rig.engine.place(REQUEST, Environment.LIVE, claim)
    assert again.id == first.id
    await rig.engine.close()


async def test_a_repeated_request_is_answered_even_when_the_caps_are_used_up_and_counts_once() -> None:
    rig = Rig(max_calls=5, key_calls_per_day=2)
    claim = IdempotencyClaim(key="k", api_key_id="key", body_digest="d")

    async def place(claim: IdempotencyClaim | None) -> CallRecord:
        return await rig.engine.place(REQUEST, Environment.LIVE, claim, api_key_id="key")

    calls = await asyncio.gather(*(place(claim) for _ in range(5)))
    await place(None)
    with pytest.raises(QuotaReached, match="guard.key_calls_per_day"):
        await place(None)
    assert {call.id for call in (*calls, await place(claim))} == {calls[0].id}
    await rig.engine.close()


async def test_caps_hold_exactly_when_many_requests_arrive_together() -> None:
    rig = Rig(max_calls=100, key_calls_per_minute=7)
    placing = (rig.engine.place(REQUEST, Environment.LIVE, api_key_id="key") for _ in range(50))
    results = await asyncio.gather(*placing, return_exceptions=True)
    assert sum(isinstance(result, CallRecord) for result in results) == 7
    assert rig.engine.readiness().checks["refused calls"] == "43 by guard.key_calls_per_minute"
    await rig.engine.close()


async def test_a_call_that_has_ended_makes_room_for_one_at_once() -> None:
    rig = Rig(key_concurrent_calls=1)
    record = await rig.place()
    with pytest.raises(QuotaReached):
        await rig.place()
    await rig.engine.hang_up(record.id, Environment.LIVE)
    await _final(rig, record)
    await rig.place()
    await rig.engine.close()


async def test_a_day_of_calls_is_remembered_across_a_restart() -> None:
    rig = Rig(key_calls_per_day=1)
    await rig.engine.place(REQUEST, Environment.LIVE, api_key_id="key")
    await rig.engine.close()
    restarted = Rig(key_calls_per_day=1, store=rig.store)
    await restarted.engine.recover()
    with pytest.raises(QuotaReached):
        await restarted.engine.place(REQUEST, Environment.LIVE, api_key_id="key")
    await restarted.engine.place(REQUEST, Environment.LIVE, api_key_id="other")
    await restarted.engine.close()


async def test_the_sandbox_is_not_guarded_for_nothing_is_spent_there() -> None:
    rig = Rig(key_calls_per_day=1, max_calls=5)
    abroad = replace(REQUEST, to_number="+19005551234")
    for _ in range(2):
        await rig.engine.place(abroad, Environment.TEST, api_key_id="key")
    with pytest.raises(GuardRefused, match="premium-rate"):
        await rig.engine.place(abroad, Environment.LIVE, api_key_id="key")
    await rig.engine.close()


async def test_an_ai_call_without_an_agent_service_says_which_setting_is_missing() -> None:
    rig = Rig()
    request = replace(REQUEST, agent=AgentSettings(system_prompt="Hi"))
    with pytest.raises(TrunkUnavailable, match="ultravox.api_key"):
        await rig.engine.place(request, Environment.LIVE)
    assert rig.engine.readiness().checks["lines"].startswith("0 of")


async def test_hanging_up_twice_does_no_harm() -> None:
    rig = Rig()
    record = await rig.place()
    for _ in range(2):
        await rig.engine.hang_up(record.id, Environment.LIVE)
    await _final(rig, record)
    after = await rig.engine.hang_up(record.id, Environment.LIVE)
    assert after.outcome is not None and after.outcome.cause is Cause.CANCELED


async def test_a_watcher_sees_every_status_and_the_watch_ends_with_the_call() -> None:
    rig = Rig()
    record = await rig.place()
    seen: list[Status] = []

    async def watch() -> None:
        async for change in rig.engine.watch(record.id, Environment.LIVE):
            seen.append(change.status)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    for event in (
        Progress(attempt_id=attempt_id_of(record.id, 1), code=180, reason=""),
        Answered(attempt_id=attempt_id_of(record.id, 1), codec="PCMU", codec_rate_hz=8000),
        AttemptEnded(attempt_id=attempt_id_of(record.id, 1), outcome=CALLEE_HANGUP, media={}),
    ):
        rig.engine.deliver(event)
    async with asyncio.timeout(30):
        await watching
    assert seen == [Status.INITIATED, Status.RINGING, Status.ANSWERED, Status.COMPLETED]


@pytest.mark.parametrize(
    ("answered_ago_s", "status", "duration_s"),
    [
        (None, Status.FAILED, 0),
        (5, Status.COMPLETED, 5),
        (500, Status.COMPLETED, 60),
        pytest.param(-50, Status.COMPLETED, 0, id="the clock was set back"),
    ],
)
async def test_calls_that_were_live_when_the_process_died_are_made_final(
    answered_ago_s: int | None, status: Status, duration_s: int
) -> None:
    rig = Rig()
    now = datetime.now(UTC)
    answered_at = now - timedelta(seconds=answered_ago_s) if answered_ago_s is not None else None
    record = CallRecord(
        id=CallId("6f0c"),
        sip_call_id=SipCallId("CA1"),
        environment=Environment.LIVE,
        request=REQUEST,
        provider="sip",
        trunk="main",
        status=Status.ANSWERED if answered_at else Status.RINGING,
        created_at=now - timedelta(seconds=600),
        answered_at=answered_at,
    )
    await rig.store.add(record, None, CallChange(call_id=record.id, kind="voice.initiated", at=now))
    assert await rig.engine.recover() == 1
    final = await rig.engine.get(record.id, Environment.LIVE)
    assert final.outcome is not None
    assert final.answered_at is None or (final.ended_at and final.answered_at <= final.ended_at)
    assert (final.status, final.outcome.cause, final.duration_s) == (status, Cause.ENGINE_RESTARTED, duration_s)
    assert await rig.engine.recover() == 0


class CutOffStore(MemoryStore):
    """A store that fails, first after it has written a call, then before."""

    failing = False

    async def add(self, call: CallRecord, claim: IdempotencyClaim | None, *changes: CallChange) -> CallRecord:
        stored = await super().add(call, claim, *changes)
        if self.failing:
            raise StoreUnavailable("disk I/O error")
        return stored

    async def save(self, call: CallRecord, *changes: CallChange) -> None:
        if self.failing:
            raise StoreUnavailable("disk I/O error")
        await super().save(call, *changes)


async def test_a_call_refused_by_a_failing_store_that_had_kept_it_is_made_final_without_a_restart() -> None:
    store = CutOffStore()
    rig = Rig(store=store)
    live = await rig.place()
    store.failing = True
    with pytest.raises(StoreUnavailable):
        await rig.place()
    rig.engine.sweep()
    await asyncio.sleep(0)
    assert len(await store.live()) == 2
    store.failing = False
    async with asyncio.timeout(30):
        while len(await store.live()) > 1:
            rig.engine.sweep()
            await asyncio.sleep(0)
    [refused] = [call for call in await store.find(EVERY_CALL, 10) if call.id != live.id]
    assert refused.outcome is not None
    assert (refused.status, refused.outcome.cause) == (Status.FAILED, Cause.ENGINE_ERROR)
    assert rig.pools[Environment.LIVE].dialled == [attempt_id_of(live.id, 1)]
    await rig.engine.close()


async def test_a_closing_engine_takes_no_calls_and_ends_those_it_has() -> None:
    rig = Rig()
    record = await rig.place()
    await rig.engine.close()
    with pytest.raises(ShuttingDown):
        await rig.place()
    final = await rig.engine.get(record.id, Environment.LIVE)
    assert final.outcome is not None and final.outcome.cause is Cause.ENGINE_SHUTDOWN


async def test_the_transcript_of_a_live_call_is_not_deleted() -> None:
    rig = Rig()
    record = await rig.place()
    with pytest.raises(CallIsLive):
        await rig.engine.erase_transcript(record.id, Environment.LIVE)
    await rig.engine.hang_up(record.id, Environment.LIVE)
    await _final(rig, record)
    await rig.engine.erase_transcript(record.id, Environment.LIVE)
    await rig.engine.close()


async def test_an_engine_whose_store_cannot_be_written_is_not_ready_and_says_why() -> None:
    rig = Rig()
    assert rig.engine.readiness().ready
    rig.store.writable = False
    readiness = rig.engine.readiness()
    assert not readiness.ready
    assert "disk full" in readiness.checks["store"]


async def test_a_sweep_ends_a_call_whose_line_is_gone_and_looks_after_the_workers() -> None:
    rig = Rig()
    kept, orphan = await rig.place(), await rig.place()
    async with asyncio.timeout(30):
        while len(rig.pools[Environment.LIVE].dialled) < 2:
            await asyncio.sleep(0)
    rig.engine.sweep()
    rig.pools[Environment.LIVE].dialled.remove(attempt_id_of(orphan.id, 1))
    rig.engine.sweep()
    final = await _final(rig, orphan)
    assert final.outcome is not None and final.outcome.cause is Cause.WORKER_LOST
    assert not (await rig.engine.get(kept.id, Environment.LIVE)).status.final
    assert [pool.swept for pool in rig.pools.values()] == [2, 2]
    await rig.engine.close()


async def test_a_draining_engine_takes_no_calls_and_waits_for_those_it_has() -> None:
    rig = Rig()
    record = await rig.place()
    draining = asyncio.create_task(rig.engine.drain(60))
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDown):
        await rig.place()
    readiness = rig.engine.readiness()
    assert (readiness.ready, readiness.checks["engine"]) == (False, "shutting down")
    assert not (await rig.engine.get(record.id, Environment.LIVE)).status.final
    await rig.engine.hang_up(record.id, Environment.LIVE)
    async with asyncio.timeout(30):
        await draining
    assert (await rig.engine.get(record.id, Environment.LIVE)).status.final
    await rig.engine.close()


async def test_a_drain_ends_at_its_time_out_with_the_calls_still_live() -> None:
    rig = Rig()
    record = await rig.place()
    await rig.engine.drain(0.01)
    assert not (await rig.engine.get(record.id, Environment.LIVE)).status.final
    await rig.engine.close()


async def test_a_call_that_is_being_accepted_when_the_engine_closes_is_ended_too() -> None:
    rig = Rig()
    placing = asyncio.create_task(rig.place())
    add, committed = rig.store.add, asyncio.Event()

    async def slow_add(*args: Any) -> CallRecord:
        await committed.wait()
        return await add(*args)

    rig.store.add = slow_add  # type: ignore[assignment, method-assign]
    await asyncio.sleep(0)
    closing = asyncio.create_task(rig.engine.close())
    await asyncio.sleep(0)
    committed.set()
    record = await placing
    await closing
    final = await rig.engine.get(record.id, Environment.LIVE)
    assert final.outcome is not None and final.outcome.cause is Cause.ENGINE_SHUTDOWN


@pytest.mark.parametrize(
    ("trunks", "warm", "ready"), [((TRUNK,), True, True), ((TRUNK,), False, False), ((), True, False)]
)
async def test_readiness_is_whether_a_call_would_be_taken(trunks: tuple[Trunk, ...], warm: bool, ready: bool) -> None:
    rig = Rig(trunks=trunks)
    for pool in rig.pools.values():
        pool.ready = warm
    readiness = rig.engine.readiness()
    assert readiness.ready is ready
    assert readiness.checks["media clock"] == "late by 1.3 ms (p99), 3.0 ms at most, in the last second"


async def _final(rig: Rig, record: CallRecord) -> CallRecord:
    async with asyncio.timeout(30):
        async for change in rig.engine.watch(record.id, Environment.LIVE):
            record = change
    return record
