"""The calls that are live: carried to their end with their line, reached by their events, watched by their clients."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from engine.calls.live_calls import LiveCalls
from engine.messages.commands import Dial
from engine.outcome import CALLEE_HANGUP, ENGINE_SHUTDOWN, Cause
from engine.records import AttemptId, CallRecord, Environment, Status
from tests.engine.calls.call_rig import FIRST, ID, Rig, answered, ended, until


class LiveRig:
    """One call among the live ones, and its line."""

    def __init__(self) -> None:
        self.over: list[CallRecord] = []
        self.live = LiveCalls(self.over.append)
        self.line_held = False
        self.one = Rig()
        self.one.call._ledger._publish = self.live.publish

    @contextmanager
    def line(self) -> Iterator[None]:
        self.line_held = True
        try:
            yield
        finally:
            assert self.over, "the line is given back after everything else"
            self.line_held = False

    async def carry(self) -> None:
        await self.one.accept()
        self.live.carry(self.one.call, self.line())
        await asyncio.sleep(0)

    async def until_over(self) -> CallRecord:
        await until(lambda: not self.line_held)
        assert self.live.get(ID) is None
        (record,) = self.over
        return record


async def test_a_call_is_live_with_its_line_until_it_is_over_and_reported_once() -> None:
    rig = LiveRig()
    await rig.carry()
    assert (rig.live.get(ID), len(rig.live), rig.line_held) == (rig.one.call, 1, True)
    rig.live.deliver(answered())
    rig.live.deliver(ended(CALLEE_HANGUP))
    assert (await rig.until_over()).status is Status.COMPLETED
    rig.live.deliver(ended(CALLEE_HANGUP))  # drops what comes for a call that is over
    rig.live.lost(FIRST)


async def test_a_watcher_gets_each_record_that_is_published_until_it_stops() -> None:
    rig = LiveRig()
    with rig.live.changes(ID) as changes, rig.live.changes(ID) as others:
        await rig.carry()
        rig.live.deliver(answered())
        assert (await changes.get()).status is Status.ANSWERED
        assert (await others.get()).status is Status.ANSWERED
    rig.live.deliver(ended(CALLEE_HANGUP))
    await rig.until_over()
    assert (changes.empty(), rig.live._watchers) == (True, {})


async def test_all_calls_are_ended_and_one_that_comes_afterwards_too() -> None:
    rig = LiveRig()
    rig.live.end_all(ENGINE_SHUTDOWN)
    rig.one.queue.full = True
    await rig.carry()
    outcome = (await rig.until_over()).outcome
    assert outcome is not None and outcome.cause is Cause.ENGINE_SHUTDOWN


async def test_a_sweep_ends_a_call_whose_line_is_gone() -> None:
    rig = LiveRig()
    lines = {(Environment.LIVE, FIRST)}

    def has_line(environment: Environment, attempt_id: AttemptId) -> bool:
        return (environment, attempt_id) in lines

    await rig.carry()
    await rig.one.queue.sent(Dial)
    rig.live.sweep(has_line)
    await asyncio.sleep(0.01)
    assert not rig.over
    lines.clear()
    rig.live.sweep(has_line)
    outcome = (await rig.until_over()).outcome
    assert outcome is not None and outcome.cause is Cause.WORKER_LOST
