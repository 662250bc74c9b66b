"""Values over a socket pair: whole, in order, and the other end's death noticed."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.messages.codec import TO_CHILD, TO_CONTROL
from engine.messages.commands import HangUp, Stop
from engine.messages.events import Alive, Ready
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
    """The control process's end, and the child's."""
    a, b = socket.socketpair()
    left, right = End(), End()
    control = await open_pipe(a, left.take, left.closed.set, of_child=False)
    return control, left, await open_pipe(b, right.take, right.closed.set), right


def hang_up(detail: str) -> HangUp:
    return HangUp(attempt_id=AttemptId("a"), outcome=replace(CANCELED, detail=detail))


async def test_values_arrive_whole_and_in_order_whatever_their_size() -> None:
    near, _, far, heard = await pair()
    sent = [hang_up(""), hang_up("x" * 1_000_000), *(hang_up(str(number)) for number in range(1000))]
    for value in sent:
        near.send(value)
    await heard.until(len(sent))
    assert heard.values == sent
    near.close()
    far.close()


async def test_the_other_ends_death_is_reported_once_and_sending_to_it_is_harmless() -> None:
    near, mine, far, theirs = await pair()
    far.close()
    await mine.closed.wait()
    near.send(Stop())
    assert theirs.values == []


def framed(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


class Harm:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(lambda folder: framed(pickle.dumps(Harm(folder))), id="pickle"),
        pytest.param(lambda _: framed(TO_CHILD.encode(Stop())), id="a command"),
        pytest.param(lambda _: framed(msgspec.msgpack.encode(("os.system", {"command": "true"}))), id="unknown name"),
        pytest.param(lambda _: framed(msgspec.msgpack.encode(("Ready", {"lines": "4"}))), id="text for a number"),
        pytest.param(lambda _: framed(msgspec.msgpack.encode(("Ready", {}))), id="field missing"),
        pytest.param(lambda _: framed(b"\x92\xa5Ready" + b"\x91" * 100_000), id="depth"),
        pytest.param(lambda _: framed(b""), id="nothing"),
        pytest.param(lambda _: struct.pack("!I", TO_CONTROL.most_bytes + 1), id="too long"),
    ],
)
async def test_child_that_sends_what_is_no_message_is_taken_for_gone_with_one_line(
    sent: Callable[[Path], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = socket.socketpair()
    control = End()
    pipe = await open_pipe(a, control.take, control.closed.set, of_child=False)
    with b:
        b.sendall(
            framed(TO_CONTROL.encode(Ready(lines=4))) + sent(tmp_path / "harm") + framed(TO_CONTROL.encode(Alive()))
        )
        await asyncio.wait_for(control.closed.wait(), 10)
    assert pipe.broken
    assert control.values == [Ready(lines=4)]
    assert not (tmp_path / "harm").exists()
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["trunkline.pipe"]
