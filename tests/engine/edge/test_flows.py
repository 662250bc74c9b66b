"""Connections over TCP: who may keep one, for how long, and what ours say of themselves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from engine.edge import flows as module
from engine.edge.admission import Admission
from engine.edge.common import Unreached
from engine.edge.dialogs import Flow
from engine.edge.flows import Ways
from engine.edge.resolver import Resolver
from engine.edge.targets import Target
from tests.engine.samples import trunk

TRUNK = trunk(name="carrier", uri="sip:127.0.0.1;transport=tcp").account
MESSAGE = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"
LISTENS_ON = 5999


class Side:
    """Our side: its ways, and a listener for far ends."""

    def __init__(self, *allowed: str) -> None:
        self.messages: list[bytes] = []
        self.lost: list[str] = []
        self.ways = Ways(
            [],
            Resolver.of_machine(),
            Admission(allowed or ["127.0.0.0/8"]),
            public_address="",
            bind="127.0.0.1",
            port=LISTENS_ON,
            listens=True,
            received=lambda _, data: self.messages.append(data),
            lost=lambda _, error: self.lost.append(error.kind),
        )

    async def listen(self) -> int:
        self.server = await asyncio.get_running_loop().create_server(self.ways.accepted, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    ours = Side()
    ours.port = await ours.listen()  # type: ignore[attr-defined]
    yield ours
    ours.server.close()
    for connection in list(ours.ways._inbound):
        connection.close()
    for connecting in ours.ways._connections.values():
        with contextlib.suppress(Exception):
            connecting.result().close()
    await asyncio.sleep(0.05)


async def connect(side: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", side.port)


async def test_a_far_end_that_sends_a_byte_now_and_then_keeps_no_connection(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INBOUND_IDLE_S", 0.2)
    reader, writer = await connect(side)
    for byte in MESSAGE[:6]:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.1)
        side.ways.sweep()
    assert not side.ways._inbound
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()


async def test_pings_and_messages_keep_a_connection(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_INBOUND_IDLE_S", 0.35)
    reader, writer = await connect(side)
    for data in (b"\r\n\r\n", MESSAGE, b"\r\n\r\n", MESSAGE[:10], MESSAGE[10:]):
        writer.write(data)
        await asyncio.sleep(0.1)
        side.ways.sweep()
    assert side.messages == [MESSAGE, MESSAGE]
    assert await reader.readexactly(4) == b"\r\n\r\n"
    assert not reader.at_eof()
    writer.close()


async def test_one_source_cannot_take_all_connections(side: Side) -> None:
    writers = [(await connect(side))[1] for _ in range(module._MOST_OF_A_PEER + 5)]
    await asyncio.sleep(0.1)
    assert len(side.ways._inbound) == module._MOST_OF_A_PEER
    for writer in writers:
        writer.close()


async def test_our_via_and_contact_over_tcp_name_the_port_that_we_listen_on(side: Any) -> None:
    flow = await side.ways.open(Target("127.0.0.1", side.port, "tcp", "127.0.0.1"), TRUNK)
    assert flow.local == ("127.0.0.1", LISTENS_ON)
    wire = flow._wire.get_extra_info("socket")
    assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == module._DEAD_MS


async def test_connections_that_are_closed_or_unused_are_forgotten(side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target("127.0.0.1", side.port, "tcp", "127.0.0.1")
    flow = await side.ways.open(target, TRUNK)
    monkeypatch.setattr(module, "_IDLE_S", -1.0)
    side.ways.sweep({flow})
    assert flow.is_open
    side.ways.sweep()
    await asyncio.sleep(0.05)
    side.ways.sweep()
    assert not flow.is_open and not side.ways._connections
    again: Flow = await side.ways.open(target, TRUNK)
    assert again is not flow and again.is_open


async def test_the_connections_that_far_ends_can_make_us_open_are_bounded(
    side: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_CONNECTIONS", 1)
    await side.ways.open(Target("127.0.0.1", side.port, "tcp", "127.0.0.1"), TRUNK)
    with pytest.raises(Unreached):
        await side.ways.open(Target("127.0.0.1", 1, "tcp", "127.0.0.1"), TRUNK)


async def test_a_far_end_that_reads_nothing_is_left(side: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        flow = await side.ways.open(Target("127.0.0.1", deaf.getsockname()[1], "tcp", "127.0.0.1"), TRUNK)
        for _ in range(2000):
            flow.send(b"x" * 60_000)
            if not flow.is_open:
                break
        await asyncio.sleep(0.05)
        assert not flow.is_open and side.lost == ["connect"]


async def test_a_half_open_tls_connection_is_given_up(side: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT_S", 0.2)
    account = trunk(name="carrier", uri="sip:127.0.0.1;transport=tls").account
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(Unreached) as raised:
        await side.ways.open(Target("127.0.0.1", mute.getsockname()[1], "tls", "127.0.0.1"), account)
    assert raised.value.kind == "connect"
