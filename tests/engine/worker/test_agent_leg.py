"""The agent's side of a call in a worker: prepared early, opened once, and nothing left open afterwards."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from engine.messages.commands import Dial
from engine.messages.events import AgentJoined, AgentLeft, Event
from engine.outcome import AGENT_LOST, Cause, Outcome
from engine.records import AttemptId
from engine.worker import agent_leg as agent_leg_module
from engine.worker.agent_leg import AgentLeg
from engine.worker.audio_path import AudioPath
from engine.worker.keypad import Keypad
from media.errors import AgentUnreachable
from media.ultravox.session import ToolInvoked
from media.ultravox.websocket import Closed
from tests.engine.samples import trunk

TRUNK = trunk().account


class Service:
    """The far end of one session, and the way to it."""

    dropped_frames = 0

    def __init__(self) -> None:
        self.url_error: AgentUnreachable | None = None
        self.join_error: AgentUnreachable | None = None
        self.opens = asyncio.Event()
        self.opens.set()
        self.joined = self.left = self.closed = 0
        self.refused: list[str] = []
        self.on_closed: Callable[[Closed], None]
        self.on_event: Callable[[Any], None]

    def pending(self, join_url: str, *, tls: ssl.SSLContext) -> Service:
        if self.url_error is not None:
            raise self.url_error
        return self

    async def join(self, **callbacks: Any) -> Service:
        await self.opens.wait()
        if self.join_error is not None:
            raise self.join_error
        self.joined += 1
        self.on_closed, self.on_event = callbacks["on_closed"], callbacks["on_event"]
        return self

    def leave(self) -> None:
        self.left += 1

    def close(self) -> None:
        self.closed += 1

    def refuse_tool(self, invocation_id: str) -> None:
        self.refused.append(invocation_id)


class Rig:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, with_agent: bool = True) -> None:
        self.service = Service()
        monkeypatch.setattr(agent_leg_module, "PendingSession", self.service.pending)
        self.events: list[Event] = []
        self.ends: list[Outcome | None] = []
        audio = AudioPath(on_first_word=lambda: None, on_played_out=lambda: None)
        self.leg = AgentLeg(
            Dial(
                attempt_id=AttemptId("6f0c"),
                sip_call_id="CA1",
                trunk=TRUNK,
                from_number="+1",
                to_number="+2",
                with_agent=with_agent,
            ),
            self.events.append,
            audio=audio,
            keypad=Keypad(on_burst=lambda count, by_callee: None, voice=audio, with_agent=with_agent),
            tls=ssl.create_default_context(),
            sip_leg=lambda: None,
            on_over=self.ends.append,
        )

    def gone(self) -> bool:
        return self.leg.gone

    async def open(self) -> None:
        self.leg.prepare("ws://127.0.0.1/x", 8000)
        self.leg.open()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_plain_calls_agent_is_gone_from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, with_agent=False)
    rig.leg.open()
    rig.leg.close()
    assert rig.gone()
    assert (rig.events, rig.ends) == ([], [])


async def test_a_session_that_is_only_prepared_is_left_and_cannot_be_opened_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    rig.leg.prepare("ws://127.0.0.1/x", 8000)
    assert not rig.gone()
    rig.leg.close()
    rig.leg.close()
    rig.leg.open()  # a 200 that crossed our CANCEL
    await asyncio.sleep(0)
    assert rig.gone()
    assert (rig.service.left, rig.service.joined) == (1, 0)


async def test_a_session_that_is_being_opened_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.service.opens.clear()
    await rig.open()
    rig.leg.close()
    rig.service.opens.set()
    await asyncio.sleep(0)
    assert rig.gone()
    assert (rig.service.left, rig.service.joined, rig.events, rig.ends) == (1, 0, [], [])


async def test_an_open_session_is_gone_only_when_its_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.open()
    rig.leg.close()
    assert rig.service.closed == 1
    assert not rig.gone()
    rig.service.on_closed(Closed(code=1000, reason="", by_us=True))
    assert rig.gone()
    assert [type(event) for event in rig.events] == [AgentJoined, AgentLeft]
    assert rig.service.left == 0


@pytest.mark.parametrize(("code", "failure"), [(1000, None), (1006, AGENT_LOST), (1008, AGENT_LOST)])
async def test_a_closed_connection_is_over_in_good_order_or_lost(
    monkeypatch: pytest.MonkeyPatch, code: int, failure: Outcome | None
) -> None:
    rig = Rig(monkeypatch)
    await rig.open()
    rig.service.on_closed(Closed(code=code, reason="", by_us=False))
    assert rig.ends == [failure]


@pytest.mark.parametrize("stage", ["url_error", "join_error"])
async def test_a_session_that_cannot_be_had_is_over_once_with_the_services_words(
    monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    rig = Rig(monkeypatch)
    setattr(rig.service, stage, AgentUnreachable("Ultravox did not answer."))
    await rig.open()
    (failure,) = rig.ends
    assert failure is not None
    assert (failure.cause, failure.detail) == (Cause.AGENT_UNREACHABLE, "Ultravox did not answer.")
    rig.leg.close()
    assert rig.gone()
    assert rig.events == []


async def test_keys_are_refused_when_the_sip_leg_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    await rig.open()
    rig.service.on_event(ToolInvoked(name="pressKeys", invocation_id="i", parameters={"digits": "5"}))
    assert rig.service.refused == ["i"]


async def test_a_session_that_we_close_for_a_broken_rule_is_lost_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(monkeypatch)
    await rig.open()
    rig.service.on_closed(Closed(code=1008, reason="sent more than 10000 turns", by_us=True))
    assert rig.ends == [AGENT_LOST]
    (record,) = caplog.records
    assert vars(record)["reason"] == "sent more than 10000 turns"
