"""Values over a socket pair: whole, in order, and the other end's death noticed."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from engine.messages.commands import HangUp
from engine.messages.pipe import Pipe, open_pipe
from engine.outcome import CANCELED
from engine.records import AttemptId


class End:
    def __init__(self) -> None:
        self.values: list[Any] = []
        self.closed = asyncio.Event()
        self.arrived = asyncio.Event()

    def take(self, value: Any) -> None:
        self.values.append(value)
        self.arrived.set()

    async def until(self, count: int) -> None:
        while len(self.values) < count:
            self.arrived.clear()
            await self.arrived.wait()


async def pair() -> tuple[Pipe, End, Pipe, End]:
    a, b = socket.socketpair()
    left, right = End(), End()
    return await open_pipe(a, left.take, left.closed.set), left, await open_pipe(b, right.take, right.closed.set), right


async def test_values_arrive_whole_and_in_order_whatever_their_size() -> None:
    near, _, far, heard = await pair()
    sent = [HangUp(attempt_id=AttemptId("a"), outcome=CANCELED), "x" * 1_000_000, *range(1000)]
    for value in sent:
        near.send(value)
    await heard.until(len(sent))
    assert heard.values == sent
    near.close()
    far.close()


async def test_the_other_ends_death_is_told_once_and_sending_to_it_is_harmless() -> None:
    near, mine, far, theirs = await pair()
    far.close()
    await mine.closed.wait()
    near.send("nobody")
    assert theirs.values == []
