"""A SIP stack behind a link, with one call, in its own process; the two ends of a link are two such processes."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any, Self

import numpy as np

from engine.messages.settings import StackSettings
from engine.sip.leg_port import LegEnd, LegListener, MediaStream
from tests.engine import samples

_ROOT = Path(__file__).parents[2]
_FRAME_S = 0.02
_LARGEST = 65_535


class LinkedStack:
    """``role`` is ``caller``, which dials at once, or ``callee``, which answers. ``link`` is closed here."""

    def __init__(self, role: str, link: socket.socket, *, bind: str = "127.0.0.1", trunk: str = "tests") -> None:
        self._link = link
        self._command = [sys.executable, "-m", "tests.sip.linked_stack", role, str(link.fileno()), bind, trunk]

    async def report(self) -> dict[str, Any]:
        """What ``Call.report`` says."""
        self.do("report")
        assert self._process.stdout
        line = await asyncio.wait_for(self._process.stdout.readline(), 30)
        assert line, "the stack's process ended"
        return dict(json.loads(line))

    async def until(self, key: str, *, within_s: float = 20) -> dict[str, Any]:
        """The first report in which ``key`` is true."""
        deadline_s = time.monotonic() + within_s
        while not (report := await self.report())[key]:
            assert time.monotonic() < deadline_s, f"no {key}: {report}"
            await asyncio.sleep(0.05)
        return report

    def do(self, command: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n".encode())

    async def __aenter__(self) -> Self:
        descriptor = self._link.fileno()
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=_ROOT, stdin=PIPE, stdout=PIPE, pass_fds=[descriptor]
        )
        self._link.close()
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Call(LegListener):
    """The one call of the process, which says a tone."""

    def __init__(self, tone_hz: int) -> None:
        self._tone_hz = tone_hz
        self._said = 0
        self._heard = b""
        self.stream: MediaStream | None = None
        self.streams = 0
        self.answered = False
        self.end: LegEnd | None = None
        self.longest = 0

    def on_progress(self, code: int, reason: str) -> None: ...

    def on_media(self, stream: MediaStream | None) -> None:
        self.stream = stream
        self.streams += stream is not None

    def on_answered(self, codec: str) -> None:
        self.answered = True

    def on_digit(self, digit: str) -> None: ...

    def on_ended(self, end: LegEnd) -> None:
        self.end = end

    def on_gone(self) -> None: ...

    def exchange(self) -> None:
        if self.stream is None:
            return
        self._heard = (self._heard + self.stream.read())[-8000:]
        place = np.arange(self._said, self._said + self.stream.samples)
        self._said += self.stream.samples
        tone = 8000 * np.sin(2 * np.pi * self._tone_hz * place / self.stream.rate_hz)
        self.stream.write(tone.astype("<i2").tobytes())

    def report(self) -> dict[str, object]:
        """Where the call is, the frequency heard in the last half second (0: silence), the process's sockets."""
        samples = np.frombuffer(self._heard, "<i2").astype(float)
        loud = samples.size == 4000 and np.abs(samples).max() > 1000
        spectrum = np.abs(np.fft.rfft(samples)) if loud else np.zeros(1)
        return {
            "answered": self.answered,
            "heard_hz": int(np.argmax(spectrum)) * 2,
            "streams": self.streams,
            "ended": self.end is not None,
            "by_remote": self.end is not None and self.end.by_remote,
            "longest": self.longest,
            "sockets": _sockets(),
        }


def _sockets() -> list[list[object]]:
    """Family, type and local port of each IP socket of the process."""
    found: list[list[object]] = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            one = socket.socket(fileno=descriptor)
        except OSError:
            continue
        try:
            if one.family in (socket.AF_INET, socket.AF_INET6):
                found.append([one.family.name, one.type.name, one.getsockname()[1]])
        finally:
            one.detach()
    return found


def main(role: str, descriptor: int, bind: str, trunk: str) -> None:
    from engine.pjsip.leg import Leg
    from engine.pjsip.stack import SipStack

    link = socket.socket(fileno=descriptor)
    link.setblocking(False)
    call = Call(700 if role == "caller" else 1100)
    legs: list[Leg] = []

    def send(message: bytes) -> None:
        call.longest = max(call.longest, len(message))
        link.send(message)

    def take(leg: Leg, called: str) -> LegListener:
        legs.append(leg)
        return call

    settings = StackSettings(bind=bind, rtp_first=21000, rtp_last=21999)
    callee = samples.trunk(name="callee", uri=f"sip:[{bind}]" if ":" in bind else f"sip:{bind}").account
    answers = role == "callee"
    stack = SipStack(settings, take if answers else None, answer_as=callee if answers else None, link=send)
    if role == "caller":
        account = replace(samples.trunk(uri="sip:carrier.example;transport=tls").account, name=trunk)
        legs.append(
            stack.dial(account, call, from_number="+15557654321", to_number="+15551234567", sip_call_id="linked")
        )
    commands = FileIO(0)  # what waits in a buffer would not wake select
    answered = False
    next_s = time.monotonic()
    while True:
        waiting: list[FileIO | socket.socket] = [commands, link]
        ready = select.select(waiting, [], [], max(0.0, next_s - time.monotonic()))[0]
        if link in ready:
            stack.receive(link.recv(_LARGEST))
        if legs and role == "callee" and not answered:
            answered = True
            legs[0].respond(200)
        if commands in ready:
            match commands.readline().split():
                case [b"report"]:
                    print(json.dumps(call.report()), flush=True)
                case [b"hang-up"]:
                    legs[0].hang_up()
                case [b"offer"]:
                    legs[0].offer_again()
                case _:  # nobody is there any more
                    os._exit(1)
        stack.poll()
        if time.monotonic() >= next_s:
            next_s += _FRAME_S
            call.exchange()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
