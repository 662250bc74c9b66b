"""Both ends of a link: order, limits and what an end that does not read costs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from engine.messages import link as module
from engine.messages.link import KEEP, Link


class Ends:
    def __init__(self) -> None:
        near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.far.setblocking(False)
        self.heard: list[tuple[int, bytes]] = []
        self.closed = 0
        self.link = Link(near, self._hear, self._close)

    def _hear(self, kind: int, payload: bytes) -> None:
        if payload == b"bad":
            raise ValueError("bad")
        self.heard.append((kind, payload))

    def _close(self) -> None:
        self.closed += 1

    def close(self) -> None:
        self.link.close()
        self.far.close()

    async def read(self) -> list[bytes]:
        """Everything that the near end sent."""
        found, pauses = [], 0
        while pauses < 3:
            try:
                found.append(self.far.recv(1 << 17))
                pauses = 0
            except BlockingIOError:
                pauses += 1
                await asyncio.sleep(0.01)
        return found


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    both = Ends()
    yield both
    both.close()


async def test_a_datagram_that_is_too_long_is_dropped_and_the_link_stays(ends: Ends) -> None:
    for size in (300_000, module._LONGEST - 1, 10):
        ends.link.send(KEEP, b"x" * size)
    assert ends.link.is_open and ends.closed == 0
    assert len((await ends.read())[-1]) == 11


async def test_messages_stay_in_order_when_the_other_end_does_not_read_and_the_newest_are_dropped(ends: Ends) -> None:
    for number in range(2 * module._MOST_WAITING + 1000):
        ends.link.send(0, number.to_bytes(4, "big"))
    ends.link.send(KEEP, b"kept")
    read = await ends.read()
    numbers = [int.from_bytes(one[1:], "big") for one in read if one[0] == 0]
    assert numbers == list(range(len(numbers)))
    assert module._MOST_WAITING <= len(numbers) < 2 * module._MOST_WAITING + 1000
    assert read[-1] == bytes((KEEP,)) + b"kept"


async def test_what_waits_for_an_end_that_does_not_read_is_bounded_in_bytes(ends: Ends) -> None:
    for _ in range(1000):
        ends.link.send(0, b"x" * 60_000)
    assert ends.link._waiting_bytes <= module._MOST_WAITING_BYTES


async def test_an_end_that_takes_not_even_what_must_be_kept_is_closed_once(ends: Ends) -> None:
    for _ in range(1000):
        ends.link.send(KEEP, b"x" * 60_000)
    assert not ends.link.is_open and ends.closed == 1


async def test_a_datagram_that_cannot_be_served_does_not_end_the_link(ends: Ends) -> None:
    for payload in (b"bad", b"good"):
        ends.far.send(b"\0" + payload)
    await asyncio.sleep(0.05)
    assert ends.heard == [(0, b"good")] and ends.link.is_open


@pytest.mark.parametrize("payload", [b"", b"x"])
async def test_the_first_byte_comes_apart_from_the_rest(ends: Ends, payload: bytes) -> None:
    ends.far.send(b"\7" + payload)
    await asyncio.sleep(0.05)
    assert ends.heard == [(7, payload)]
