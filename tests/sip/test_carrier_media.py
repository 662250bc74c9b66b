"""RTP as carriers send it: held, moved, forked, from elsewhere, not at all; what both sides hear of it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.outcome import Cause, Party
from engine.records import Status
from tests import audio
from tests.sip.ai_rig import ai_rig, speak
from tests.sip.peers import SippUas, tone
from tests.sip.process import wait_until
from tests.sip.rtp import RtpTap
from tests.sip.trunkline import assert_outcome, trunkline

pytestmark = pytest.mark.sip

AGENT_HZ, CALLEE_HZ = 607, 1013


@contextmanager
def rtcp_of(tap: RtpTap) -> Iterator[socket.socket]:
    """The port above the tap's, where its RTCP arrives (RFC 3550 §11)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtcp:
        rtcp.bind(("127.0.0.1", tap.port + 1))
        rtcp.settimeout(30)
        yield rtcp


@pytest.mark.parametrize(
    ("scenario", "keys"),
    [
        ("uas-holds-and-resumes", {"direction": "sendonly", "address": "127.0.0.1"}),
        ("uas-holds-and-resumes", {"direction": "sendrecv", "address": "0.0.0.0"}),
        ("uas-holds-and-resumes-by-update", {"direction": "inactive"}),
    ],
)
async def test_a_held_callee_is_sent_nothing_and_the_agent_goes_on_hearing(scenario: str, keys: dict[str, str]) -> None:
    method = "UPDATE" if "update" in scenario else "INVITE"
    with RtpTap() as tap:
        tap.play(tone(CALLEE_HZ))
        async with SippUas(scenario, keys=keys, hold_ms=500, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            speak(conversation, audio.tone(AGENT_HZ, conversation.settings.output_hz, 5.0))
            await wait_until(lambda: len(callee.responses(method)) == 2, "hold and resumption")
            resumed_at = len(tap.packets())
            await tap.wait_for_packets(resumed_at + 25)
            await rig.hang_up(call)
            record = await rig.ended(call)
            assert callee.complaints == []
            assert len(rig.ultravox.account.calls) == 1
        assert float(tap.spacing_ms().max()) > 400, "nothing between hold and resumption"
        assert audio.hears(b"".join(packet.pcm for packet in tap.packets()[-20:]), 8000, AGENT_HZ)
        assert conversation.audio.gaps == 0, "the agent's audio goes on"
        assert record.ai and record.ai.joined_at


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
async def test_a_greeting_waits_for_a_callee_that_answers_on_hold(direction: str) -> None:
    with RtpTap() as tap:
        scenario, keys = "uas-answers-on-hold", {"direction": direction}
        async with SippUas(scenario, keys=keys, hold_ms=2500, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            speak(conversation, audio.tone(AGENT_HZ, conversation.settings.output_hz, 1.2))
            await wait_until(lambda: len(callee.responses("INVITE")) > 0, "resumption")
            assert len(tap.packets()) <= 10, "nothing in the 2.5 s before"
            await tap.wait_for_packets(80)
            await rig.hang_up(call)
            await rig.ended(call)
            assert callee.complaints == []
        spoken = [packet for packet in tap.packets() if not packet.silent]
        assert 58 <= len(spoken) <= 62, "1.2 s of greeting"
        assert audio.hears(b"".join(packet.pcm for packet in spoken), 8000, AGENT_HZ)


async def test_a_callee_that_moves_to_another_codec_and_port_is_followed_there() -> None:
    with RtpTap() as before, RtpTap(law="PCMA") as after:
        after.play(tone(CALLEE_HZ))
        keys = {"port": str(after.port)}
        async with SippUas("uas-moves-its-media", rtp=before, keys=keys) as callee, ai_rig(callee.uri) as rig:
            call = await rig.place()
            conversation = await rig.talking(call)
            speak(conversation, audio.tone(AGENT_HZ, conversation.settings.output_hz, 5.0))
            await after.wait_for_packets(25)
            left_at = len(before.packets())
            await after.wait_for_packets(50)
            heard = bytes(conversation.audio.captured)[-8000:]
            await rig.hang_up(call)
            await rig.ended(call)
            assert callee.complaints == []
            assert len(rig.ultravox.account.calls) == 1
        assert len(before.packets()) == left_at
        assert {packet.payload_type for packet in after.packets()} == {8}
        assert audio.hears(after.heard(), 8000, AGENT_HZ)
        assert audio.hears(heard, 8000, CALLEE_HZ)


async def test_each_codec_of_the_answer_is_heard_whenever_the_far_end_sends_it() -> None:
    with RtpTap() as tap:
        async with SippUas("uas-answers-codecs-reordered", rtp=tap) as callee, ai_rig(callee.uri) as rig:
            tap.play(tone(CALLEE_HZ), law="PCMU")  # the answer's second
            call = await rig.place()
            conversation = await rig.talking(call)
            began = len(conversation.audio.captured)
            await asyncio.sleep(4)
            changed = len(conversation.audio.captured)
            tap.play(tone(CALLEE_HZ), law="PCMA")
            await asyncio.sleep(4)
            heard = bytes(conversation.audio.captured)
            speak(conversation, audio.tone(AGENT_HZ, conversation.settings.output_hz, 1.0))
            await wait_until(lambda: sum(not it.silent for it in tap.packets()) >= 40, "the agent's voice")
            await rig.hang_up(call)
            await rig.ended(call)
            assert callee.complaints == []
            assert len(callee.requests("INVITE")) == 1
        assert {packet.payload_type for packet in tap.packets()} <= {0, 8}
        assert len({packet.ssrc for packet in tap.packets()}) == 1
    assert share_heard(heard[began:changed]) >= 0.9
    assert share_heard(heard[changed:]) >= 0.9


def share_heard(pcm: bytes) -> float:
    """The share of pieces of 100 ms (8 kHz) in which the callee's tone is heard."""
    pieces = [pcm[at : at + 1600] for at in range(0, len(pcm) - 1599, 1600)]
    return sum(audio.hears(piece, 8000, CALLEE_HZ, min_dbfs=-25) for piece in pieces) / len(pieces)


@pytest.mark.parametrize("scenario", ["uas-answers-at-once", "uas-answers-codecs-reordered"])
async def test_audio_that_cannot_be_decoded_does_not_keep_a_call_up(tmp_path: Path, scenario: str) -> None:
    with RtpTap() as tap:
        async with (
            SippUas(scenario, rtp=tap) as callee,
            trunkline(tmp_path, callee.uri, sip={"rtp_timeout": "2s"}) as line,
        ):
            call = await line.place()
            await tap.wait_for_packets(5)
            for sequence in range(200):
                tap.send(18, bytes(20), timestamp=160 * sequence)
                await asyncio.sleep(0.02)
            record = await line.ended(call)
            assert_outcome(record, Status.COMPLETED, Cause.RTP_TIMEOUT)
            assert record.media and record.media["rtp_received"] >= 100


async def test_the_answer_of_one_fork_ends_the_early_media_of_the_other(tmp_path: Path) -> None:
    with RtpTap() as first, RtpTap() as second:
        keys = {"port": str(second.port)}
        async with (
            SippUas("uas-forks", rtp=first, keys=keys) as callee,
            trunkline(tmp_path, callee.uri) as line,
        ):
            call = await line.place()
            await line.status(call, Status.ANSWERED)
            await second.wait_for_packets(5)
            early = len(first.packets())
            await second.wait_for_packets(15)
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
            assert callee.complaints == []
        assert early == len(first.packets()) > 0
        assert {packet.payload_type for packet in first.packets()} == {0}
        assert {packet.payload_type for packet in second.packets()} == {8}


async def test_a_reinvite_without_an_offer_gets_ours_and_the_ack_decides(tmp_path: Path) -> None:
    with RtpTap() as tap:
        async with (
            SippUas("uas-reinvites-without-offer", rtp=tap, hold_ms=200) as callee,
            trunkline(tmp_path, callee.uri) as line,
        ):
            call = await line.place()
            await wait_until(lambda: any(p.payload_type == 8 for p in tap.packets()), "PCMA")
            await line.status(call, Status.ANSWERED)
            await line.hang_up(call)
            assert_outcome(await line.ended(call), Status.COMPLETED, Cause.CALLER_HANGUP)
            [offer] = callee.responses("INVITE")
            assert set(offer.sdp.codecs.values()) == {"PCMU", "PCMA", "G722", "telephone-event"}
            assert callee.complaints == []


async def test_rtp_from_an_unexpected_port_is_heard_and_answered_there(tmp_path: Path) -> None:
    with RtpTap() as named, RtpTap() as real:
        async with (
            SippUas("uas-answers-at-once", rtp=named) as callee,
            trunkline(tmp_path, callee.uri) as line,
        ):
            call = await line.place()
            await named.wait_for_packets(5)
            real.play(tone(CALLEE_HZ), to=("127.0.0.1", callee.requests("INVITE")[0].sdp.port))
            await real.wait_for_packets(10)
            await line.status(call, Status.ANSWERED)
            await line.hang_up(call)
            record = await line.ended(call)
            assert record.media and record.media["rtp_received"] >= 10


async def test_comfort_noise_is_neither_loss_nor_the_end_of_rtp(tmp_path: Path) -> None:
    with RtpTap() as tap:
        async with (
            SippUas("uas-answers-with-comfort-noise", rtp=tap) as callee,
            trunkline(tmp_path, callee.uri, sip={"rtp_timeout": "2s"}) as line,
        ):
            call = await line.place()
            await tap.wait_for_packets(5)
            us = ("127.0.0.1", callee.requests("INVITE")[0].sdp.port)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
                for sequence in range(30):
                    payload_type, payload = (13, b"\x7f") if sequence >= 4 else (0, b"\xff" * 160)
                    phone.sendto(struct.pack("!BBHII", 0x80, payload_type, sequence, 160 * sequence, 7) + payload, us)
                    await asyncio.sleep(0.1)
            await line.status(call, Status.ANSWERED)
            await line.hang_up(call)
            record = await line.ended(call)
            assert_outcome(record, Status.COMPLETED, Cause.CALLER_HANGUP)
            assert record.media and record.media["rtp_lost"] == 0


@pytest.mark.parametrize("ever", [False, True])
async def test_a_far_end_that_sends_no_rtp_is_hung_up_on(tmp_path: Path, ever: bool) -> None:
    with RtpTap() as tap:
        async with (
            SippUas("uas-answers-at-once", rtp=tap) as callee,
            trunkline(tmp_path, callee.uri, sip={"rtp_timeout": "1s"}) as line,
        ):
            call = await line.place()
            if ever:
                tap.play(tone(CALLEE_HZ))
                await tap.wait_for_packets(20)
                tap.play(b"")
            record = await line.ended(call)
            assert_outcome(record, Status.COMPLETED, Cause.RTP_TIMEOUT)
            assert record.outcome and record.outcome.by is Party.TRUNK
            assert ("stopped" if ever else "public_address") in record.outcome.detail + record.outcome.hint
            assert len(await callee.wait_for("BYE")) == 1


async def test_silence_on_hold_does_not_end_the_call(tmp_path: Path) -> None:
    keys = {"direction": "inactive", "address": "127.0.0.1"}
    async with (
        SippUas("uas-holds-and-resumes", keys=keys, hold_ms=2500) as callee,
        trunkline(tmp_path, callee.uri, sip={"rtp_timeout": "1s"}) as line,
    ):
        call = await line.place()
        record = await line.ended(call)
        assert_outcome(record, Status.COMPLETED, Cause.RTP_TIMEOUT)
        assert record.duration_s and record.duration_s >= 3, "only after it was taken back"
        assert len(callee.responses("INVITE")) == 2


async def test_rtcp_reports_pass_both_ways_and_end_with_bye(tmp_path: Path) -> None:
    with RtpTap() as tap, rtcp_of(tap) as rtcp:
        async with SippUas("uas-answers-at-once", rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            call = await line.place()
            tap.play(tone(CALLEE_HZ))
            ours = (await tap.wait_for_packets(20))[-1]
            # RFC 3550 §6.4.2: a receiver report with one block, which reports 7 packets lost.
            block = struct.pack("!IBBHIIII", ours.ssrc, 0, 0, 7, ours.sequence, 80, 0, 0)
            us = ("127.0.0.1", callee.requests("INVITE")[0].sdp.port + 1)
            rtcp.sendto(struct.pack("!BBHI", 0x81, 201, 7, tap.port) + block, us)
            await tap.wait_for_packets(30)
            await line.status(call, Status.ANSWERED)
            await line.hang_up(call)
            record = await line.ended(call)
            assert record.media and (record.media["rtcp_received"], record.media["rtp_lost_there"]) == (1, 7)
            kinds: list[int] = []
            while 203 not in kinds:  # RFC 3550 §6.1: each packet of a compound begins with its type and length
                compound = rtcp.recv(2048)
                while compound:
                    kinds.append(compound[1])
                    compound = compound[4 * (1 + int.from_bytes(compound[2:4], "big")) :]
            assert kinds[0] in (200, 201) and 202 in kinds
