"""A call with an agent: when its session is made and joined, and what the record says of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.messages.commands import HangUp, JoinAgent
from engine.messages.events import AgentJoined, AgentLeft, CallEvent, Transcribed
from engine.outcome import AGENT_HANGUP, CALLEE_HANGUP, CALLER_HANGUP, Cause
from engine.records import (
    AiStatus,
    Environment,
    Speaker,
    Status,
    TranscriptTurn,
)
from engine.sip.causes import refusal
from engine.webhooks.subscriptions import subscribe
from media.errors import AgentUnreachable
from tests.engine.calls.call_rig import (
    FIRST,
    ID,
    FakeAgents,
    Rig,
    SlowAgents,
    answered,
    ended,
    progress,
    until,
)
from tests.engine.store.slow import SlowStore


async def test_a_refused_call_fails_with_the_far_ends_reason_and_costs_no_agent() -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        call.deliver(ended(refusal(486, "Busy Here", 17)))
    record = rig.assert_outcome(Status.FAILED, Cause.BUSY)
    assert record.outcome is not None and record.outcome.q850 == 17
    assert rig.agents.created == 0


@pytest.mark.parametrize(("first", "least_s", "most_s"), [(progress(180), 20, 30), (answered(), 0, 0)])
async def test_the_agents_session_waits_for_us_as_long_as_the_phone_may_still_ring(
    first: CallEvent, least_s: float, most_s: float
) -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        call.deliver(first)
        await rig.queue.sent(JoinAgent)
        call.deliver(ended(CALLEE_HANGUP))
    assert least_s <= rig.agents.rings_for_s <= most_s


async def test_the_agents_session_is_made_at_the_first_ring_and_only_once() -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        for event in (progress(180), progress(183)):
            call.deliver(event)
        join = await rig.queue.sent(JoinAgent)
        assert isinstance(join, JoinAgent) and join.sample_rate_hz == 8000
        call.deliver(answered())
        call.deliver(AgentJoined(attempt_id=FIRST))
        call.deliver(AgentLeft(attempt_id=FIRST))
        call.deliver(ended(AGENT_HANGUP))
    record = rig.assert_outcome(Status.COMPLETED, Cause.AGENT_HANGUP)
    assert rig.agents.created == 1
    assert record.ai is not None
    assert (record.ai.status, record.ai.end_reason, record.ai.ultravox_call_id) == (AiStatus.ENDED, "hangup", "uv")


async def test_an_answer_without_any_ring_makes_the_agents_session_too() -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        call.deliver(answered())
        await rig.queue.sent(JoinAgent)
        call.deliver(ended(CALLEE_HANGUP))
    assert rig.agents.created == 1


async def test_a_refusing_agent_service_cancels_the_ringing_phone() -> None:
    rig = Rig(ai=True, agents=FakeAgents(error=AgentUnreachable("Ultravox did not answer.")))
    async with rig.dialled() as call:
        call.deliver(progress(180))
        hang_up = await rig.queue.sent(HangUp)
        assert isinstance(hang_up, HangUp)
        assert hang_up.outcome.cause is Cause.AGENT_UNREACHABLE
        call.deliver(ended(hang_up.outcome))
    record = rig.assert_outcome(Status.FAILED, Cause.AGENT_UNREACHABLE)
    assert record.outcome is not None and record.outcome.detail == "Ultravox did not answer."


async def test_a_session_made_after_the_hangup_is_not_joined_and_is_given_back() -> None:
    store, agents = SlowStore(), SlowAgents()
    rig = Rig(ai=True, agents=agents, store=store)
    async with rig.dialled() as call:
        store.free.clear()
        call.deliver(answered())
        await store.asked.wait()
        call.end()
        agents.free.set()
        await until(lambda: agents.created == 1)
        store.free.set()
        call.deliver(ended(CALLER_HANGUP))
    assert not any(isinstance(command, JoinAgent) for command in rig.queue.commands)
    assert (rig.agents.created, rig.agents.given_back) == (1, 1)


async def test_transcript_lines_are_stored_as_they_come_in_order_of_their_ordinals() -> None:
    rig = Rig(ai=True)
    async with rig.dialled() as call:
        call.deliver(answered())
        for ordinal, text in ((1, "Hi"), (0, "Hello"), (1, "Hi there")):
            turn = TranscriptTurn(ordinal=ordinal, speaker=Speaker.USER, text=text)
            call.deliver(Transcribed(attempt_id=FIRST, turn=turn))
        call.deliver(ended(CALLEE_HANGUP))
    ai = rig.call.record.ai
    assert ai is not None
    assert [line.text for line in ai.transcript] == ["Hello", "Hi there"]


async def test_an_ai_calls_last_changes_are_the_agents_end_and_then_its_own_with_the_final_record() -> None:
    rig = Rig(ai=True)
    webhook = subscribe(Environment.LIVE, "https://example.com/", ["voice.*"], datetime.now(UTC))
    await rig.store.add_webhook(webhook)
    async with rig.dialled() as call:
        for event in (progress(180), answered(), ended(CALLEE_HANGUP)):
            call.deliver(event)
    kinds = [change.kind for change in await rig.store.changes(ID)]
    assert kinds[-2:] == ["voice.ai.ended", "voice.completed"]
    assert kinds.count("voice.ai.ended") == 1
    delivered = [delivery.event for delivery in await rig.store.list_deliveries(webhook.id, 9)][::-1]
    assert delivered == [
        "voice.initiated",
        "voice.ai.initiated",
        "voice.ringing",
        "voice.answered",
        "voice.ai.ended",
        "voice.completed",
    ]
