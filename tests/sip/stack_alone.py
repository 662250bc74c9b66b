"""A SIP stack with one call in its own process, whose time a test can let pass: minutes of it, or a frame.

Its SIP passes through an edge in the test's process; its RTP is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import mmap
import os
import select
import socket
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Self

from engine.sip.leg_port import LegEnd, MediaStream
from tests.sip.edge_beside import StackOnLink, edge_beside, trunk_to

_ROOT = Path(__file__).parents[2]
_POLLS_BEFORE = 20
"""What is on its way comes in before time passes: a transaction that waits for it would time out."""


class StackAlone:
    """Dials ``uri`` at once. Its line of commands is the child's stdin; each frame, and how the leg ended, is a line of
    the child's stdout."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def pass_time(self, seconds: float) -> None:
        """Have PJSIP believe that so much time has passed."""
        self._tell(f"pass {seconds}")

    async def frame(self) -> bytes:
        """Take in every packet that was sent to us, send one of silence, and tell what is heard next: s16le at 8 kHz.

        Media time passes in no other way. The call is answered first.
        """
        self._tell("frame")
        answer = await self._answer(within_s=30)
        assert not answer.startswith(b"{"), f"the leg ended: {answer.decode()}"
        return bytes.fromhex(answer.decode())

    def hang_up(self) -> None:
        self._tell("hang-up")

    async def ended(self, *, within_s: float = 30) -> LegEnd:
        """How the leg ended."""
        return LegEnd(**json.loads(await self._answer(within_s=within_s)))

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())

    async def _answer(self, *, within_s: float) -> bytes:
        assert self._process.stdout
        return await asyncio.wait_for(self._process.stdout.readline(), within_s)

    async def __aenter__(self) -> Self:
        self._edge = edge_beside(self._uri)
        link = await self._edge.__aenter__()
        command = [sys.executable, "-m", "tests.sip.stack_alone", self._uri, str(link.fileno())]
        self._process = await asyncio.create_subprocess_exec(
            *command, cwd=_ROOT, stdin=PIPE, stdout=PIPE, pass_fds=[link.fileno()]
        )
        return self

    async def __aexit__(self, *failure: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            self._process.kill()
        await self._process.wait()
        await self._edge.__aexit__(None, None, None)


class Clock:
    """PJLIB's clock, moved on at will: ``pj_gettickcount`` (pj/os.h) jumps here, in this process alone (x86-64)."""

    def __init__(self) -> None:
        from engine.pjsip.library import pjlib  # in the child alone

        self.ahead_s = 0.0
        self._callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_long * 2))(self._tell)
        target = ctypes.cast(self._callback, ctypes.c_void_p).value
        address = ctypes.cast(pjlib.pj_gettickcount, ctypes.c_void_p).value
        assert target and address
        page = address & -mmap.PAGESIZE
        protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), ctypes.c_size_t(2 * mmap.PAGESIZE), protection) == 0
        jump = b"\x48\xb8" + target.to_bytes(8, "little") + b"\xff\xe0"  # mov rax, target; jmp rax
        ctypes.memmove(address, jump, len(jump))

    def _tell(self, into: ctypes._Pointer[ctypes.Array[ctypes.c_long]]) -> int:
        now_ms = round((time.monotonic() + self.ahead_s) * 1000)
        into.contents[0], into.contents[1] = divmod(now_ms, 1000)
        return 0


class Listener:
    """Remembers how far the leg is."""

    end: LegEnd | None = None
    stream: MediaStream | None = None
    answered = False

    def on_progress(self, code: int, reason: str) -> None: ...
    def on_media(self, stream: MediaStream | None) -> None:
        self.stream = stream

    def on_answered(self, codec: str) -> None:
        self.answered = True

    def on_digit(self, digit: str) -> None: ...
    def on_ended(self, end: LegEnd) -> None:
        self.end = end

    def on_gone(self) -> None: ...


def main(uri: str, descriptor: int) -> None:
    clock = Clock()
    stack = StackOnLink(descriptor)
    listener = Listener()
    leg = stack.stack.dial(
        trunk_to(uri), listener, from_number="+15557654321", to_number="+15551234567", sip_call_id="alone"
    )
    commands = FileIO(0)  # what waits in a buffer would not wake select
    while listener.end is None:
        waiting: list[FileIO | socket.socket] = [commands, stack.link]
        if commands in select.select(waiting, [], [], 0.01)[0]:
            match commands.readline().split():
                case [b"pass", seconds]:
                    for _ in range(_POLLS_BEFORE):
                        stack.poll()
                        time.sleep(0.01)
                    clock.ahead_s += float(seconds)
                case [b"frame"]:
                    while not (listener.answered and listener.stream) and listener.end is None:
                        stack.poll()
                    stack.poll()
                    if listener.stream:
                        print(listener.stream.read().hex(), flush=True)
                        listener.stream.write(bytes(2 * listener.stream.samples))
                case [b"hang-up"]:
                    leg.hang_up()
                case _:  # nobody is there any more
                    os._exit(1)
        stack.poll()
    print(json.dumps(asdict(listener.end)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
