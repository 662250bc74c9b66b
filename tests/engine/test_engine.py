"""The façade: environments, recovery, watching, draining, readiness."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from engine.errors import (
    CallIsLive,
    QuotaReached,
    ShuttingDown,
    StoreUnavailable,
    UnknownCall,
)
from engine.messages.events import Answered, AttemptEnded, Progress
from engine.outcome import CALLEE_HANGUP, Cause
from engine.records import (
    CallChange,
    CallFilter,
    CallRecord,
    Environment,
    IdempotencyClaim,
    Status,
    attempt_id_of,
)
from engine.store.memory import MemoryStore
from engine.trunks.trunks import Trunk
from tests.engine.engine_rig import REQUEST, TRUNK, Rig
from tests.engine.samples import call_record

EVERY_CALL = CallFilter(environment=Environment.LIVE)


async def test_one_environments_calls_are_unknown_to_the_other() -> None:
    rig = Rig()
    record = await rig.place()
    for ask in (rig.engine.get, rig.engine.hang_up):
        with pytest.raises(UnknownCall):
            await ask(record.id, Environment.TEST)
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


async def test_hanging_up_twice_does_no_harm() -> None:
    rig = Rig()
    record = await rig.place()
    for _ in range(2):
        await rig.engine.hang_up(record.id, Environment.LIVE)
    await rig.final(record)
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
    record = call_record(
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
    await rig.final(record)
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
    final = await rig.final(orphan)
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
