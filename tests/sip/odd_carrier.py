"""A far end that answers with any text: the scripted side of the calls in ``test_odd_carriers``.

It speaks SIP over UDP and TCP on one port, one script a call, chosen by the number that was dialled. It keeps what it
got, and by which transport. Its RTP is made packet by packet.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Self, TypeAlias, cast

from tests.sip.messages import SipMessage
from tests.sip.process import wait_until
from tests.sip.rtp import FRAME_S, SAMPLES, Address, RtpPacket

Script: TypeAlias = "Callable[[FarCall], Awaitable[None]]"
Frames: TypeAlias = Callable[[int], Iterable[bytes]]
"""The packets of the n-th 20 ms of a stream."""

CONTACT: Final = "<sip:callee@127.0.0.1:{sip}>"
SDP: Final = (
    "v=0|o=carrier 1 1 IN IP4 127.0.0.1|s=-|c=IN IP4 127.0.0.1|t=0 0|m=audio {rtp} RTP/AVP 0 101|"
    "a=rtpmap:0 PCMU/8000|a=rtpmap:101 telephone-event/8000|a=fmtp:101 0-15|a=ptime:20|"
)
"""An answer; ``|`` stands for CRLF."""
_BRANCHES = itertools.count(1)


class Rtp(asyncio.DatagramProtocol):
    """A port of a call's media: everything that arrived, and a stream that is sent."""

    def __init__(self) -> None:
        self.packets: list[RtpPacket] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._streaming: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, address: str = "127.0.0.1") -> Rtp:
        _, rtp = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=(address, 0))
        return rtp

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if len(data) >= 12 and not 64 <= data[1] & 0x7F <= 95:  # RTCP (RFC 5761 §4)
            self.packets.append(RtpPacket.parse(data, source=addr, arrived_s=time.monotonic()))

    @property
    def port(self) -> int:
        assert self._transport is not None
        return int(self._transport.get_extra_info("sockname")[1])

    def send(self, data: bytes, to: Address) -> None:
        assert self._transport is not None
        self._transport.sendto(data, to)

    def stream(self, frames: Frames, to: Address) -> None:
        """Send ``frames`` in place of what was sent, until closed."""
        self.silence()
        self._streaming = asyncio.create_task(self._stream(frames, to))

    def silence(self) -> None:
        if self._streaming is not None:
            self._streaming.cancel()

    def close(self) -> None:
        self.silence()
        if self._transport is not None:
            self._transport.close()

    async def _stream(self, frames: Frames, to: Address) -> None:
        began_s = time.monotonic()
        for index in itertools.count():
            for packet in frames(index):
                self.send(packet, to)
            await asyncio.sleep(max(0.0, began_s + (index + 1) * FRAME_S - time.monotonic()))


class FarCall:
    """One call at the far end.

    Texts may hold ``{sip}`` and ``{rtp}``, its ports, and ``{other}``, a second media port.
    """

    def __init__(self, carrier: OddCarrier, invite: SipMessage, sender: _Sender, rtp: Rtp, other: Rtp) -> None:
        self.carrier = carrier
        self.invite = invite
        self.received: list[SipMessage] = []
        self.transports: list[str] = []
        """By which transport each of ``received`` came."""
        self.sender = sender
        self.rtp, self.other = rtp, other
        self.frames: Frames | None = None
        """Sent with the first SDP, and on."""
        self.answers: dict[str, str] = {"BYE": "200 OK", "CANCEL": "200 OK"}
        """What a request gets at once, by method: fields follow a ``|``, what the next one gets follows ``|then|``."""
        self.tag = "far-end"
        self._cseq = 100
        self._sent: dict[tuple[str, str], list[bytes]] = {}

    def fill(self, text: str) -> str:
        ports = {"{sip}": self.carrier.port, "{rtp}": self.rtp.port, "{other}": self.other.port}
        for name, port in ports.items():
            text = text.replace(name, str(port))
        return text

    def close(self) -> None:
        """Give its media ports back."""
        self.rtp.close()
        self.other.close()

    # -- what came -----------------------------------------------------------------------------------------------------

    def requests(self, method: str) -> list[SipMessage]:
        """Each once, in order; retransmissions are left out."""
        found = [one for one in self.received if not one.status and one.method == method]
        return list({(one.header("Via"), one.header("CSeq")): one for one in found}.values())

    async def wait_for(self, method: str, *, count: int = 1, within_s: float = 10) -> list[SipMessage]:
        """So many requests of that method."""
        await wait_until(lambda: len(self.requests(method)) >= count, f"{count} {method}", within_s=within_s)
        return self.requests(method)

    async def response_to(self, request: str, *, within_s: float = 10) -> SipMessage:
        """The final response to a request of ours, by its CSeq."""

        def final() -> list[SipMessage]:
            return [one for one in self.received if one.status >= 200 and one.header("CSeq") == request]

        await wait_until(lambda: bool(final()), f"a response to {request}", within_s=within_s)
        return final()[0]

    def transport_of(self, method: str) -> str:
        """By which transport the last request of that method came."""
        pairs = zip(self.received, self.transports, strict=True)
        return [transport for one, transport in pairs if not one.status and one.method == method][-1]

    @property
    def media(self) -> Address:
        """Where our side listens for RTP."""
        sdp = next(one for one in reversed(self.received) if "m=audio" in one.body).sdp
        return sdp.address, sdp.port

    # -- what is sent --------------------------------------------------------------------------------------------------

    def respond(
        self,
        status: str,
        *headers: str,
        body: str | bytes = "",
        kind: str = "application/sdp",
        contact: str = CONTACT,
        to: SipMessage | None = None,
        tag: str | None = None,
        mangle: Callable[[str], str] = str,
    ) -> None:
        """Send a response, to the last INVITE unless ``to`` another request. ``mangle`` changes its finished header."""
        request = to or self.invite
        tag = self.tag if tag is None else tag
        said_to = request.header("To") or ""
        lines = [f"SIP/2.0 {status}", *(f"Via: {via}" for via in request.all("Via"))]
        lines += [f"From: {request.header('From')}", said_to_line(said_to, tag)]
        lines += [f"Call-ID: {request.call_id}", f"CSeq: {request.header('CSeq')}"]
        lines += [f"Contact: {contact}"] if contact and request.method in ("INVITE", "UPDATE", "REGISTER") else []
        self._send(lines, headers, body, kind, mangle, key=(request.header("Via") or "", request.method))
        if body and self.frames is not None:
            frames, self.frames = self.frames, None
            self.rtp.stream(frames, self.media)

    def request(
        self,
        method: str,
        *headers: str,
        body: str | bytes = "",
        kind: str = "application/sdp",
        contact: str = CONTACT,
        cseq: int | None = None,
    ) -> str:
        """Send a request inside the dialog; its CSeq."""
        if cseq is None:
            self._cseq += 1
            cseq = self._cseq
        ours = re.findall("<([^>]*)>", self.invite.header("Contact") or "")[0]
        via = f"SIP/2.0/{self.sender.transport.upper()} 127.0.0.1:{self.carrier.port}"
        lines = [
            f"{method} {ours} SIP/2.0",
            f"Via: {via};rport;branch=z9hG4bK{next(_BRANCHES)}",
            "Max-Forwards: 70",
            said_to_line(self.invite.header("To") or "", self.tag, name="From"),
            f"To: {self.invite.header('From')}",
            f"Call-ID: {self.invite.call_id}",
            f"CSeq: {cseq} {method}",
        ]
        lines += [f"Contact: {contact}"] if method in ("INVITE", "UPDATE") else []
        self._send(lines, headers, body, kind, str)
        return f"{cseq} {method}"

    async def reinvite(self, *headers: str, body: str = SDP, contact: str = CONTACT) -> SipMessage:
        """A re-INVITE with its ACK; the final response."""
        cseq = self.request("INVITE", *headers, body=body, contact=contact)
        response = await self.response_to(cseq)
        self.request("ACK", cseq=int(cseq.split()[0]))
        return response

    def _send(
        self,
        lines: Iterable[str],
        headers: Iterable[str],
        body: str | bytes,
        kind: str,
        mangle: Callable[[str], str],
        *,
        key: tuple[str, str] | None = None,
    ) -> None:
        content = self.fill(body).replace("|", "\r\n").encode() if isinstance(body, str) else body
        all_lines = [*lines, *headers]
        all_lines += [f"Content-Type: {kind}"] if content else []
        head = mangle(self.fill("\r\n".join([*all_lines, f"Content-Length: {len(content)}"])))
        data = f"{head}\r\n\r\n".encode("utf-8", "surrogateescape") + content
        if key is not None:
            self._sent.setdefault(key, []).append(data)
        self.sender.send(data)

    def repeat(self, request: SipMessage) -> bool:
        """Answer a retransmission as before; False for a new request."""
        sent = self._sent.get((request.header("Via") or "", request.method))
        if sent:
            self.sender.send(sent[-1])
        return bool(sent)


def said_to_line(address: str, tag: str, *, name: str = "To") -> str:
    has = ";tag=" in address.rpartition(">")[2]
    return f"{name}: {address}" if has or not tag else f"{name}: {address};tag={tag}"


class _Sender:
    """The way back to whoever sent."""

    def __init__(self, transport: str, send: Callable[[bytes], None], source: Address) -> None:
        self.transport, self.send, self.source = transport, send, source


class OddCarrier:
    """The far end; a context manager."""

    def __init__(
        self, scripts: Mapping[str, Script] | None = None, frames: Mapping[str, Frames | None] | None = None
    ) -> None:
        self.scripts = dict(scripts or {})
        """By the number that is dialled; so are ``frames``, what a call sends as RTP."""
        self.frames = dict(frames or {})
        self.calls: dict[str, FarCall] = {}
        """By number."""
        self.registrations: list[tuple[SipMessage, Address]] = []
        self.on_register: Callable[[SipMessage], Sequence[str]] = lambda request: ("200 OK",)
        """The status line and fields that a REGISTER gets."""
        self.sources: dict[str, Address] = {}
        """Where the first INVITE to a number came from."""
        self.connections = 0
        """How many were made over TCP."""
        self._by_call_id: dict[str, FarCall] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", self.port))
        udp.setblocking(False)
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self._datagram), sock=udp)
        return self

    async def __aexit__(self, *failure: object) -> None:
        for task in self._running.values():
            task.cancel()
        self._udp.close()
        self._server.close()
        for writer in self._writers:
            writer.close()
        for call in self.calls.values():
            call.close()

    @property
    def uri(self) -> str:
        return f"sip:127.0.0.1:{self.port}"

    async def call(self, number: str, *, within_s: float = 10) -> FarCall:
        """The call to that number, once its INVITE is here."""
        await wait_until(lambda: number in self.calls, f"an INVITE to {number}", within_s=within_s)
        return self.calls[number]

    async def played(self, number: str, *, within_s: float = 20) -> None:
        """Wait for the script's end; raises what it raised."""
        await asyncio.wait_for(asyncio.shield(self._running[number]), within_s)

    def _datagram(self, data: bytes, source: Address) -> None:
        self._received(data, _Sender("udp", lambda answer: self._udp.sendto(answer, source), source))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        sender = _Sender("tcp", writer.write, writer.get_extra_info("peername"))
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lstrip(b"\r\n")
                if head:
                    length = re.search(rb"(?i)content-length: *(\d+)", head)
                    body = await reader.readexactly(int(length.group(1)) if length else 0)
                    self._received(head + body, sender)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _received(self, data: bytes, sender: _Sender) -> None:
        if not data.strip():
            return
        message = SipMessage.parse(data.decode("utf-8", "replace"), at=datetime.now(UTC), received=True)
        if message.method == "REGISTER" and not message.status:
            self._register(message, sender)
            return
        call = self._by_call_id.get(message.call_id)
        if call is None:
            number = _number(message)
            if message.method == "INVITE" and not message.status and number not in self._running:
                self._running[number] = asyncio.ensure_future(self._begin(number, message, sender))
            return
        self._take(call, message, sender)

    def _take(self, call: FarCall, message: SipMessage, sender: _Sender) -> None:
        call.received.append(message)
        call.transports.append(sender.transport)
        if message.status or message.method == "ACK":
            return
        if call.repeat(message):
            return
        if message.method == "INVITE":
            call.invite, call.sender = message, sender
        elif status := call.answers.get(message.method):
            now, then, rest = status.partition("|then|")
            call.answers[message.method] = rest if then else status
            before, call.sender = call.sender, sender
            call.respond(*now.split("|"), to=message)
            call.sender = before

    async def _begin(self, number: str, invite: SipMessage, sender: _Sender) -> None:
        call = FarCall(self, invite, sender, await Rtp.open(), await Rtp.open())
        call.frames = self.frames.get(number)
        self.calls[number] = self._by_call_id[invite.call_id] = call
        self.sources[number] = sender.source
        call.received.append(invite)
        call.transports.append(sender.transport)
        await self.scripts[number](call)

    def _register(self, request: SipMessage, sender: _Sender) -> None:
        self.registrations.append((request, sender.source))
        status, *fields = self.on_register(request)
        lines = [f"SIP/2.0 {status}", *(f"Via: {via}" for via in request.all("Via"))]
        lines += [f"From: {request.header('From')}", said_to_line(request.header("To") or "", "registrar")]
        lines += [f"Call-ID: {request.call_id}", f"CSeq: {request.header('CSeq')}", *fields, "Content-Length: 0"]
        sender.send("\r\n".join([*lines, "", ""]).encode())


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, Address], None]) -> None:
        self.datagram_received = received  # type: ignore[method-assign, assignment]


def _number(invite: SipMessage) -> str:
    return (invite.header("To") or "").partition("sip:")[2].partition("@")[0].partition(";")[0]


def packet(
    index: int,
    payload: bytes,
    *,
    payload_type: int = 0,
    sequence: int | None = None,
    timestamp: int | None = None,
    marker: bool = False,
    ssrc: int = 7,
    flags: int = 0,
    extra: bytes = b"",
    padding: bytes = b"",
) -> bytes:
    """An RTP packet; by default the ``index``-th of a stream. ``flags`` is X, P and CC of the first byte."""
    sequence = index if sequence is None else sequence
    timestamp = SAMPLES * index if timestamp is None else timestamp
    return (
        bytes([0x80 | flags, payload_type | (0x80 if marker else 0)])
        + (sequence & 0xFFFF).to_bytes(2, "big")
        + (timestamp & 0xFFFFFFFF).to_bytes(4, "big")
        + ssrc.to_bytes(4, "big")
        + extra
        + payload
        + padding
    )
