"""What PJMEDIA's conference bridge lets go of when it is asked to, and that live calls do not notice."""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from engine.records import Status
from tests.sip.peers import SippUas
from tests.sip.rtp import SAMPLES, RtpPacket, RtpTap
from tests.sip.server import ROOT
from tests.sip.trunkline import trunkline

pytestmark = pytest.mark.sip

ANSWERS = "uas-answers-and-echoes-rtp"


async def test_answered_call_leaves_nothing_behind_in_pjsip() -> None:
    async with SippUas(ANSWERS) as callee:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.sip.stack_memory", callee.uri), cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert int(output) < 4096, "bytes a call"


async def test_rtp_of_a_call_runs_on_evenly_while_its_neighbours_in_the_worker_end(tmp_path: Path) -> None:
    with RtpTap() as tap:
        async with SippUas(ANSWERS, rtp=tap) as callee, trunkline(tmp_path, callee.uri) as line:
            stays = await line.place()
            await line.status(stays, Status.ANSWERED)
            [first] = {packet.ssrc for packet in await tap.wait_for_packets(5)}
            for _ in range(4):
                brief = await line.place()
                await line.status(brief, Status.ANSWERED)
                await line.hang_up(brief)
                await line.ended(brief)
            await tap.wait_for_packets(len(tap.packets()) + 5)
            packets = [packet for packet in tap.packets() if packet.ssrc == first]
            await line.hang_up(stays)
            await line.ended(stays)
    assert {_step(one, other) for one, other in pairwise(packets)} == {(1, SAMPLES, False)}


def _step(one: RtpPacket, other: RtpPacket) -> tuple[int, int, bool]:
    """Of sequence and timestamp; and whether a talkspurt begins (RFC 3551 §4.1)."""
    return other.sequence - one.sequence & 0xFFFF, other.timestamp - one.timestamp & 0xFFFFFFFF, other.marker
