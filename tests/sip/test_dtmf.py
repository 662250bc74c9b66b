"""Telephone keys end to end: the callee's reach the agent once a burst, the agent's leave as RTP events or INFO."""

from __future__ import annotations

import json
import sqlite3
from itertools import groupby
from typing import Any

import pytest

from engine.records import CallRecord, CallRequest, Environment, Status
from engine.sandbox.ultravox import Conversation
from tests import audio
from tests.sip.ai_rig import FROM, TO, AiRig, ai_rig, speak
from tests.sip.peers import SippUas, tone
from tests.sip.process import wait_until
from tests.sip.rtp import DIGITS, RtpPacket, RtpTap

pytestmark = pytest.mark.sip

ANSWERS = "uas-answers-and-echoes-rtp"
SAID = "The user pressed these keys on the telephone's keypad: "


class AnswersWithEventType(SippUas):
    """A far end that takes telephone-events under its own payload type."""

    def __init__(self, scenario: str, tap: RtpTap, payload_type: int) -> None:
        super().__init__(scenario, rtp=tap)
        self._payload_type = payload_type

    def _command(self) -> list[str]:
        command = super()._command()
        path = self.directory / "scenario.xml"
        path.write_text(path.read_text(encoding="latin-1").replace("101", str(self._payload_type)), encoding="latin-1")
        return command


def listen(conversation: Conversation) -> list[dict[str, Any]]:
    """The text messages that reach the agent from now on."""
    told: list[dict[str, Any]] = []
    conversation.on_text = lambda text, _: told.append(json.loads(text))
    return told


def digit_rows(rig: AiRig, call: CallRecord) -> list[dict[str, Any]]:
    with sqlite3.connect(f"file:{rig.database}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT data FROM changes WHERE call_id = ? AND kind = 'voice.dtmf'", (call.id,))
        return [json.loads(data) for (data,) in rows]


async def press(rig: AiRig, conversation: Conversation, digits: str) -> str:
    """Have the agent press keys; what it is told of it."""
    invocation_id = conversation.agent.invoke_tool("pressKeys", {"digits": digits})
    await rig.ultravox.until(lambda: invocation_id in conversation.agent.tools.results)
    return str(conversation.agent.tools.results[invocation_id]["result"])


def ahead_of_time(packets: list[RtpPacket]) -> int:
    """By how many samples the sender's timestamps run faster than the clock, at the least."""
    lags = [packet.arrived_s * 8000 - packet.timestamp for packet in packets]
    return round(min(lags[:20]) - min(lags[-20:]))


async def test_one_text_a_burst_one_digit_an_event_whatever_is_lost_of_it() -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            told = listen(conversation)
            tap.play(tone(900))
            await tap.wait_for_packets(1)  # now it knows where to send
            tap.press("1", timestamp=8000)
            tap.press("1", timestamp=16000, lose={5, 6, 7})
            tap.press("1", timestamp=24000, lose={0, 1, 2}, marker=False)
            tap.press("#", timestamp=32000)
            tap.press("D", timestamp=40000, lose={0, 1, 2, 3, 4, 5, 6})
            await rig.ultravox.until(lambda: len(told) == 2)
            assert [message["text"] for message in told] == [f"{SAID}111#", f"{SAID}D"]
            assert {message["urgency"] for message in told} == {"immediate"}
            await rig.hang_up(call)
            record = await rig.ended(call)
            assert digit_rows(rig, call) == [{"by": "callee", "count": 4}, {"by": "callee", "count": 1}]
    assert record.ai is not None
    assert [line.text for line in record.ai.transcript][-2:] == [message["text"] for message in told]


@pytest.mark.parametrize("codec", ["PCMU", "G722"])
async def test_a_key_is_one_key_however_its_timestamps_run(codec: str) -> None:
    scenario = ANSWERS if codec == "PCMU" else "uas-answers-g722-only"
    with RtpTap() as tap:
        async with SippUas(scenario, rtp=tap) as callee, ai_rig(callee.uri, codecs=[codec]) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            told = listen(conversation)
            tap.play(tone(900))
            await tap.wait_for_packets(1)
            for number, digit in enumerate("1122"):
                tap.press(digit, timestamp=8000 + 8000 * number, moves=160)
            for digit in "3344":
                tap.press(digit, timestamp=80_000)
            tap.hold("5", timestamp=160_000, segments=3)
            tap.press("5", timestamp=480_000)
            tap.press("#", timestamp=488_000)
            await rig.ultravox.until(lambda: bool(told))
            await rig.hang_up(call)
            await rig.ended(call)
    assert [message["text"] for message in told] == [f"{SAID}1122334455#"]


async def test_a_key_that_comes_by_event_and_by_info_is_one_key() -> None:
    with RtpTap() as tap:
        async with SippUas("uas-sends-digits-by-info", rtp=tap, hold_ms=1500) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            told = listen(conversation)
            tap.play(tone(900))
            await wait_until(lambda: len(callee.responses("INFO")) == 4, "four digits by INFO")
            for number, digit in enumerate("123#"):
                tap.press(digit, timestamp=8000 + 8000 * number)
            tap.press("D", timestamp=80_000)
            await rig.ultravox.until(lambda: len(told) == 2)
            await rig.hang_up(call)
            await rig.ended(call)
    assert [message["text"] for message in told] == [f"{SAID}123#", f"{SAID}D"]


async def test_info_in_both_formats_is_answered_and_read() -> None:
    async with (
        SippUas("uas-sends-digits-by-info", hold_ms=300) as callee,
        ai_rig(callee.uri) as rig,
    ):
        call = await rig.place()
        told = (await rig.talking(call)).transcript.turns  # the first may be there already
        await rig.ultravox.until(lambda: bool(told))
        await rig.hang_up(call)
        await rig.ended(call)
        assert [turn.text for turn in told] == [f"{SAID}123#"]
        assert [answer.status for answer in callee.responses("INFO")] == [200] * 4
        assert callee.complaints == []


async def test_a_plain_calls_digits_are_counted_in_its_history() -> None:
    async with SippUas("uas-sends-digits-by-info") as callee, ai_rig(callee.uri) as rig:
        call = await rig.engine.place(CallRequest(from_number=FROM, to_number=TO), Environment.LIVE)
        await rig.status(call, Status.ANSWERED)
        await wait_until(lambda: bool(digit_rows(rig, call)), "a row of four digits")
        await rig.hang_up(call)
        await rig.ended(call)
        assert digit_rows(rig, call) == [{"by": "callee", "count": 4}]


@pytest.mark.parametrize(
    ("scenario", "codec", "payload_type"), [(ANSWERS, "PCMU", 97), ("uas-answers-g722-only", "G722", 101)]
)
async def test_pressed_keys_are_events_of_the_negotiated_type_and_rtp_goes_on(
    scenario: str, codec: str, payload_type: int
) -> None:
    keys = "12w#A12*0"
    with RtpTap() as tap:
        async with (
            AnswersWithEventType(scenario, tap, payload_type) as callee,
            ai_rig(callee.uri, codecs=[codec]) as rig,
        ):
            call = await rig.place()
            conversation = await rig.talking(call)
            await tap.wait_for_packets(20)
            assert await press(rig, conversation, keys) == f"Pressed {keys}."
            await tap.wait_for_packets(len(tap.packets()) + 20)
            packets = tap.packets()
            assert digit_rows(rig, call) == [{"by": "agent", "count": 8}]
            await rig.hang_up(call)
            await rig.ended(call)
            assert callee.requests("INVITE")[0].sdp.codecs[101] == "telephone-event"
    events = [packet for packet in packets if len(packet.payload) == 4]
    assert {packet.payload_type for packet in events} == {payload_type}
    presses = [list(press) for _, press in groupby(events, key=lambda packet: packet.timestamp)]
    assert "".join(DIGITS[press[0].event[0]] for press in presses) == keys.replace("w", "")
    for each in presses:
        assert [packet.event[2] for packet in each] == [*range(160, 1281, 160), 1280, 1280]
        assert [packet.event[1] for packet in each] == [False] * 7 + [True] * 3
        assert [packet.marker for packet in each] == [True] + [False] * 9
    sequence = [packet.sequence for packet in packets]
    assert sequence == [(sequence[0] + index) % 65536 for index in range(len(packets))]
    assert ahead_of_time(packets) < 800, "eight keys must not fill the far end's buffer"


async def test_the_agents_words_wait_for_the_keys_and_none_is_lost() -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            invocation_id = conversation.agent.invoke_tool("pressKeys", {"digits": "12"})
            await wait_until(lambda: any(packet.payload_type == 101 for packet in tap.packets()), "the first key")
            speak(conversation, audio.tone(600, 8000, 0.5), "Now.")
            await rig.ultravox.until(lambda: invocation_id in conversation.agent.tools.results)
            await wait_until(lambda: sum(not packet.silent for packet in tap.packets()) >= 25, "half a second of tone")
            await rig.hang_up(call)
            await rig.ended(call)
    kinds = [kind for kind, _ in groupby(tap.packets(), key=lambda it: "key" if it.payload_type == 101 else it.silent)]
    silence_first = kinds[0] is True  # the key may be quicker
    assert kinds[silence_first:][:5] == ["key", True, "key", True, False]


async def test_a_far_end_without_telephone_events_gets_the_keys_by_info() -> None:
    async with SippUas("uas-takes-digits-by-info") as callee, ai_rig(callee.uri) as rig:
        call = await rig.place()
        assert await press(rig, await rig.talking(call), "5#") == "Pressed 5#."
        await callee.wait_for("INFO", count=2)
        await rig.hang_up(call)
        await rig.ended(call)
        assert [info.body.split() for info in callee.requests("INFO")] == [
            ["Signal=5", "Duration=160"],
            ["Signal=#", "Duration=160"],
        ]
        assert callee.complaints == []


async def test_on_a_trunk_set_to_events_alone_the_agent_learns_that_the_far_end_takes_none() -> None:
    async with SippUas("uas-takes-digits-by-info") as callee, ai_rig(callee.uri, dtmf="rfc4733") as rig:
        call = await rig.place()
        assert "could not be pressed" in await press(rig, await rig.talking(call), "5")
        await rig.hang_up(call)
        await rig.ended(call)
        assert callee.requests("INFO") == []
