"""A call whose store is slow or fails: the phone does not wait, and the record is whole afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from engine.calls import call as call_module
from engine.calls import ledger
from engine.errors import StoreUnavailable
from engine.messages.commands import HangUp, JoinAgent
from engine.messages.events import AgentJoined
from engine.outcome import CALLEE_HANGUP, CALLER_HANGUP, Cause
from engine.records import (
    CallChange,
    CallRecord,
    Status,
)
from engine.store.memory import MemoryStore
from tests.engine.calls.call_rig import (
    FIRST,
    ID,
    Rig,
    answered,
    ended,
    progress,
)
from tests.engine.store.slow import SlowStore


async def test_the_agent_is_joined_while_a_slow_store_still_writes_the_answer() -> None:
    store = SlowStore()
    rig = Rig(ai=True, store=store)
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(answered())
        await rig.queue.sent(JoinAgent)
        assert (call.record.status, rig.published) == (Status.INITIATED, []), "published only when committed"
        store.free.set()
        call.deliver(AgentJoined(attempt_id=FIRST))
        call.deliver(ended(CALLEE_HANGUP))
    kinds = [change.kind for change in await rig.store.changes(ID)]
    assert kinds[2:5] == ["voice.answered", "voice.ai.created", "voice.ai.joined"]


async def test_delete_hangs_up_while_a_slow_store_still_writes_the_answer() -> None:
    store = SlowStore()
    rig = Rig(store=store)
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(answered())
        await store.asked.wait()
        call.end()
        assert isinstance(rig.queue.commands[-1], HangUp)
        store.free.set()
        call.deliver(ended(CALLER_HANGUP))
    rig.assert_outcome(Status.COMPLETED, Cause.CALLER_HANGUP)
    assert rig.published == [Status.ANSWERED, Status.COMPLETED]
    assert sum(isinstance(command, HangUp) for command in rig.queue.commands) == 2, "one to end it, one to leave"


async def test_delete_after_an_answer_that_a_slow_store_kept_waiting_is_the_callers_hangup() -> None:
    store = SlowStore()
    rig = Rig(store=store)
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(progress(180))
        await store.asked.wait()
        call.deliver(answered())
        call.end()
        store.free.set()
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
    assert rig.assert_outcome(Status.COMPLETED, Cause.CALLER_HANGUP).answered_at is not None


class FailingStore(MemoryStore):
    """A store that can be put out of order, and says of each write what it tried."""

    def __init__(self) -> None:
        super().__init__()
        self.failing = False
        self.tried = asyncio.Event()

    async def save(self, call: CallRecord, *changes: CallChange) -> None:
        self.tried.set()
        if self.failing:
            raise StoreUnavailable("database or disk is full")
        await super().save(call, *changes)


async def test_a_change_is_published_only_when_a_failing_store_has_written_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "_STORE_REST_S", 0.01)
    store = FailingStore()
    rig = Rig(store=store)
    async with rig.dialled() as call:
        store.failing = True
        call.deliver(progress(180))
        await store.tried.wait()
        await asyncio.sleep(0.03)
        assert (call.record.status, rig.published) == (Status.INITIATED, [])
        store.failing = False
        for event in (answered(), ended(CALLEE_HANGUP)):
            call.deliver(event)
    rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP)
    assert rig.published == [Status.RINGING, Status.ANSWERED, Status.COMPLETED]


async def test_a_call_is_hung_up_even_while_the_store_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_STORE_REST_S", 0.01)
    store = FailingStore()
    rig = Rig(store=store)
    async with rig.dialled() as call:
        store.failing = True
        call.deliver(answered())
        await store.tried.wait()
        await asyncio.sleep(0.03)
        call.end()
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
        store.failing = False
    rig.assert_outcome(Status.COMPLETED, Cause.CALLER_HANGUP)


async def test_a_call_past_its_limit_is_hung_up_while_a_write_hangs_and_its_record_is_whole_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_module, "_OVERDUE_S", 0.0)
    store = SlowStore()
    rig = Rig(store=store)
    rig.call._ledger.record = replace(rig.first, request=replace(rig.first.request, max_duration_s=0.02))
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(answered())
        await store.asked.wait()
        await asyncio.sleep(0.05)
        call.check()
        hang_up = rig.queue.commands[-1]
        assert isinstance(hang_up, HangUp)
        call.check()
        assert rig.published == []
        store.free.set()
        call.deliver(ended(hang_up.outcome))
    record = rig.assert_outcome(Status.COMPLETED, Cause.MAX_DURATION)
    assert record.answered_at is not None
    assert rig.published == [Status.ANSWERED, Status.COMPLETED]
