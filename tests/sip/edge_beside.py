"""A SIP edge in the test's own loop: what a stack in its own process sends passes through it to SIPp, and back."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from engine.edge.admission import Admission
from engine.edge.edge import Edge
from engine.edge.flows import UdpSocket, Ways
from engine.edge.resolver import Resolver
from engine.messages.commands import TrunkAccount
from engine.messages.link import FORGET, KEEP, Link
from engine.messages.settings import StackSettings
from tests.engine import samples

if TYPE_CHECKING:
    from engine.pjsip.stack import SipStack

_HOST: Final = "127.0.0.1"
_PLACE: Final = 0
_LARGEST: Final = 65_536
_NOT_SIP: Final = (KEEP, FORGET)


def trunk_to(uri: str) -> TrunkAccount:
    """The trunk that the edge and the stack know by the same name."""
    return samples.trunk(name="tests", uri=uri).account


@asynccontextmanager
async def edge_beside(uri: str) -> AsyncIterator[socket.socket]:
    """The stack's end of a link to an edge at 127.0.0.1, whose only trunk leads to ``uri``."""
    account = trunk_to(uri)
    edge: Edge
    admission = Admission(["127.0.0.0/8"])
    udp = UdpSocket(_HOST, 0, "", admission, lambda flow, data: edge.received(flow, data))
    resolver = Resolver.of_machine()
    ways = Ways(
        [udp],
        resolver,
        admission,
        public_address="",
        bind=_HOST,
        port=udp.port,
        listens=False,
        received=lambda flow, data: edge.received(flow, data),
        lost=lambda flow, error: edge.flow_lost(flow, error),
    )
    edge = Edge({account.name: account}, ways)
    await udp.start()
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Link(near, lambda place, message: edge.from_link(link, place, message), lambda: None)
    try:
        yield far
    finally:
        far.close()
        link.close()
        await edge.idle(1.0)
        await resolver.close()
        assert udp._transport
        udp._transport.close()


class StackOnLink:
    """In the stack's process: ``poll`` also takes in what came over the link."""

    def __init__(self, descriptor: int) -> None:
        from engine.pjsip.stack import SipStack

        self.link = socket.socket(fileno=descriptor)
        self.link.setblocking(False)
        self.stack: SipStack = SipStack(StackSettings(bind=_HOST), link=self._send)

    def poll(self) -> None:
        while True:
            try:
                datagram = self.link.recv(_LARGEST)
            except BlockingIOError:
                break
            if not datagram:
                break
            if datagram[0] not in _NOT_SIP:
                self.stack.receive(datagram[1:])
        self.stack.poll()

    def _send(self, message: bytes) -> None:
        self.link.send(bytes([_PLACE]) + message)
