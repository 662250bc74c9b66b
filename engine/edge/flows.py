"""The edge's sockets: one UDP socket, connections over TCP and TLS, and the ways to trunks that they make."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Collection
from typing import Any, Final, cast

from engine.edge.admission import Admission
from engine.edge.common import Unreached
from engine.edge.dialogs import Flow
from engine.edge.resolver import NameUnresolved, Resolver
from engine.edge.targets import Target, Targets, Transport
from engine.edge.tls import context_for, refusal_of, wrong_name
from engine.messages.commands import TlsSettings, TrunkAccount
from engine.sip.framer import Framer
from engine.sip.syntax import Malformed
from engine.sip.uri import RemoteUri

log = logging.getLogger("trunkline.edge")

_CONNECT_S: Final = 4.0
_PING_S: Final = 25.0
"""Between two keep-alives on a connection (RFC 5626 §4.4.1): less than a NAT forgets it in."""
_MOST_UNSENT: Final = 1 << 20
_MOST_INBOUND: Final = 64
_MOST_OF_A_PEER: Final = 16
_INBOUND_IDLE_S: Final = 60.0
_MOST_CONNECTIONS: Final = 256
_IDLE_S: Final = 900.0
_DEAD_MS: Final = 10_000
"""How long what is sent may stay unacknowledged before a connection counts as dead (TCP_USER_TIMEOUT, tcp(7))."""
_PING, _PONG = b"\r\n\r\n", b"\r\n"

Received = Callable[[Flow, bytes], None]


class UdpFlow:
    """Our UDP socket and one peer's address."""

    __slots__ = ("_socket", "local", "peer")
    transport: Final = "udp"
    is_open: Final = True

    def __init__(self, udp: UdpSocket, peer: tuple[str, int]) -> None:
        self._socket = udp
        self.peer = peer
        self.local = udp.local_for(peer[0])

    def send(self, data: bytes) -> None:
        self._socket.send(data, self.peer)

    def to_port(self, port: int) -> UdpFlow:
        return self if port == self.peer[1] else self._socket.flow_to((self.peer[0], port))


class UdpSocket(asyncio.DatagramProtocol):
    """The one UDP socket of an address family. What no admitted source sent is dropped unread."""

    def __init__(self, address: str, port: int, public_address: str, admission: Admission, received: Received) -> None:
        self._address, self._public_address = address, public_address
        self._admission = admission
        self._received = received
        self._transport: asyncio.DatagramTransport | None = None
        self._flows: dict[tuple[str, int], UdpFlow] = {}
        self._locals: dict[str, tuple[str, int]] = {}
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        if family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        self.socket.setblocking(False)
        try:
            self.socket.bind((address, port))
        except OSError:
            self.socket.close()
            raise
        self.port: int = self.socket.getsockname()[1]

    @property
    def family(self) -> int:
        return self.socket.family

    async def start(self) -> None:
        """Begin to receive."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=self.socket)

    def flow_to(self, peer: tuple[str, int]) -> UdpFlow:
        """The flow to a peer."""
        flow = self._flows.get(peer)
        if flow is None:
            if len(self._flows) > 4096:
                self._flows.clear()
            flow = self._flows[peer] = UdpFlow(self, peer)
        return flow

    def local_for(self, peer: str) -> tuple[str, int]:
        """The address of ours that the peer sees."""
        if self._public_address:
            return self._public_address, self.port
        if not ipaddress.ip_address(self._address).is_unspecified:
            return self._address, self.port
        if peer not in self._locals:
            with socket.socket(self.socket.family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect((peer, 9))  # nothing is sent: the kernel picks the source address
                    address = probe.getsockname()[0]
                except OSError:
                    address = self._address
            if len(self._locals) > 1024:
                self._locals.clear()
            self._locals[peer] = (address, self.port)
        return self._locals[peer]

    def send(self, data: bytes, peer: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, peer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if not self._admission.admits(addr[0]):
            return
        if len(data) <= 4 and not data.strip(b"\r\n\0"):
            return  # a keep-alive
        self._received(self.flow_to((addr[0], addr[1])), data)

    def error_received(self, exc: Exception) -> None:
        log.debug("the SIP socket: %s", exc)


class Connection(asyncio.Protocol):
    """One connection over TCP or TLS, which both sides send requests on (RFC 5923)."""

    def __init__(
        self,
        transport: str,
        local: tuple[str, int] | None,
        received: Received,
        ended: Callable[[Connection, Exception | None], None],
        listens_on: int = 0,
    ):
        self.transport = transport
        self._local = local
        self._listens_on = listens_on
        self._received = received
        self._ended = ended
        self._framer = Framer()
        self._wire: asyncio.Transport | None = None
        self._peer = ("", 0)
        self._own = ("127.0.0.1", 0)
        self._pinging: asyncio.TimerHandle | None = None
        self.heard_at_s = 0.0
        self.spoke_at_s = 0.0
        """When a message was sent or received last."""

    @property
    def peer(self) -> tuple[str, int]:
        return self._peer

    @property
    def local(self) -> tuple[str, int]:
        if self._local is not None:
            return self._local
        return self._own

    @property
    def is_open(self) -> bool:
        return self._wire is not None and not self._wire.is_closing()

    def send(self, data: bytes) -> None:
        if self._wire is None or self._wire.is_closing():
            return
        if self._wire.get_write_buffer_size() > _MOST_UNSENT:
            log.warning("a connection does not take what is sent; it is closed", extra={"peer": self._peer[0]})
            self._wire.abort()
            return
        if data != _PING and data != _PONG:
            self.spoke_at_s = asyncio.get_running_loop().time()
        self._wire.write(data)

    def to_port(self, port: int) -> Connection:
        return self

    def close(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.close()

    @property
    def certificate(self) -> dict[str, Any]:
        """The peer's, as ``ssl`` reads it; empty without TLS."""
        tls = self._wire.get_extra_info("ssl_object") if self._wire is not None else None
        return dict(tls.getpeercert() or {}) if tls is not None else {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = (peer[0], peer[1])
        own = transport.get_extra_info("sockname")
        # A connection over TLS is made by us alone; over TCP the far end may make one to the port that we listen on.
        self._own = (own[0], self._listens_on or own[1])
        if (wire := transport.get_extra_info("socket")) is not None:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS)
        self.heard_at_s = asyncio.get_running_loop().time()
        self._ping()

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._framer.feed(data)
        except Malformed as error:
            log.info("a connection sends what is no SIP: %s; it is closed", error, extra={"peer": self._peer[0]})
            self.close()
            return
        pings = self._framer.take_pings()
        if pings:
            self.send(_PONG)
        if pings or messages:  # part of a message keeps nothing open
            self.heard_at_s = asyncio.get_running_loop().time()
        self.spoke_at_s = self.heard_at_s if messages else self.spoke_at_s
        for message in messages:
            self._received(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire = None
        if self._pinging is not None:
            self._pinging.cancel()
        self._ended(self, exc)

    def _ping(self) -> None:
        self.send(_PING)
        self._pinging = asyncio.get_running_loop().call_later(_PING_S, self._ping)


class Ways:
    """The flows to trunks (``engine.edge.common.Ways``). A connection is shared by all that goes to one address of one
    trunk with one way of TLS."""

    def __init__(
        self,
        sockets: list[UdpSocket],
        resolver: Resolver,
        admission: Admission,
        *,
        public_address: str,
        bind: str,
        port: int,
        listens: bool,
        received: Received,
        lost: Callable[[Flow, Unreached], None],
    ) -> None:
        self._on_lost = lost
        self._failures = Targets()
        self._sockets = {one.family: one for one in sockets}
        self._resolver = resolver
        self._admission = admission
        self._received = received
        self._public_address = public_address
        self._bind = bind
        self._port = port
        self._listens = listens
        self._connections: dict[tuple[str, str, int, TlsSettings | None, str], asyncio.Future[Connection]] = {}
        self._inbound: set[Connection] = set()

    async def targets(self, uri: str, trunk: TrunkAccount) -> list[Target]:
        try:
            parsed = RemoteUri.parse(uri)
            transport = parsed.transport
            if transport not in ("udp", "tcp", "tls"):
                raise Unreached("uri", f"{parsed.host} asks for a transport that is not spoken here.")
            found = await self._resolver.resolve(
                parsed.host,
                port=parsed.port,
                transport=cast(Transport, transport),
                secure=parsed.scheme == "sips",
            )
        except NameUnresolved as error:
            raise Unreached(
                "name", f"{error}", "Check the name in the trunk's uri, registrar and outbound_proxy, and the DNS."
            ) from None
        except ValueError as error:
            # The URI stays out of the sentence: it names a person.
            raise Unreached("uri", f"A request was to go to a URI that cannot be dialled. {error}") from None
        return self._failures.in_order(found)

    async def open(self, target: Target, trunk: TrunkAccount) -> Flow:
        self._admission.admit_hop(target.address)
        if target.transport == "udp":
            family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
            if (udp := self._sockets.get(family)) is None:
                raise Unreached("connect", f"No socket of ours reaches {target.address}.", "Check sip.bind.")
            return udp.flow_to((target.address, target.port))
        tls = trunk.tls if target.transport == "tls" else None
        key = (target.transport, target.address, target.port, tls, target.host)
        connecting = self._connections.get(key)
        if connecting is not None and connecting.done():
            lost = connecting.cancelled() or connecting.exception() is not None or not connecting.result().is_open
            connecting = None if lost else connecting
        if connecting is None:
            if len(self._connections) >= _MOST_CONNECTIONS:
                raise Unreached("connect", f"{_MOST_CONNECTIONS} connections to trunks are open already.")
            connecting = self._connections[key] = asyncio.ensure_future(self._connect(target, tls))
            connecting.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(connecting)

    def failed(self, target: Target) -> None:
        self._failures.failed(target)

    def answered(self, target: Target) -> None:
        self._failures.answered(target)

    def accepted(self) -> asyncio.Protocol:
        """The protocol of a connection that a far end makes to us."""
        return _Inbound(self._admission, self._received, self._inbound, (self._public_address, self._port))

    def sweep(self, in_use: Collection[Flow] = ()) -> None:
        """Close the connections made to us that say nothing, and those made by us that are not ``in_use`` and carried
        nothing for a while."""
        now_s = asyncio.get_running_loop().time()
        for connection in list(self._inbound):
            if now_s - connection.heard_at_s > _INBOUND_IDLE_S:
                connection.close()
        for key, connecting in list(self._connections.items()):
            if not connecting.done():
                continue
            if connecting.cancelled() or connecting.exception() is not None or not connecting.result().is_open:
                del self._connections[key]
            elif now_s - connecting.result().spoke_at_s > _IDLE_S and connecting.result() not in in_use:
                connecting.result().close()

    def _lost(self, connection: Connection, error: Exception | None) -> None:
        """A connection that we made ended, by the trunk or the network."""
        if isinstance(error, ssl.SSLError):
            why = refusal_of(error)
        else:
            why = Unreached(
                "connect", "The trunk closed the connection.", "Ask the carrier, or check tls of the trunk."
            )
        log.info("a connection to a trunk ended: %s", why, extra={"peer": connection.peer[0]})
        self._on_lost(connection, why)

    async def _connect(self, target: Target, tls: TlsSettings | None) -> Connection:
        loop = asyncio.get_running_loop()
        local = (self._public_address, self._port) if self._public_address and tls is None else None
        source = None if ipaddress.ip_address(self._bind).is_unspecified else (self._bind, 0)
        if source is not None and (":" in source[0]) != (":" in target.address):
            source = None
        name = target.host if tls is not None else None
        where = f"The trunk at {target.address}:{target.port} over {target.transport.upper()}"
        try:
            context = context_for(tls) if tls is not None else None
            async with asyncio.timeout(_CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: Connection(
                        target.transport,
                        local,
                        self._received,
                        self._lost,
                        self._port if self._listens and tls is None else 0,
                    ),
                    target.address,
                    target.port,
                    ssl=context,
                    server_hostname=name,
                    local_addr=source,
                )
        except ssl.SSLError as error:
            raise refusal_of(error) from None
        except TimeoutError:
            raise Unreached("connect", f"{where} does not answer.", "Check the firewall and the route to it.") from None
        except OSError as error:
            raise Unreached("connect", f"{where} cannot be reached: {error.strerror or error}.") from None
        if tls is not None and (wrong := wrong_name(connection.certificate, target.host, tls)) is not None:
            connection.close()
            raise wrong
        return connection


class _Inbound(Connection):
    """A connection that a far end made: it is admitted first, and closed when it says nothing for a while."""

    def __init__(
        self, admission: Admission, received: Received, group: set[Connection], local: tuple[str, int]
    ) -> None:
        super().__init__("tcp", local if local[0] else None, received, lambda gone, _: group.discard(gone))
        self._admission = admission
        self._group = group

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        of_peer = sum(one.peer[0] == peer[0] for one in self._group)
        if not self._admission.admits(peer[0]) or len(self._group) >= _MOST_INBOUND or of_peer >= _MOST_OF_A_PEER:
            cast(asyncio.Transport, transport).abort()
            return
        self._group.add(self)
        super().connection_made(transport)

    def _ping(self) -> None:
        """The far end keeps it alive, or lets it go."""
