"""Calls over IPv6 alone: SIP by UDP and TCP, and RTP, with SIPp at ::1."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.outcome import Cause
from engine.records import Status
from tests.sip.peers import SippUas
from tests.sip.trunkline import assert_outcome, trunkline

_LOOPBACK = f"{'0' * 24}01000000"  # ::1 as /proc/net writes it


class SippAtIpv6(SippUas):
    """SIPp with SIP and RTP at ::1."""

    def __init__(self, scenario: str, *, transport: str) -> None:
        super().__init__(scenario, rtp_echo=True)
        self._transport = transport

    @property
    def uri(self) -> str:
        return f"sip:[::1]:{self.port};transport={self._transport}"

    def _ready(self) -> bool:
        sockets = Path(f"/proc/net/{self._transport}6").read_text()
        return f" {_LOOPBACK}:{self.port:04X} " in sockets

    def _command(self) -> list[str]:
        words = super()._command()
        for option in ("-i", "-mi"):
            words[words.index(option) + 1] = "[::1]"
        return [*words, *(["-t", "t1"] if self._transport == "tcp" else [])]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_call_over_ipv6_is_answered_heard_and_hung_up(tmp_path: Path, transport: str) -> None:
    async with (
        SippAtIpv6("uas-answers-and-echoes-rtp", transport=transport) as callee,
        trunkline(tmp_path, callee.uri, sip={"bind": "::1"}) as line,
    ):
        call = await line.place()
        await line.status(call, Status.ANSWERED)
        await asyncio.sleep(1)
        await line.hang_up(call)
        record = await line.ended(call)
        assert_outcome(record, Status.COMPLETED, Cause.CALLER_HANGUP)
        invite = callee.requests("INVITE")[0]
        assert f"SIP/2.0/{transport.upper()} [::1]:" in (invite.header("Via") or "")
        assert callee.complaints == []
        assert record.media and record.media["rtp_received"] > 25
