"""One call's task: what it decides, writes and publishes, in whatever order things happen."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from engine.calls import call as call_module
from engine.calls.call import CallLimits
from engine.calls.ledger import Ledger
from engine.errors import TrunkUnavailable
from engine.messages.commands import HangUp, TrunkAccount
from engine.messages.events import CallEvent, Transcribed
from engine.outcome import CALLEE_HANGUP, Cause
from engine.records import (
    Speaker,
    Status,
    TranscriptTurn,
)
from engine.trunks.trunks import ConfiguredTrunks
from tests.engine.calls.call_rig import (
    FIRST,
    ID,
    FakeLines,
    Rig,
    answered,
    ended,
    progress,
)


async def test_a_plain_call_rings_is_answered_and_ends_by_the_callee() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        for event in (progress(100), progress(180), progress(180), answered(), ended(CALLEE_HANGUP)):
            call.deliver(event)
    rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP)
    assert rig.published == [Status.RINGING, Status.ANSWERED, Status.COMPLETED]
    kinds = [change.kind for change in await rig.store.changes(ID)]
    assert kinds == ["voice.initiated", "voice.ringing", "voice.answered", "voice.completed"]
    assert rig.agents.created == 0


async def test_delete_while_ringing_cancels_and_fails() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        call.deliver(progress(180))
        await asyncio.sleep(0.01)
        call.end()
        call.end()
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
    rig.assert_outcome(Status.FAILED, Cause.CANCELED)


async def test_delete_after_the_answer_hangs_up_and_completes() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        call.deliver(answered())
        await asyncio.sleep(0.01)
        call.end()
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
    rig.assert_outcome(Status.COMPLETED, Cause.CALLER_HANGUP)


async def test_a_dead_worker_ends_its_call_with_its_own_cause() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        call.deliver(answered())
        call.lost(FIRST)
    rig.assert_outcome(Status.COMPLETED, Cause.WORKER_LOST)


async def test_a_worker_that_died_before_it_got_the_dial_is_replaced_by_another() -> None:
    rig = Rig()
    rig.queue.dead_worker = rig.call.lost
    async with rig.dialled() as call:
        assert [ticket.attempt_id for ticket in rig.queue.asked] == [FIRST, FIRST]
        assert [dial.attempt_id for dial in rig.queue.dials()] == [FIRST]
        call.deliver(answered())
        call.deliver(ended(CALLEE_HANGUP))
    assert len(rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP).attempts) == 1


async def test_a_call_that_gets_no_line_fails_and_names_the_limit() -> None:
    rig = Rig(queue=FakeLines(full=True))
    rig.call._limits = CallLimits(ring_timeout_s=1, queue_timeout_s=0.01, default_max_duration_s=1)
    await rig.accept()
    await rig.call.run()
    record = rig.assert_outcome(Status.FAILED, Cause.NO_CAPACITY)
    assert record.outcome is not None
    assert record.outcome.detail == "The call waited 0.01 s (sip.queue_timeout) for sip.max_calls."
    assert rig.queue.withdrawn == [FIRST]


async def test_delete_while_waiting_for_a_line_ends_the_call_at_once() -> None:
    rig = Rig(queue=FakeLines(full=True))
    await rig.accept()
    task = asyncio.create_task(rig.call.run())
    await asyncio.sleep(0)
    rig.call.end()
    async with asyncio.timeout(30):
        await task
    rig.assert_outcome(Status.FAILED, Cause.CANCELED)


@pytest.mark.parametrize(
    ("event", "cause"),
    [(None, Cause.TRUNK_TIMEOUT), (progress(180), Cause.NO_ANSWER), (answered(), Cause.MAX_DURATION)],
    ids=["no response", "ringing", "answered"],
)
async def test_a_limit_that_passes_hangs_up_with_its_own_cause(event: CallEvent | None, cause: Cause) -> None:
    rig = Rig()
    rig.call._limits = CallLimits(ring_timeout_s=0.05, queue_timeout_s=1, default_max_duration_s=0.05)
    async with rig.dialled() as call:
        if event is not None:
            call.deliver(event)
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        call.deliver(ended(hang_up.outcome))
    rig.assert_outcome(Status.COMPLETED if cause is Cause.MAX_DURATION else Status.FAILED, cause)


async def test_a_late_ring_after_the_answer_changes_nothing() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        for event in (answered(), progress(180), ended(CALLEE_HANGUP)):
            call.deliver(event)
    assert rig.published == [Status.ANSWERED, Status.COMPLETED]


async def test_a_line_over_which_nothing_can_be_dialled_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(trunks: ConfiguredTrunks, name: str, slot: int) -> TrunkAccount:
        raise TrunkUnavailable("The trunk is gone.", retry_after_s=1)

    monkeypatch.setattr(ConfiguredTrunks, "account", unavailable)
    rig = Rig()
    await rig.accept()
    await rig.call.run()
    rig.assert_outcome(Status.FAILED, Cause.TRUNK_UNAVAILABLE)
    assert rig.queue.withdrawn == [FIRST]


async def test_a_call_that_is_stuck_past_its_limit_is_ended_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_module, "_OVERDUE_S", 0.02)
    rig = Rig()
    stuck = asyncio.Event()

    async def never(call_ledger: Ledger, turn: TranscriptTurn) -> None:
        stuck.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Ledger, "add_turn", never)
    rig.call._ledger.record = replace(rig.first, request=replace(rig.first.request, max_duration_s=0.02))
    async with rig.dialled() as call:
        call.deliver(answered())
        call.deliver(Transcribed(attempt_id=FIRST, turn=TranscriptTurn(ordinal=1, speaker=Speaker.USER, text="Hm")))
        await stuck.wait()
        call.check()
        assert call.record.status is Status.ANSWERED
        await asyncio.sleep(0.05)
        call.check()
    rig.assert_outcome(Status.COMPLETED, Cause.MAX_DURATION)
    assert isinstance(rig.queue.commands[-1], HangUp)
