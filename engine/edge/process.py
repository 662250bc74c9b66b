"""The edge process: makes the sockets, takes in the links of our processes, and outlives all of them by their BYEs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import socket
from typing import Final

import uvloop

from engine.edge.admission import Admission
from engine.edge.common import Unreached
from engine.edge.edge import Edge
from engine.edge.flows import Connection, UdpSocket, Ways
from engine.edge.resolver import Resolver
from engine.log import set_up_logging
from engine.messages.edge import EdgeFailed, EdgeReady, EdgeSettings
from engine.messages.events import Alive
from engine.messages.link import HELLO, KEEP, Link
from engine.messages.link_listener import take_links
from engine.messages.pipe import Pipe, open_pipe

log = logging.getLogger("trunkline.edge")

_BEAT_S: Final = 1.0
_LAST_WORDS_S: Final = 12.0
_PORT_S, _PORT_PAUSE_S = 14.0, 0.2
_RESOLVE_AGAIN_S: Final = 60.0


class EdgeProcess:
    """Serves until the control process is gone and every process of ours has left."""

    def __init__(self, settings: EdgeSettings) -> None:
        self._settings = settings
        self._links: set[Link] = set()
        self._closing = asyncio.Event()
        self._alone = asyncio.Event()
        self._admission = Admission(settings.allow_from)
        self._pipe: Pipe | None = None

    async def serve(self, end: socket.socket) -> None:
        settings = self._settings
        self._pipe = await open_pipe(end, lambda _: None, self._closing.set)
        try:
            sockets, listener = await self._listen()
        except OSError as error:
            where, why = f"{settings.bind}:{settings.port}", error.strerror or error
            self._pipe.send(EdgeFailed(why=f"SIP cannot start on {where}: {why} (sip.bind, sip.port)."))
            self._pipe.close()
            return
        resolver = Resolver.of_machine()
        ways = Ways(
            sockets,
            resolver,
            self._admission,
            public_address=settings.public_address,
            bind=settings.bind,
            port=sockets[0].port,
            listens=listener is not None,
            received=lambda flow, data: self._edge.received(flow, data),
            lost=lambda flow, error: self._edge.flow_lost(flow, error),
        )
        self._edge = Edge({trunk.name: trunk for trunk in settings.trunks}, ways)
        self._ways = ways
        for one in sockets:
            self._admission.guard(one.socket)
            await one.start()
        loop = asyncio.get_running_loop()
        if listener is not None:
            await loop.create_server(ways.accepted, sock=listener)
        take_links(settings.link, self._attached)
        learning = asyncio.create_task(self._learn_trunks())
        self._pipe.send(EdgeReady(port=sockets[0].port))
        beating = asyncio.create_task(self._beat())
        await self._closing.wait()
        ends_at_s = loop.time() + _LAST_WORDS_S
        if self._links:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._alone.wait(), ends_at_s - loop.time())
        await self._edge.idle(max(0.0, ends_at_s - loop.time()))
        for task in (learning, beating):
            task.cancel()

    async def _listen(self) -> tuple[list[UdpSocket], socket.socket | None]:
        """Bind the sockets. A port that is taken is waited for: the edge of an engine that died may still hang up its
        calls. Raises ``OSError``."""
        loop = asyncio.get_running_loop()
        ends_at_s = loop.time() + _PORT_S
        while True:
            sockets: list[UdpSocket] = []
            try:
                sockets = self._sockets()
                return sockets, self._tcp_listener(sockets[0].port)
            except OSError as error:
                for one in sockets:
                    one.socket.close()
                if error.errno != errno.EADDRINUSE or loop.time() > ends_at_s:
                    raise
            await asyncio.sleep(_PORT_PAUSE_S)

    def _sockets(self) -> list[UdpSocket]:
        settings = self._settings
        first = UdpSocket(
            settings.bind,
            settings.port,
            settings.public_address,
            self._admission,
            lambda f, d: self._edge.received(f, d),
        )
        sockets = [first]
        if settings.bind == "0.0.0.0" and socket.has_ipv6:
            try:
                sockets.append(UdpSocket("::", first.port, "", self._admission, lambda f, d: self._edge.received(f, d)))
            except OSError as error:
                log.info("no SIP over IPv6: %s", error)
        for one in sockets:
            _mark(one.socket, settings.dscp)
        return sockets

    def _tcp_listener(self, port: int) -> socket.socket | None:
        """Only where a trunk speaks TCP: nobody else has anything to connect for."""
        uris = [uri for trunk in self._settings.trunks for uri in (trunk.uri, trunk.registrar, *trunk.outbound_proxy)]
        if not any("transport=tcp" in uri.lower() for uri in uris):
            return None
        family = socket.AF_INET6 if ":" in self._settings.bind else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._settings.bind, port))
            listener.listen(64)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        return listener

    async def _learn_trunks(self) -> None:
        """Admit the addresses of the trunks' names, and ask again now and then."""
        while True:
            for trunk in self._settings.trunks:
                for uri in dict.fromkeys((*trunk.outbound_proxy, trunk.registrar, trunk.uri)):
                    if uri:
                        try:
                            for target in await self._ways.targets(uri, trunk):
                                self._admission.admit(target.address)
                        except Unreached as error:
                            log.info("%s", error, extra={"trunk": trunk.name})
            await asyncio.sleep(_RESOLVE_AGAIN_S)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            self._edge.sweep()
            self._ways.sweep(self._edge.flows)
            self._admission.report()
            if self._pipe is not None:
                self._pipe.send(Alive())

    # -- our processes -------------------------------------------------------------------------------------------------

    def _attached(self, end: socket.socket) -> None:
        link: Link

        def hear(kind: int, payload: bytes) -> None:
            self._hear(link, kind, payload)

        link = Link(end, hear, lambda: self._closed(link))
        self._links.add(link)
        self._alone.clear()

    def _hear(self, link: Link, kind: int, payload: bytes) -> None:
        if kind == HELLO:
            log.debug("%s attaches", payload.decode(errors="replace"))
        elif kind == KEEP:
            try:
                self._edge.restore(link, json.loads(payload))
            except (ValueError, LookupError, TypeError, AttributeError):
                log.exception("a process gave back a dialog that cannot be read")
        else:
            self._edge.from_link(link, kind, payload)

    def _closed(self, link: Link) -> None:
        self._links.discard(link)
        if not self._links:
            self._alone.set()
        self._edge.link_closed(link)


def _mark(sock: socket.socket, dscp: int) -> None:
    """DiffServ (RFC 2474 §3)."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


async def _serve(end: socket.socket, settings: EdgeSettings) -> None:
    await EdgeProcess(settings).serve(end)


def prepare(lines: int) -> None:
    """Nothing is made before the fork."""


def main(end: socket.socket, settings: EdgeSettings) -> None:
    """The process, from fork to exit."""
    set_up_logging(settings.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(end, settings))


__all__ = ["Connection", "main"]
