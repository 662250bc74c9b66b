"""Packets of a stranger to the port of a live call (RTPbleed): not heard, and not answered with our audio."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

import numpy as np
import pytest

from tests import g711
from tests.sip.peers import SippUas
from tests.sip.rtp import SAMPLES, RtpTap
from tests.sip.stack_alone import StackAlone

pytestmark = pytest.mark.sip

LEVELS = np.frombuffer(g711.decode(bytes(range(256)), "PCMU"), "<i2").astype(int)
CALLEES, STRANGERS = 0x90, 0x88
"""One loud level each."""
BURST = 15
FRAMES = 100


class Stranger:
    """Sends bursts of well-formed packets from 127.0.0.9 and keeps what comes back."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.9", 0))
        self._socket.setblocking(False)
        self._port = port
        self._sent = 0

    def burst(self) -> None:
        for _ in range(BURST):
            header = struct.pack("!BBHII", 0x80, 0, self._sent & 0xFFFF, self._sent * SAMPLES, 9)
            self._sent += 1
            self._socket.sendto(header + bytes([STRANGERS]) * SAMPLES, ("127.0.0.1", self._port))

    def received(self) -> int:
        count = 0
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(2048):
                count += 1
        return count

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("talks", [pytest.param(True, id="talking"), pytest.param(False, id="silent")])
async def test_a_stranger_is_neither_heard_nor_answered_while_the_callee_is(talks: bool) -> None:
    with RtpTap() as tap:
        async with SippUas("uas-answers-and-echoes-rtp", rtp=tap) as callee, StackAlone(callee.uri) as stack:
            await stack.frame()
            first = (await tap.wait_for_packets(1))[0]
            tap.forget()
            heard: set[int] = set()
            with contextlib.closing(Stranger(first.source[1])) as stranger:
                for number in range(FRAMES):
                    if talks:
                        tap.send(0, bytes([CALLEES]) * SAMPLES, timestamp=number * SAMPLES)
                    stranger.burst()
                    heard.update(np.frombuffer(await stack.frame(), "<i2").tolist())
                    await asyncio.sleep(0.001)
                await tap.wait_for_packets(FRAMES - 1)
                assert stranger.received() == 0
    assert LEVELS[STRANGERS] not in heard
    assert (LEVELS[CALLEES] in heard) == talks


async def test_a_callee_whose_packets_come_from_another_port_is_sent_our_audio_there() -> None:
    """Such as one behind NAT: its SDP names a port of the inside."""
    with RtpTap() as named, RtpTap() as real:
        async with SippUas("uas-answers-and-echoes-rtp", rtp=named) as callee, StackAlone(callee.uri) as stack:
            await stack.frame()
            first = (await named.wait_for_packets(1))[0]
            code = bytes([CALLEES])
            real.play(g711.decode(code * SAMPLES, "PCMU"), to=first.source)
            for _ in range(50):
                heard = await stack.frame()
                await asyncio.sleep(0.02)
            named.forget()
            real.forget()
            for _ in range(20):
                await stack.frame()
                await asyncio.sleep(0.02)
            assert LEVELS[CALLEES] in np.frombuffer(heard, "<i2")
            assert len(real.packets()) >= 19
            assert named.packets() == []
