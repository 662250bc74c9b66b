"""A name server on loopback, by UDP and TCP on one port, that answers from a small zone and can misbehave."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class NameServer:
    """``zone`` holds texts of records by name and type. A name without any is NXDOMAIN.

    ``silent_about`` are names and types that are never answered.
    """

    zone: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    ttl_s: int = 300
    negative_ttl_s: int = 30
    silent: bool = False
    silent_about: set[str] = field(default_factory=set)
    rcode: dns.rcode.Rcode | None = None
    delay_s: float = 0.0
    truncate: bool = False
    forge: bool = False
    garbage: bool = False
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_tcp: int = 0
    address: tuple[str, int] = ("127.0.0.1", 0)

    def answer(self, wire: bytes, *, tcp: bool = False) -> list[bytes]:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True).lower()
        self.asked[name, kind] += 1
        self.by_tcp += tcp
        if self.silent or {kind, name} & self.silent_about:
            return []
        if self.garbage:
            return [b"\x00", wire[:2] + b"\xff" * 40]
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if self.rcode is not None:
            response.set_rcode(self.rcode)
        elif self.truncate and not tcp:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, kind)
        replies = [response.to_wire()]
        if self.forge:
            replies.insert(0, struct.pack("!H", query.id ^ 1) + replies[0][2:])
        return replies

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        while True:
            if records := self.zone.get((name, kind)):
                response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl_s, "IN", kind, *records))
                return
            alias = self.zone.get((name, "CNAME"))
            if not alias or len(response.answer) > 20:
                break
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl_s, "IN", "CNAME", *alias))
            name = alias[0].removesuffix(".").lower()
        authority = f"ns.invalid. host.invalid. 1 3600 600 86400 {self.negative_ttl_s}"
        zone = name.rpartition(".")[2] + "."
        response.authority.append(dns.rrset.from_text(zone, self.negative_ttl_s, "IN", "SOA", authority))
        if not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for reply in self._server.answer(data):
            asyncio.get_running_loop().call_later(self._server.delay_s, self._send, reply, addr)

    def _send(self, reply: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    server = NameServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        for reply in server.answer(await reader.readexactly(length), tcp=True):
            writer.write(struct.pack("!H", len(reply)) + reply)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    transport, streams = await _one_port(server, serve)
    server.address = transport.get_extra_info("sockname")
    try:
        yield server
    finally:
        transport.close()
        streams.close()
        await streams.wait_closed()


async def _one_port(server: NameServer, serve: _Serve) -> tuple[asyncio.DatagramTransport, asyncio.Server]:
    """A UDP and a TCP socket on one port: somebody else may have the TCP port to a free UDP port."""
    for attempts_left in range(20, -1, -1):
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(server), local_addr=("127.0.0.1", 0)
        )
        try:
            return transport, await asyncio.start_server(serve, *transport.get_extra_info("sockname"))
        except OSError:
            transport.close()
            if not attempts_left:
                raise
    raise AssertionError("unreachable")
