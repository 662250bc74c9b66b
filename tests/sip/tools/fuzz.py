"""Throws hostile SIP, SDP and RTP at a live engine with AI calls up, and looks at what these suffer: `make fuzz`.

From a stranger's address and from the trunk's own: RFC 4475's torture messages, messages of the live calls and of a
carrier, all of them mutated, and noise; at the SIP port, and at every RTP port of a call. No process may die, no call
may end, and no gap at the callee may be longer than ``MOST_GAP_MS``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from engine.records import Environment, Status
from tests import audio
from tests.sip.ai_rig import AiRig, ai_rig, speak
from tests.sip.messages import SipMessage
from tests.sip.peers import SippUas
from tests.sip.rtp import RtpTap
from tests.sip.tools.torture import TORTURE

MOST_GAP_MS: Final = 60.0
_STRANGER: Final = "127.0.0.8"
_TRUNK: Final = "127.0.0.1"
_BATCH: Final = 40
_PAUSE_S: Final = 0.02
_RUNS: Final = (b" ", b"\t", b",", b";", b'"', b"<", b"\\", b"a", b"%", b"\0", b":", b"=")
_CARRIER: Final = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=a\r\n"
    b"To: <sip:c@d>;tag=b\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:e@f;maddr=g>\r\n"
    b"Record-Route: <sip:h;lr>, <tel:+1>\r\nSession-Expires: 90;refresher=uac\r\nContent-Type: application/sdp\r\n\r\n"
    b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=\r\nc=IN IP6 ::1\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 9 0 101\r\na=ptime:260\r\n",
    b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=a\r\n"
    b'To: <sip:c@d>;tag=b\r\nCall-ID: x\r\nCSeq: 1 REGISTER\r\nWWW-Authenticate: Digest realm="r", nonce="n"\r\n\r\n',
    b"INFO sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKy\r\nFrom: <sip:a@b>;tag=a\r\n"
    b"To: <sip:c@d>;tag=b\r\nCall-ID: x\r\nCSeq: 9 INFO\r\nContent-Type: application/dtmf-relay\r\n\r\nSignal=1\r\n",
)


class Fuzz:
    """Hostile datagrams without end, the same for the same seed."""

    def __init__(self, seeds: Sequence[bytes], seed: int) -> None:
        self._random = random.Random(seed)
        self._seeds = seeds

    def messages(self) -> Iterator[bytes]:
        while True:
            yield self._mutated(self._random.choice(self._seeds))[:65_000]

    def rtp(self) -> bytes:
        """A packet that looks like RTP, more or less."""
        size = self._random.choice((0, 1, 11, 12, 172, 172, 172, 1400))
        head = bytes(
            (self._random.choice((0x80, 0x90, 0xBF, 0xA0, 0x00)), self._random.choice((0, 8, 9, 13, 101, 200)))
        )
        return (head + self._random.randbytes(size))[: max(size, 1)]

    def _mutated(self, message: bytes) -> bytes:
        pick = self._random
        for _ in range(pick.randrange(4)):
            at = pick.randrange(len(message) + 1)
            match pick.randrange(6):
                case 0:
                    message = message[:at] + pick.randbytes(pick.randrange(1, 9)) + message[at:]
                case 1:
                    message = message[:at] + pick.choice(_RUNS) * pick.choice((1, 255, 256, 4000)) + message[at:]
                case 2:
                    message = message[:at] + message[at + pick.randrange(1, 60) :]
                case 3:
                    message = message[:at] + pick.choice(self._seeds)[pick.randrange(40) :][:400] + message[at:]
                case 4:
                    message = message.replace(
                        b"\r\n", pick.choice((b"\n", b"\r", b"\r\n\r\n", b"\r\n ")), pick.randrange(9)
                    )
                case _:
                    lines = message.split(b"\r\n")
                    message = b"\r\n".join(pick.sample(lines, len(lines)))
        return message


async def attack(rig: AiRig, tap: RtpTap, seeds: Sequence[bytes], minutes: float) -> int:
    """Throw for that long; returns how many datagrams were sent."""
    fuzz, sent = Fuzz(seeds, seed=3261), 0
    stranger, trunk = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with stranger, trunk:
        stranger.bind((_STRANGER, 0))
        trunk.bind((_TRUNK, 0))
        ports = [source[1] for source in tap.sources()]
        messages, ends_s = fuzz.messages(), time.monotonic() + 60 * minutes
        while time.monotonic() < ends_s:
            for number in range(_BATCH):
                who = trunk if number % 2 else stranger
                if number % 4 == 3:
                    stranger.sendto(fuzz.rtp(), (_TRUNK, random.choice(ports) + number % 2))
                else:
                    who.sendto(next(messages), (_TRUNK, rig.config.sip.port))
                sent += 1
            await asyncio.sleep(_PAUSE_S)
    return sent


def text_of(message: SipMessage) -> bytes:
    """The message as it was on the wire, but for its blanks."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in message.headers)
    return f"{message.start_line}\r\n{fields}\r\n{message.body}".encode()


async def run(minutes: float, calls: int) -> list[str]:
    """What was wrong, a sentence each."""
    with RtpTap(echo=True) as tap:
        scenario = "uas-answers-and-echoes-rtp"
        async with SippUas(scenario, rtp=tap) as callee, ai_rig(callee.uri, max_calls=2 * calls) as rig:
            records = [await rig.place() for _ in range(calls)]
            for record in records:
                conversation = await rig.talking(record)
                rate_hz = conversation.settings.output_hz
                speak(conversation, audio.tone(600, rate_hz, 60 * minutes + 30))
            await tap.wait_for_packets(50 * calls)
            before = processes()
            seeds = [*TORTURE.values(), *_CARRIER, *map(text_of, callee.messages)]
            tap.forget()
            await tap.wait_for_packets(10 * calls)
            sent = await attack(rig, tap, seeds, minutes)
            await asyncio.sleep(0.5)
            gaps = {source: float(tap.spacing_ms(source).max()) for source in tap.sources()}
            now = [await rig.engine.get(record.id, Environment.LIVE) for record in records]
            died = before - processes()
            for record in records:
                await rig.hang_up(record)
                await rig.ended(record)
    longest = max(gaps.values())
    print(f"{sent} datagrams in {minutes:g} min at {calls} AI calls; longest gap at the callee {longest:.0f} ms")
    wrong = [f"process {pid} died" for pid in died]
    wrong += [f"a call is {one.status}: {one.outcome}" for one in now if one.status is not Status.ANSWERED]
    wrong += [f"a gap of {gap:.0f} ms at {source}" for source, gap in gaps.items() if gap > MOST_GAP_MS]
    if len(gaps) != calls:
        wrong.append(f"RTP came from {len(gaps)} sources, not {calls}")
    return wrong


def processes() -> set[int]:
    """The engine's, below this one."""
    found, todo = set[int](), [os.getpid()]
    while todo:
        pid = todo.pop()
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            continue
        new = [pid for child in children if (pid := int(child)) not in found and "trunkline" in title(pid)]
        found.update(new)
        todo += new
    return found


def title(pid: int) -> str:
    """The process's title; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--calls", type=int, default=4)
    given = parser.parse_args()
    wrong = asyncio.run(run(given.minutes, given.calls))
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
