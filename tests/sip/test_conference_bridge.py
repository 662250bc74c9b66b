"""What PJMEDIA's conference bridge lets go of when it is asked to, and that live calls do not notice."""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise

import pytest

from tests import audio
from tests.sip.ai_rig import ai_rig, speak
from tests.sip.edge_beside import edge_beside
from tests.sip.peers import SippUas
from tests.sip.rtp import FRAME_S, SAMPLES, RtpPacket, RtpTap
from tests.sip.server import ROOT

pytestmark = pytest.mark.sip

ANSWERS = "uas-answers-and-echoes-rtp"


async def test_answered_call_leaves_nothing_behind_in_pjsip() -> None:
    async with SippUas(ANSWERS) as callee, edge_beside(callee.uri) as link:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.sip.tools.stack_memory", callee.uri, str(link.fileno())),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[link.fileno()],
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert int(output) < 4096, "bytes a call"


async def test_callee_hears_the_agent_without_a_break_while_other_calls_of_the_worker_end() -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, ai_rig(callee.uri) as rig:
            stays = await rig.place()
            conversation = await rig.talking(stays)
            [ssrc] = {packet.ssrc for packet in await tap.wait_for_packets(5)}
            speak(conversation, audio.tone(607, 8000, 3.0))
            for _ in range(4):
                brief = await rig.place()
                await rig.talking(brief)
                await rig.hang_up(brief)
                await rig.ended(brief)
            await rig.ultravox.until(lambda: conversation.agent.speech.idle)
            await rig.hang_up(stays)
            await rig.ended(stays)
    packets = [packet for packet in tap.packets() if packet.ssrc == ssrc]
    loud = [index for index, packet in enumerate(packets) if not packet.silent]
    assert loud == list(range(loud[0], loud[-1] + 1))
    assert len(loud) >= 3.0 / FRAME_S
    assert {_step(one, other) for one, other in pairwise(packets)} == {(1, SAMPLES, False)}


def _step(one: RtpPacket, other: RtpPacket) -> tuple[int, int, bool]:
    """Of sequence and timestamp; and whether a talkspurt begins (RFC 3551 §4.1)."""
    return other.sequence - one.sequence & 0xFFFF, other.timestamp - one.timestamp & 0xFFFFFFFF, other.marker
