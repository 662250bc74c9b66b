"""What carriers and phones were seen to send that nobody expects: each row is one oddity, and what must come of it.

A group's calls share one engine and run side by side: an oddity of one call must not disturb another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

import pytest

from engine.environments.live import LiveBackend
from engine.outcome import Cause
from engine.records import AgentSettings, CallRecord, CallRequest, Environment, Status
from engine.sandbox.ultravox import Conversation
from tests import audio
from tests.sip import odd_media as media
from tests.sip import odd_signalling as signalling
from tests.sip.ai_rig import AiRig, ai_rig, speak
from tests.sip.odd_carrier import FarCall, OddCarrier
from tests.sip.odd_rows import AGENT_HZ, CALLEE_HZ, Ends, Row
from tests.sip.process import wait_until

pytestmark = pytest.mark.sip

LIVE = Environment.LIVE
_AT_ONCE: Final = 24
_AT_ONCE_WITH_AUDIO: Final = 8
_AT_ONCE_AGAIN: Final = 2
_AGAIN: Final = 1000
_SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "udp": {},
    "tcp": {},
    "follows": {"redirects": "follow"},
    "datagrams": {},
    "wideband": {"codecs": ("G722", "PCMU")},
}


def _number(index: int) -> str:
    return f"+1555123{index:04d}"


class Group:
    """Rows that run together on one engine."""

    def __init__(self, rows: Sequence[Row]) -> None:
        # A trunk that is left alone for its Retry-After must not stop other rows.
        self.rows = [replace(row, trunk=f"alone{at}") if row.trunk == "alone" else row for at, row in enumerate(rows)]
        self._callers = {name: f"+1555765{at:04d}" for at, name in enumerate(dict.fromkeys(self._trunk_names()))}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._audio_slots = asyncio.Semaphore(_AT_ONCE_WITH_AUDIO)

    def _trunk_names(self) -> list[str]:
        return [*_SETTINGS, *(row.trunk for row in self.rows)]

    async def run(self) -> None:
        """Play every row; raises ``AssertionError`` with the rows that failed."""
        numbers = [(at + again, row) for again in (0, _AGAIN) for at, row in enumerate(self.rows)]
        scripts = {_number(at): row.script for at, row in numbers}
        frames = {_number(at): row.frames for at, row in numbers}
        async with OddCarrier(scripts, frames) as carrier, OddCarrier(scripts) as datagrams:
            carriers = {name: datagrams if name == "datagrams" else carrier for name in self._callers}
            async with self._engine(carriers) as rig:
                edge = _edge_pid(rig)
                playing = (self._play(rig, carriers[row.trunk], at, row) for at, row in enumerate(self.rows))
                first = dict(enumerate(await asyncio.gather(*playing)))
                # A machine that is short of time spoils the audio of many calls: what fails is played almost alone.
                # Signalling has no such excuse.
                failed = [at for at, failure in first.items() if failure and self.rows[at].has_audio]
                print(*(f"played again: {first[at]}" for at in failed), sep="\n")
                self._audio_slots = asyncio.Semaphore(_AT_ONCE_AGAIN)
                playing = (self._play(rig, carriers[self.rows[at].trunk], at + _AGAIN, self.rows[at]) for at in failed)
                failures = [failure for at, failure in first.items() if failure and at not in failed]
                failures += [failure for failure in await asyncio.gather(*playing) if failure]
                assert _edge_pid(rig) == edge, "the edge died"
            assert datagrams.connections == 0, "a UDP trunk stays on UDP"
        assert not failures, f"{len(failures)} of {len(self.rows)}:\n" + "\n".join(failures)

    def _engine(self, carriers: Mapping[str, OddCarrier]) -> Any:
        first, *others = (
            {
                "name": name,
                "uri": f"{carriers[name].uri};transport={'tcp' if name == 'tcp' else 'udp'}",
                "username": "trunkline",
                "password": "trunk-secret",
                "codecs": ("PCMU", "PCMA"),
                "callers": (caller,),
                **_SETTINGS.get(name, {}),
            }
            for name, caller in self._callers.items()
        )
        return ai_rig(first["uri"], trunk=first, others=others, max_calls=32, capture_s=3.0)

    async def _play(self, rig: AiRig, carrier: OddCarrier, at: int, row: Row) -> str:
        async with self._audio_slots if row.has_audio else self._slots:
            try:
                await _Play(rig, carrier, row, self._callers[row.trunk], _number(at)).run()
            except Exception as error:  # noqa: BLE001 - every row is to be heard
                text = str(error).splitlines()
                return f"  {row.name}: {type(error).__name__} {text[0] if text else ''}"
        return ""


class _Play:
    """One row's call."""

    def __init__(self, rig: AiRig, carrier: OddCarrier, row: Row, caller: str, number: str) -> None:
        self._rig = rig
        self._carrier = carrier
        self._row = row
        self._caller = caller
        self._number = number

    async def run(self) -> None:
        row = self._row
        with_agent = bool(row.frames or row.speaks or row.keys)
        agent = AgentSettings(system_prompt="Be brief.") if with_agent else None
        request = CallRequest(from_number=self._caller, to_number=self._number, agent=agent)
        call = await self._rig.engine.place(request, LIVE)
        try:
            await self._follow(call, with_agent)
        finally:
            await self._rig.hang_up(call)

    async def _follow(self, call: CallRecord, with_agent: bool) -> None:
        row = self._row
        far = await self._carrier.call(self._number)
        if row.ends is not None:
            await self._carrier.played(self._number)
            _assert_ends(await self._rig.ended(call), row.ends)
            assert far.requests("ACK"), "no ACK"
        else:
            await self._talk(call, far, with_agent)
        if row.check is not None:
            row.check(far)

    async def _talk(self, call: CallRecord, far: FarCall, with_agent: bool) -> None:
        row = self._row
        await self._rig.status(call, Status.ANSWERED)
        await far.wait_for("ACK")
        if with_agent:
            await self._listen(call, far)
        await self._carrier.played(self._number)
        if row.ack_by:
            assert far.transport_of("ACK") == row.ack_by, f"ACK by {far.transport_of('ACK')}"
        await self._rig.hang_up(call)
        record = await self._rig.ended(call)
        await far.wait_for("BYE", count=row.byes)
        assert record.outcome is not None
        assert (record.status, record.outcome.cause) == (Status.COMPLETED, Cause.CALLER_HANGUP), record.outcome

    async def _listen(self, call: CallRecord, far: FarCall) -> None:
        row = self._row
        conversation = await self._conversation(call)
        texts: list[str] = []
        conversation.on_text = lambda text, _: texts.append(text)
        if row.speaks:
            speak(conversation, audio.tone(AGENT_HZ, conversation.settings.output_hz, 3.0))
        await self._carrier.played(self._number)
        if row.frames and row.heard:
            rate_hz = conversation.settings.input_hz
            heard = share_heard(bytes(conversation.audio.captured)[-3 * rate_hz :], rate_hz)
            assert heard >= row.heard, f"the agent hears {heard:.0%}"
        if row.speaks:
            packets = [*far.rtp.packets, *far.other.packets]
            voice = b"".join(one.pcm for one in packets if not one.silent)
            assert len(voice) >= 8000, f"the far end hears {len(voice) / 16000:.1f} s"
            assert audio.hears(voice[-8000:], 8000, AGENT_HZ)
        if row.keys:
            await wait_until(lambda: bool(texts), "keys", within_s=10)
            assert f"keypad: {row.keys}" in texts[0], texts

    async def _conversation(self, call: CallRecord) -> Conversation:
        record = await self._rig.until(call, lambda it: it.ai is not None and it.ai.joined_at is not None)
        conversation = self._rig.simulated(record).conversation
        assert conversation is not None
        await wait_until(lambda: conversation.started, "the agent")
        return conversation


def share_heard(pcm: bytes, rate_hz: int) -> float:
    """The share of pieces of 100 ms in which the callee's tone is heard."""
    size = rate_hz // 5
    pieces = [pcm[at : at + size] for at in range(0, len(pcm) - size + 1, size)]
    return sum(audio.hears(piece, rate_hz, CALLEE_HZ, min_dbfs=-25) for piece in pieces) / max(1, len(pieces))


def _assert_ends(record: CallRecord, ends: Ends) -> None:
    outcome = record.outcome
    assert outcome is not None
    found = (outcome.cause, outcome.sip_code, outcome.by, outcome.q850)
    assert found == (ends.cause, ends.sip, ends.by, ends.q850), outcome
    assert ends.says in f"{outcome.detail} {outcome.hint}", outcome


def _edge_pid(rig: AiRig) -> int:
    child = cast(LiveBackend, rig.engine._backends[LIVE])._edge._child
    assert child is not None
    return child.pid


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param((*signalling.CONTACTS, *signalling.HEADERS), id="contacts and fields"),
        pytest.param((*signalling.REFUSALS, *signalling.OTHERS, *signalling.DIGESTS), id="refusals and challenges"),
        pytest.param((*media.BODIES, *media.EARLY), id="session descriptions"),
        pytest.param((*media.RTP, *media.KEYS), id="RTP and keys"),
        pytest.param((*media.MID_CALL, *media.ENDS), id="mid-call and ends"),
    ],
)
async def test_a_call_survives_what_its_far_end_says(rows: Sequence[Row]) -> None:
    await Group(rows).run()
