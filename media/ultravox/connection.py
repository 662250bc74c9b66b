"""Runs an Ultravox session over a WebSocket: one asyncio transport, no task, no queue that is not bounded.

The join URL is the credential of the session. It is in no log line, no error and no ``repr`` here, and the websockets
library, which logs request lines at DEBUG, is given a logger that says nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, InvalidURI
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from media.errors import AgentUnreachable
from media.ultravox.frames import AudioFrames, FrameSplitter
from media.ultravox.messages import ClientToolResult, dump
from media.ultravox.session import Session, SessionEvent
from media.ultravox.transport import look_up, reach, why
from media.uplink import Uplink

_MAX_MESSAGE = 8 * 2**20
"""Bytes of one message; thirty seconds of 48 kHz PCM in a single one are 2.9 MB."""
_MAX_TEXT = 256 * 2**10
"""Bytes of one text message: what can be parsed between two ticks."""
_BITE = 16 * 2**10
"""Bytes taken from the socket before the loop gets its turn again, however fast a reply arrives."""
_KERNEL_BYTES = 32 * 2**10
_WRITE_HIGH, _WRITE_LOW = 16 * 2**10, 4 * 2**10
"""How much of the caller's audio may wait below the uplink: what is late by seconds is worth nothing."""
_DEAD_MS = 10_000
_CLOSE_S = 1.0
"""How long the far end has to finish once a close frame is on its way."""

_audio_frames = AudioFrames()
_SILENT = logging.Logger("websockets", logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """How a session's WebSocket ended.

    ``code`` is the first close frame's, ours or theirs, and 1006 when there was none (RFC 6455 §7.4.1). ``by_us``: ours
    was first, because ``close`` was called, or because the far end broke a rule that ``code`` and ``reason`` name.
    """

    code: int
    reason: str
    by_us: bool

    @property
    def clean(self) -> bool:
        """True for an orderly end; a service that fails says 1008 or 4xxx, or nothing at all."""
        return self.code in (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentStats:
    """PCM on the agent's WebSocket so far."""

    sent_bytes: int
    received_bytes: int
    dropped_frames: int
    """Caller audio thrown away, the oldest first, because the far end read too slowly."""


async def connect(
    join_url: str,
    *,
    on_audio: Callable[[bytes], None],
    on_event: Callable[[SessionEvent], None],
    on_closed: Callable[[Closed], None],
    tls: ssl.SSLContext,
    timeout_s: float = 5.0,
) -> AgentConnection:
    """Join a session. Raises ``AgentUnreachable``; then no callback is ever called.

    No callback is called before this has returned. ``on_audio`` gets PCM in pieces of any size, odd ones too.
    ``on_closed`` is called exactly once and last, when the socket is gone. ``tls`` is for wss; it is made ahead because
    making one takes many ticks. ``timeout_s`` is for TCP, TLS and the WebSocket together.
    """
    uri = _parse(join_url)
    connection = AgentConnection(uri, on_audio, on_event, on_closed)
    failure = "did not open"
    try:
        async with asyncio.timeout(timeout_s):
            addresses = await look_up(uri.host, uri.port)
            context = tls if uri.secure else None
            await reach(connection, addresses, tls=context, host=uri.host, timeout_s=timeout_s)
            failure = await connection._shake_hands()
    except OSError as error:
        failure = why(error)
    finally:
        if failure:
            connection._abort()
    if failure:  # raised out here, so that no foreign exception, which may quote the URL, hangs on it
        raise _unreachable(failure)
    return connection


class AgentConnection(asyncio.BufferedProtocol):
    """A joined session, made by ``connect``. No method blocks; after the end all of them do nothing."""

    def __init__(
        self,
        uri: WebSocketURI,
        on_audio: Callable[[bytes], None],
        on_event: Callable[[SessionEvent], None],
        on_closed: Callable[[Closed], None],
    ) -> None:
        self._on_audio = on_audio
        self._on_event = on_event
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._wire = ClientProtocol(uri, max_size=_MAX_MESSAGE, logger=_SILENT)
        self._session = Session()
        self._uplink = Uplink()
        self._frames = FrameSplitter(self._receive_audio, self._receive_other, _MAX_MESSAGE)
        self._bite = memoryview(bytearray(_BITE))  # a view: asyncio's TLS reads into slices of it
        self._text: bytearray | None = None
        """The text message that is being received."""
        # the transport
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._lost = False
        self._deadline: asyncio.TimerHandle | None = None
        # the opening: no callback before it is over
        self._answer = bytearray()
        self._ended = False
        self._answered = self._loop.create_future()
        self._joined = False
        # counters
        self._sent_bytes = 0
        self._received_bytes = 0

    def send_audio(self, pcm: bytes) -> None:
        """Send caller audio. To be called every 20 ms from joining to the end, with silence when there is nothing else.

        While the far end reads too slowly, audio waits in a bounded queue that drops the oldest.
        """
        if self._wire.state is not State.OPEN:
            return
        if self._paused:
            self._uplink.put(pcm)
            return
        self._sent_bytes += len(pcm)
        assert self._transport is not None
        self._transport.write(_audio_frames.frame(pcm))

    def send_text(self, text: str) -> None:
        """Send a data message (``messages.dump``). Not before ``SessionStarted``: it may be lost."""
        if self._wire.state is State.OPEN:
            self._wire.send_text(text.encode())
            self._send()

    def refuse_tool(self, invocation_id: str) -> None:
        """Answer a ``ToolInvoked``: there is no such tool here."""
        self.send_text(dump(ClientToolResult(invocation_id=invocation_id, error_type="undefined")))

    def close(self) -> None:
        """End the session (code 1000). What the far end still says within a second, or until its own close, is told."""
        if self._wire.state is State.OPEN:
            self._wire.send_close(CloseCode.NORMAL_CLOSURE)
            self._send()
            self._expect_end()

    def stats(self) -> AgentStats:
        """The counters as they stand, also after the end."""
        return AgentStats(
            sent_bytes=self._sent_bytes,
            received_bytes=self._received_bytes,
            dropped_frames=self._uplink.dropped_frames,
        )

    # -- opening -------------------------------------------------------------------------------------------------------

    async def _shake_hands(self) -> str:
        """Why the WebSocket did not open, or nothing."""
        self._wire.send_request(self._wire.connect())
        self._send()
        await self._answered
        match self._wire.handshake_exc:
            case None:
                self._loop.call_soon(self._join)
                return ""
            case InvalidStatus() as refusal:
                return f"was refused with HTTP status {refusal.response.status_code}"
            case _:
                return "did not answer as a WebSocket"

    def _join(self) -> None:
        self._joined = True
        self._frames.feed(bytes(self._answer))
        if self._ended:
            self._wire.receive_eof()
        self._advance()
        if self._lost:
            self._finish()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.BufferedProtocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_WRITE_HIGH, _WRITE_LOW)
        tcp: socket.socket = transport.get_extra_info("socket")
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        # Audio leaves every 20 ms, so a far end that is gone without a word is one that acknowledges nothing.
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._bite

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._bite[:nbytes])
        if self._joined:
            self._frames.feed(data)
        else:
            self._take_answer(data)
        if nbytes == _BITE and self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_soon(self._transport.resume_reading)
        self._advance()

    def _take_answer(self, data: bytes) -> None:
        """The library reads the response and no more: what follows is frames, told once ``connect`` has returned."""
        self._answer += data
        while self._wire.state is State.CONNECTING and self._answer:
            size = self._answer.find(b"\r\n\r\n") + 4
            size = size if size > 3 else len(self._answer)
            self._wire.receive_data(bytes(self._answer[:size]))
            del self._answer[:size]

    def eof_received(self) -> None:
        self._take_end()
        self._advance()

    def _take_end(self) -> None:
        self._ended = True
        if self._joined or self._wire.state is State.CONNECTING:
            self._wire.receive_eof()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while not self._paused and (frame := self._uplink.take()):
            self.send_audio(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_end()
        self._lost = True
        if self._deadline is not None:
            self._deadline.cancel()
        if self._joined:
            self._finish()
        else:
            self._advance()

    # -- the WebSocket -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Tell that the handshake is over, or the connection; send what is due."""
        if not self._answered.done() and (self._wire.state is not State.CONNECTING or self._wire.handshake_exc):
            self._answered.set_result(None)
        self._send()
        if self._wire.close_expected():
            self._expect_end()

    def _send(self) -> None:
        assert self._transport is not None
        for data in self._wire.data_to_send():
            if data:
                self._transport.write(data)
            else:  # SEND_EOF
                self._transport.close()

    def _receive_other(self, data: bytes) -> None:
        self._wire.receive_data(data)
        for frame in self._wire.events_received():
            if isinstance(frame, Frame):
                self._receive(frame)

    def _receive(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY or (frame.opcode is Opcode.CONT and self._text is None):
            self._receive_audio(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            self._text = self._text or bytearray()
            self._text += frame.data
            if len(self._text) > _MAX_TEXT:
                self._refuse_text()
            elif frame.fin:
                text, self._text = self._text.decode("utf-8", "replace"), None
                for event in self._session.receive_text(text):
                    self._on_event(event)

    def _receive_audio(self, pcm: bytes) -> None:
        if pcm:
            self._received_bytes += len(pcm)
            self._on_audio(pcm)

    def _refuse_text(self) -> None:
        self._text = bytearray()
        if self._wire.state is State.OPEN:
            self._wire.fail(CloseCode.MESSAGE_TOO_BIG, f"a text message of more than {_MAX_TEXT} bytes")

    def _expect_end(self) -> None:
        assert self._transport is not None
        if self._deadline is None and not self._lost:
            self._deadline = self._loop.call_later(_CLOSE_S, self._transport.abort)
        if self._wire.close_rcvd is not None:
            self._transport.close()

    def _finish(self) -> None:
        for event in self._session.ended():
            self._on_event(event)
        ours, theirs = self._wire.close_sent, self._wire.close_rcvd
        by_us = ours is not None and not self._wire.close_rcvd_then_sent
        first = ours if by_us else theirs
        code, reason = (first.code, first.reason) if first is not None else (CloseCode.ABNORMAL_CLOSURE, "")
        self._on_closed(Closed(code=int(code), reason=reason, by_us=by_us))


def _parse(join_url: str) -> WebSocketURI:
    with contextlib.suppress(InvalidURI, ValueError):  # their text quotes the URL
        uri = parse_uri(join_url)
        uri.host.encode("idna")
        return uri
    raise AgentUnreachable("Ultravox gave a join URL that is no WebSocket URL. Check ultravox.base_url.")


def _unreachable(failure: str) -> AgentUnreachable:
    return AgentUnreachable(f"Ultravox's WebSocket {failure}. Check the network and the firewall on the way to it.")
