"""What a call's record promises: committed before it is published, and durations that no clock bends."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from engine.calls.ledger import Ledger
from engine.errors import StoreUnavailable
from engine.records import CallRecord, Status
from engine.store import MemoryStore
from tests.engine.store.samples import NOON, a_call, a_change
from tests.engine.store.slow import SlowStore


async def a_ledger(store: MemoryStore, published: list[CallRecord]) -> Ledger:
    call = a_call(created_at=NOON)
    await store.add(call, None, a_change(call))
    return Ledger(call, store=store, publish=published.append)


async def test_change_is_neither_shown_nor_published_before_it_is_committed() -> None:
    store, published = SlowStore(), list[CallRecord]()
    store.free.clear()
    ledger = await a_ledger(store, published)
    changing = asyncio.create_task(ledger.change("voice.ringing", data={}, status=Status.RINGING))
    await asyncio.sleep(0)
    assert (ledger.record.status, published) == (Status.INITIATED, [])
    store.free.set()
    await changing
    assert published == [ledger.record]
    assert await store.get(ledger.record.id) == ledger.record
    assert ledger.record.status is Status.RINGING


async def test_times_begin_with_the_call_and_go_on_with_the_loops_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = await a_ledger(MemoryStore(), [])
    began, loop = ledger.now(), asyncio.get_running_loop()
    assert timedelta() <= began - NOON < timedelta(seconds=5)
    now_s = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now_s + 60)
    assert timedelta(seconds=60) <= ledger.now() - began < timedelta(seconds=65)


async def test_failure_that_is_no_outage_is_not_repeated() -> None:
    store, published = MemoryStore(), list[CallRecord]()
    call = a_call()
    ledger = Ledger(call, store=store, publish=published.append)
    with pytest.raises(Exception, match="no call") as failure:  # it was never added
        await ledger.change("voice.ringing", data={}, status=Status.RINGING)
    assert not isinstance(failure.value, StoreUnavailable)
    assert (ledger.record, published, ledger.failing) == (call, [], False)
