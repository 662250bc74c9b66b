"""What arrives is served at once, and a flood of it a few times in a tick."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from engine.pjsip import arrival
from engine.pjsip.arrival import OnArrival


class Far:
    """The other end of a socket from which each ``serve`` takes one message."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.served: list[bytes] = []
        OnArrival(self.here.fileno(), lambda: self.served.append(self.here.recv(100))).start()

    def send(self, *messages: bytes) -> None:
        for message in messages:
            self.there.send(message)

    async def until_served(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.served) < count:
                await asyncio.sleep(0)


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    far = Far()
    yield far
    asyncio.get_running_loop().remove_reader(far.here.fileno())
    far.here.close()
    far.there.close()


async def test_a_ring_and_an_answer_right_after_each_other_are_served_without_a_tick_between(
    monkeypatch: pytest.MonkeyPatch, far: Far
) -> None:
    monkeypatch.setattr(arrival, "TICK_S", 3600)
    for number, message in enumerate([b"100", b"180", b"200"], 1):
        far.send(message)
        await far.until_served(number)


async def test_a_flood_is_served_four_times_and_then_waits_for_the_next_tick(
    monkeypatch: pytest.MonkeyPatch, far: Far
) -> None:
    monkeypatch.setattr(arrival, "TICK_S", 3600)
    far.send(*[b"OPTIONS"] * 9)
    await far.until_served(4)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(far.served) == 4


async def test_what_had_to_wait_is_served_in_the_ticks_that_follow(far: Far) -> None:
    far.send(*[b"OPTIONS"] * 9)
    await far.until_served(9)
