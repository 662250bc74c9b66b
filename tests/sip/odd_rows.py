"""What a row of ``test_odd_carriers`` is: what the far end does, and what must come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from engine.outcome import Cause, Party
from tests import g711
from tests.sip.odd_carrier import CONTACT, SDP, FarCall, Frames, Script, packet
from tests.sip.peers import tone

CALLEE_HZ, AGENT_HZ = 1013, 607
_TONE: Final = {0: g711.encode(tone(CALLEE_HZ), "PCMU"), 8: g711.encode(tone(CALLEE_HZ), "PCMA")}

Check: TypeAlias = Callable[[FarCall], None]


@dataclass(frozen=True, kw_only=True)
class Ends:
    """How a call ends that is not to be answered."""

    cause: Cause
    sip: int | None = None
    by: Party = Party.TRUNK
    q850: int | None = None
    retryable: bool | None = None
    says: str = ""
    """Stands in the detail or the hint."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One oddity. Without ``ends`` the call is to be answered, to get its ACK, and our BYE when it is hung up."""

    name: str
    script: Script
    ends: Ends | None = None
    trunk: str = "udp"
    frames: Frames | None = None
    """What the far end sends as RTP; then the agent is to hear its tone."""
    heard: float = 0.92
    speaks: bool = False
    """The agent speaks, and the far end is to hear it."""
    keys: str = ""
    """What the agent is to hear about."""
    byes: int = 1
    """How many BYEs of ours there are to be."""
    check: Check | None = None
    ack_by: str = ""
    """The transport that the ACK is to take."""

    @property
    def has_audio(self) -> bool:
        """Whether somebody listens in this row."""
        return bool(self.frames or self.speaks or self.keys)


def sound(index: int, payload_type: int = 0) -> bytes:
    """The payload of the ``index``-th 20 ms of the callee's tone."""
    at = index % 50 * 160
    return _TONE[payload_type][at : at + 160]


def plain(index: int) -> list[bytes]:
    """An ordinary stream."""
    return [packet(index, sound(index))]


def answers(
    *headers: str,
    status: str = "200 OK",
    contact: str = CONTACT,
    body: str | bytes = SDP,
    kind: str = "application/sdp",
    tag: str | None = None,
    mangle: Callable[[str], str] = str,
    then: Callable[[FarCall], Awaitable[None]] | None = None,
) -> Script:
    """180, then a 2xx as given; then what ``then`` does."""

    async def script(call: FarCall) -> None:
        call.respond("180 Ringing")
        call.respond(status, *headers, contact=contact, body=body, kind=kind, tag=tag, mangle=mangle)
        if then is not None:
            await call.wait_for("ACK")
            await then(call)

    return script


def refuses(status: str, *headers: str, mangle: Callable[[str], str] = str) -> Script:
    """A final refusal."""

    async def script(call: FarCall) -> None:
        call.respond("100 Trying", contact="")
        call.respond(status, *headers, contact="", mangle=mangle)
        await call.wait_for("ACK")

    return script


async def pause(call: FarCall) -> None:
    """Time enough to hear something."""
    await asyncio.sleep(2.5)
