"""One call in a worker: leg and agent begun in order, ended together, reported once."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import SipError
from engine.messages.commands import Dial, JoinAgent
from engine.messages.events import (
    AgentJoined,
    AgentLeft,
    AgentSpoke,
    Answered,
    AttemptEnded,
    DigitsPressed,
    Event,
    InviteSent,
    Progress,
    Transcribed,
)
from engine.outcome import CALLER_HANGUP, Cause, Outcome, Party
from engine.records import AttemptId
from engine.sip.leg_port import LegEnd, LegListener, SipLeg
from engine.worker import agent_leg as agent_leg_module
from engine.worker.call import WorkerCall
from media.errors import AgentUnreachable
from media.ultravox.session import ClearPlayback, SessionEvent, SessionStarted, ToolInvoked, TurnFinal
from media.ultravox.websocket import Closed
from tests.engine.samples import trunk

ID = AttemptId("6f0c")
TRUNK = trunk().account
JOIN = JoinAgent(attempt_id=ID, join_url="ws://127.0.0.1/x", sample_rate_hz=8000)
LOUD = b"\x10\x27" * 160


class FakeStream:
    rate_hz = 8000
    samples = 160
    sends = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.heard = b"\x01\x00" * 160

    def read(self) -> bytes:
        return self.heard

    def write(self, pcm: bytes) -> None:
        self.sent.append(pcm)


class FakeLeg:
    received: int | None = 0

    def __init__(self) -> None:
        self.hang_ups = 0
        self.pressed = ""

    def hang_up(self, code: int = 0) -> None:
        self.hang_ups += 1

    def press(self, digit: str, duration_ms: int) -> None:
        self.pressed += digit


class FakeAgent:
    """An agent's connection; the test speaks for the far end."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.sent: list[dict[str, object]] = []
        self.closed_by_us = False
        self.dropped_frames = 0
        self.backlog_checks = 0
        self.on_audio: Callable[[bytes], None]
        self.on_event: Callable[[SessionEvent], None]
        self.on_closed: Callable[[Closed], None]

    def send_audio(self, pcm: bytes) -> None:
        self.heard.append(pcm)

    def check_backlog(self) -> None:
        self.backlog_checks += 1

    def send_text(self, text: str) -> None:
        self.sent.append(json.loads(text))

    def refuse_tool(self, invocation_id: str) -> None:
        self.sent.append({"refused": invocation_id})

    def close(self) -> None:
        self.closed_by_us = True


class Rig:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, with_agent: bool = True) -> None:
        self.events: list[Event] = []
        self.leg, self.agent, self.stream = FakeLeg(), FakeAgent(), FakeStream()
        self.joins = 0
        self.join_error: AgentUnreachable | None = None
        self.left = False
        monkeypatch.setattr(agent_leg_module, "PendingSession", self.pending)
        dial = Dial(
            attempt_id=ID,
            sip_call_id="CA1",
            trunk=TRUNK,
            from_number="+1",
            to_number="+2",
            with_agent=with_agent,
        )
        self.call = WorkerCall(dial, self.events.append, ssl.create_default_context())

    def pending(self, join_url: str, *, tls: ssl.SSLContext) -> Rig:
        return self

    def leave(self) -> None:
        self.left = True

    async def join(self, **callbacks: Any) -> FakeAgent:
        self.joins += 1
        if self.join_error is not None:
            raise self.join_error
        self.agent.on_audio = callbacks["on_audio"]
        self.agent.on_event = callbacks["on_event"]
        self.agent.on_closed = callbacks["on_closed"]
        return self.agent

    def dial(self) -> None:
        def dialler(dial: Dial, listener: LegListener) -> SipLeg:
            return self.leg

        self.call.dial(dialler)

    def answer(self) -> None:
        self.call.on_media(self.stream)
        self.call.on_answered("PCMU")

    async def talk(self) -> None:
        """Dialled, joined and answered."""
        self.dial()
        self.call.join(JOIN)
        self.answer()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.call.audio.play()
            self.call.audio.capture()

    def kinds(self) -> list[type]:
        return [type(event) for event in self.events]

    def outcome(self) -> Outcome:
        ends = [event for event in self.events if isinstance(event, AttemptEnded)]
        assert len(ends) == 1 and self.events[-1] is ends[0], "reported once, and last"
        return ends[0].outcome


def ended(*, code: int = 0, by_remote: bool = True, confirmed: bool = True) -> LegEnd:
    return LegEnd(sip_code=code, sip_reason="", q850=None, by_remote=by_remote, confirmed=confirmed, rtp={})


async def test_the_agent_is_joined_after_the_answer_and_hears_nothing_of_early_media(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    rig.dial()
    rig.call.join(JOIN)
    rig.call.on_progress(183, "Session Progress")
    rig.call.on_media(rig.stream)
    rig.tick(10)
    await asyncio.sleep(0)
    assert rig.joins == 0
    assert rig.stream.sent == [bytes(320)] * 10, "silence keeps the path open"
    rig.call.on_answered("PCMU")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert rig.joins == 1
    assert rig.agent.heard == []
    assert rig.kinds() == [InviteSent, Progress, Answered, AgentJoined]


async def test_what_the_callee_says_while_the_socket_opens_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.dial()
    rig.answer()
    rig.tick(3)
    rig.call.join(JOIN)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rig.tick()
    assert len(rig.agent.heard) == 4


async def test_audio_flows_both_ways_every_tick_and_the_first_word_is_reported_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    rig.agent.on_audio(LOUD * 2)
    rig.tick(3)
    assert rig.stream.sent == [LOUD, LOUD, bytes(320)]
    assert rig.agent.heard == [rig.stream.heard] * 3
    assert rig.kinds().count(AgentSpoke) == 1


async def test_barge_in_makes_the_next_frame_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    rig.agent.on_audio(LOUD * 1500)
    rig.tick()
    rig.agent.on_event(ClearPlayback())
    rig.tick()
    rig.agent.on_audio(LOUD)
    rig.tick()
    assert rig.stream.sent == [LOUD, bytes(320), LOUD]


async def test_the_agents_audio_waits_while_its_keys_are_pressed(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    rig.agent.on_event(SessionStarted(call_id="uv"))
    rig.agent.on_event(ToolInvoked(name="pressKeys", invocation_id="i", parameters={"digits": "5"}))
    await asyncio.sleep(0)
    rig.agent.on_audio(LOUD)
    rig.tick(3)
    assert (rig.leg.pressed, rig.stream.sent) == ("5", [bytes(320)] * 3)
    async with asyncio.timeout(30):
        while not rig.agent.sent:
            await asyncio.sleep(0.01)
    rig.tick(2)
    assert rig.stream.sent[3:] == [LOUD, bytes(320)]
    assert [event for event in rig.events if isinstance(event, DigitsPressed)] == [
        DigitsPressed(attempt_id=ID, count=1, by_callee=False)
    ]


async def test_keys_before_the_answer_and_after_our_hang_up_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, with_agent=False)
    rig.dial()
    rig.call.on_media(rig.stream)
    rig.call.on_digit("#")
    rig.answer()
    rig.call.hang_up(CALLER_HANGUP)
    rig.call.on_digit("#")
    rig.call.on_ended(ended())
    assert DigitsPressed not in rig.kinds()


async def test_any_other_client_tool_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    rig.agent.on_event(ToolInvoked(name="transferCall", invocation_id="i", parameters={}))
    assert rig.agent.sent == [{"refused": "i"}]


async def test_the_agents_farewell_is_played_out_before_the_hang_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    rig.agent.on_audio(LOUD * 50)
    rig.agent.on_closed(Closed(code=1000, reason="", by_us=False))
    rig.tick(50)
    assert rig.leg.hang_ups == 0
    rig.tick(20)
    assert rig.leg.hang_ups == 1
    assert rig.stream.sent[:50] == [LOUD] * 50
    rig.call.on_ended(ended(by_remote=False))
    assert rig.outcome().cause is Cause.AGENT_HANGUP
    assert AgentLeft in rig.kinds()


async def test_a_lost_websocket_hangs_up_at_once_with_its_own_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    rig.agent.on_audio(LOUD * 50)
    rig.agent.on_closed(Closed(code=1006, reason="", by_us=False))
    assert rig.leg.hang_ups == 1
    rig.call.on_ended(ended(by_remote=False))
    assert rig.outcome().cause is Cause.AGENT_LOST


async def test_the_callees_hang_up_closes_the_agent_and_the_end_is_reported_when_both_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    rig.call.on_ended(ended())
    assert rig.agent.closed_by_us
    assert AttemptEnded not in rig.kinds()
    rig.agent.on_event(TurnFinal(ordinal=0, role="agent", text="Good", truncated=True))
    rig.agent.on_closed(Closed(code=1000, reason="", by_us=True))
    assert rig.kinds()[-3:] == [Transcribed, AgentLeft, AttemptEnded]
    assert rig.outcome().cause is Cause.CALLEE_HANGUP


async def test_an_agent_that_cannot_be_reached_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.join_error = AgentUnreachable("Ultravox did not answer.")
    await rig.talk()
    assert rig.leg.hang_ups == 1
    rig.call.on_ended(ended(by_remote=False))
    assert rig.outcome().cause is Cause.AGENT_UNREACHABLE
    assert rig.outcome().detail == "Ultravox did not answer."


@pytest.mark.parametrize("answered", [True, False])
async def test_a_call_that_ends_while_the_agent_is_being_joined_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    rig = Rig(monkeypatch)
    rig.dial()
    rig.call.join(JOIN)
    if answered:
        rig.answer()
    rig.call.on_ended(ended(confirmed=answered))
    await asyncio.sleep(0)
    assert rig.kinds()[-1] is AttemptEnded
    assert AgentJoined not in rig.kinds()
    assert rig.left


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (ended(code=487, confirmed=False), Cause.CALLER_HANGUP),
        (ended(code=486, confirmed=False), Cause.BUSY),
        (ended(code=408, by_remote=False, confirmed=False), Cause.CALLER_HANGUP),
        (ended(by_remote=False), Cause.CALLER_HANGUP),
    ],
    ids=["487 to our CANCEL", "486 crossed our CANCEL", "nobody answered our CANCEL", "200 crossed our CANCEL"],
)
async def test_our_hang_up_stands_unless_the_far_end_was_first(
    monkeypatch: pytest.MonkeyPatch, end: LegEnd, cause: Cause
) -> None:
    rig = Rig(monkeypatch, with_agent=False)
    rig.dial()
    rig.call.hang_up(CALLER_HANGUP)
    rig.call.hang_up(CALLER_HANGUP)
    assert rig.leg.hang_ups == 1
    rig.call.on_ended(end)
    assert rig.outcome().cause is cause


async def test_a_leg_that_ends_by_nobodys_message_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, with_agent=False)
    rig.dial()
    rig.answer()
    rig.call.on_ended(ended(by_remote=False))
    assert rig.outcome().cause is Cause.CALL_FAILED


async def test_an_invite_that_pjsip_refuses_ends_the_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)

    def dialler(dial: Dial, listener: LegListener) -> SipLeg:
        raise SipError("no transport")

    rig.call.dial(dialler)
    assert rig.outcome().cause is Cause.ENGINE_ERROR
    assert "no transport" in rig.outcome().detail


async def test_a_farewell_on_hold_does_not_keep_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    rig.call.on_media(None)
    rig.agent.on_audio(LOUD * 50)
    rig.agent.on_closed(Closed(code=1000, reason="", by_us=False))
    rig.tick()
    assert rig.leg.hang_ups == 1


async def test_a_hang_up_before_the_invite_left_frees_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.call.hang_up(CALLER_HANGUP)
    assert rig.outcome().cause is Cause.CALLER_HANGUP
    assert rig.leg.hang_ups == 0


async def test_an_end_that_pjsip_reports_before_it_returns_the_leg_stays_the_last_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch, with_agent=False)

    def dialler(dial: Dial, listener: LegListener) -> SipLeg:
        listener.on_ended(ended(code=503, by_remote=False, confirmed=False))
        return rig.leg

    rig.call.dial(dialler)
    assert rig.kinds() == [AttemptEnded]
    assert rig.outcome().cause is Cause.TRUNK_UNAVAILABLE


async def test_the_reason_header_of_the_callees_bye_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, with_agent=False)
    rig.dial()
    rig.answer()
    rig.call.on_ended(LegEnd(sip_code=0, sip_reason="", q850=16, by_remote=True, confirmed=True, rtp={}))
    assert (rig.outcome().cause, rig.outcome().q850) == (Cause.CALLEE_HANGUP, 16)


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (408, Cause.SESSION_EXPIRED),
        (481, Cause.SESSION_EXPIRED),
        (488, Cause.NOT_ACCEPTABLE),
        (415, Cause.NOT_ACCEPTABLE),
        (0, Cause.CALL_FAILED),
    ],
)
async def test_a_call_that_the_stack_itself_ended_says_why(
    monkeypatch: pytest.MonkeyPatch, code: int, cause: Cause
) -> None:
    rig = Rig(monkeypatch, with_agent=False)
    rig.dial()
    rig.answer()
    rig.call.on_ended(ended(code=code, by_remote=False))
    assert (rig.outcome().cause, rig.outcome().by, rig.outcome().sip_code) == (cause, Party.TRUNK, None)


async def test_an_agent_that_takes_too_little_is_checked_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.talk()
    for _ in range(2):
        rig.call.watch(30)
    assert rig.agent.backlog_checks == 2


@pytest.mark.parametrize(
    ("received", "ends"),
    [
        ([0, 0, 0, 0], "No audio"),
        ([5, 5, 5, 5], "audio (RTP) stopped"),
        ([0, 1, 2, 3], ""),
        ([5, 5, None, 5], ""),  # held and taken back: the time starts again
    ],
)
async def test_a_far_end_that_sends_nothing_is_hung_up_on_unless_it_holds(
    monkeypatch: pytest.MonkeyPatch, received: list[int | None], ends: str
) -> None:
    rig = Rig(monkeypatch, with_agent=False)
    rig.dial()
    rig.call.watch(2)
    rig.answer()
    now_s = rig.call._loop.time()
    for after_s, rig.leg.received in enumerate(received):
        monkeypatch.setattr(rig.call._loop, "time", lambda at_s=now_s + after_s: at_s)
        rig.call.watch(3)
    monkeypatch.undo()
    assert rig.leg.hang_ups == bool(ends)
    if ends:
        rig.call.on_ended(ended(by_remote=False))
        assert rig.outcome().cause is Cause.RTP_TIMEOUT
        assert ends in rig.outcome().detail
