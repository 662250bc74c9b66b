"""A call with two trunks: which failures go to the next trunk, and which end the call."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from engine.calls.call import CallLimits
from engine.messages.commands import Dial, HangUp
from engine.messages.events import AttemptEnded, CallEvent
from engine.outcome import CALLEE_HANGUP, TRUNK_SILENT, Cause, Outcome, engine_error
from engine.records import (
    Status,
)
from engine.sip.causes import refusal
from tests.engine.calls.call_rig import (
    BACKUP,
    BOTH,
    FIRST,
    SECOND,
    TRUNK,
    Rig,
    answered,
    ended,
    progress,
    second,
    until,
)


@pytest.mark.parametrize("before", [(), (progress(100),)], ids=["trying", "proceeding"])
@pytest.mark.parametrize(
    "outcome",
    [refusal(503, ""), refusal(408, ""), refusal(500, "", 38), refusal(0, "ETIMEDOUT", by_remote=False), TRUNK_SILENT],
    ids=["503", "408", "500 with Q.850 38", "transport error", "silence"],
)
async def test_a_trunk_that_failed_is_followed_by_the_next_one(before: tuple[CallEvent, ...], outcome: Outcome) -> None:
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        for event in (*before, ended(outcome)):
            call.deliver(event)
        await until(lambda: len(rig.queue.dials()) == 2)
        for event in (second(progress(180)), second(answered()), second(ended(CALLEE_HANGUP))):
            call.deliver(event)
    record = rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP)
    dials = rig.queue.dials()
    assert [dial.trunk.name for dial in dials] == ["main", "backup"]
    assert [dial.sip_call_id for dial in dials] == ["CA1", "CA1-2"]
    assert [(attempt.trunk, attempt.outcome) for attempt in record.attempts] == [
        ("main", outcome),
        ("backup", CALLEE_HANGUP),
    ]
    assert record.trunk == "backup"
    assert rig.published.count(Status.RINGING) == 1


async def test_a_call_that_fails_over_moves_as_the_table_says(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trunkline.call")
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        for event in (progress(100), ended(refusal(503, ""))):
            call.deliver(event)
        await until(lambda: len(rig.queue.dials()) == 2)
        for event in (second(progress(180)), second(answered()), second(ended(CALLEE_HANGUP))):
            call.deliver(event)
    moves = [record.getMessage() for record in caplog.records if record.getMessage().startswith("= ")]
    assert moves == ["= proceeding", "= trying", "= early", "= confirmed", "= terminated"]


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        ((), refusal(486, "")),
        ((), refusal(404, "")),
        ((), refusal(480, "")),
        ((), refusal(603, "")),
        ((), refusal(503, "", 17)),
        ((), refusal(503, "", 21)),
        ((progress(180),), refusal(503, "")),
        ((progress(183),), refusal(0, "", by_remote=False)),
    ],
    ids=["486", "404", "480", "603", "503 busy", "503 rejected", "503 after 180", "lost after 183"],
)
async def test_what_concerns_the_callee_or_came_after_the_ring_ends_the_call(
    before: tuple[CallEvent, ...], outcome: Outcome
) -> None:
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        for event in (*before, ended(outcome)):
            call.deliver(event)
    record = rig.assert_outcome(Status.FAILED, outcome.cause)
    assert len(rig.queue.dials()) == 1
    assert [attempt.trunk for attempt in record.attempts] == ["main"]
    assert record.outcome == outcome


async def test_when_every_trunk_failed_the_last_ones_cause_stands_with_their_number() -> None:
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        call.deliver(ended(refusal(500, "First")))
        await until(lambda: len(rig.queue.dials()) == 2)
        call.deliver(second(ended(refusal(503, "Second"))))
    record = rig.assert_outcome(Status.FAILED, Cause.TRUNK_UNAVAILABLE)
    assert record.outcome is not None
    assert (record.outcome.sip_code, record.outcome.detail) == (
        503,
        "The trunk cannot take calls now. 2 trunks were tried.",
    )


async def test_a_silent_trunk_is_given_up_and_what_it_says_later_changes_nothing() -> None:
    rig = Rig(trunks=(replace(TRUNK, response_timeout_s=0.01), BACKUP))
    async with rig.dialled() as call:
        await until(lambda: len(rig.queue.dials()) == 2)
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        assert (hang_up.attempt_id, hang_up.outcome) == (FIRST, TRUNK_SILENT)
        call.deliver(answered())
        call.deliver(ended(CALLEE_HANGUP))
        call.lost(FIRST)
        call.deliver(second(ended(refusal(486, ""))))
    record = rig.assert_outcome(Status.FAILED, Cause.BUSY)
    assert record.answered_at is None
    assert [attempt.outcome and attempt.outcome.cause for attempt in record.attempts] == [
        Cause.TRUNK_TIMEOUT,
        Cause.BUSY,
    ]


async def test_a_100_stops_the_wait_for_a_response() -> None:
    rig = Rig(trunks=(replace(TRUNK, response_timeout_s=0.05), BACKUP))
    async with rig.dialled() as call:
        call.deliver(progress(100))
        await asyncio.sleep(0.1)
        assert len(rig.queue.dials()) == 1
        call.deliver(ended(refusal(486, "")))


async def test_delete_between_two_trunks_dials_no_more() -> None:
    rig = Rig(trunks=BOTH)
    async with rig.dialled() as call:
        rig.queue.full = True
        call.deliver(ended(refusal(503, "")))
        await until(lambda: len(rig.queue.asked) == 2)
        call.end()
    record = rig.assert_outcome(Status.FAILED, Cause.CANCELED)
    assert rig.queue.withdrawn == [SECOND]
    assert len(record.attempts) == 1


async def test_a_call_that_gets_no_line_for_its_next_trunk_keeps_the_first_ones_cause() -> None:
    rig = Rig(trunks=BOTH)
    rig.call._limits = CallLimits(ring_timeout_s=1, queue_timeout_s=0.01, default_max_duration_s=1)
    async with rig.dialled() as call:
        rig.queue.full = True
        call.deliver(ended(refusal(503, "Busy")))
    rig.assert_outcome(Status.FAILED, Cause.TRUNK_UNAVAILABLE)


async def test_only_the_first_attempt_of_an_ai_call_counts_for_the_agent_services_rate() -> None:
    rig = Rig(ai=True, trunks=BOTH)
    async with rig.dialled() as call:
        call.deliver(ended(refusal(503, "")))
        await until(lambda: len(rig.queue.dials()) == 2)
        call.deliver(second(ended(refusal(486, ""))))
    assert [ticket.new_session for ticket in rig.queue.asked] == [True, False]


def unsent() -> AttemptEnded:
    return AttemptEnded(attempt_id=FIRST, outcome=engine_error("No socket."), media={}, unsent=True)


async def test_an_invite_that_a_worker_cannot_send_is_sent_by_another_through_the_same_trunk() -> None:
    rig = Rig()
    async with rig.dialled() as call:
        call.deliver(unsent())
        await until(lambda: len(rig.queue.dials()) == 2)
        assert [dial.trunk.name for dial in rig.queue.dials()] == ["main", "main"]
        call.deliver(answered())
        call.deliver(ended(CALLEE_HANGUP))
    assert len(rig.assert_outcome(Status.COMPLETED, Cause.CALLEE_HANGUP).attempts) == 1


async def test_a_call_that_no_worker_can_send_ends_with_the_workers_reason() -> None:
    rig, sent = Rig(), list[Dial]()
    async with rig.dialled() as call:
        for _ in range(4):
            await until(lambda: len(rig.queue.dials()) > len(sent))
            sent.append(rig.queue.dials()[-1])
            call.deliver(unsent())
    rig.assert_outcome(Status.FAILED, Cause.ENGINE_ERROR)
