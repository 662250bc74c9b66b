"""Runs an Ultravox session over a WebSocket: one asyncio transport, no task, no queue that is not bounded."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import ssl
import struct
from collections.abc import Callable
from typing import cast

from media.errors import AgentUnreachable
from media.ultravox.frames import AudioFrames
from media.ultravox.messages import ClientToolResult, dump
from media.ultravox.session import Session, SessionEvent, TooMuch
from media.ultravox.transport import look_up, reach, why
from media.ultravox.websocket import ClientWebSocket, Closed
from media.uplink import Uplink

_BITE = 16 * 2**10
"""Bytes taken from the socket before the loop gets its turn again, however fast a reply arrives."""
_KERNEL_BYTES = 32 * 2**10
_WRITE_HIGH, _WRITE_LOW = 16 * 2**10, 4 * 2**10
"""How much of the caller's audio may wait below the uplink: what is late by seconds is worth nothing."""
_UNSENT_BYTES = 8 * 2**10
"""The same in the kernel, not on its way: it takes tens of kilobytes before it refuses any, and TLS as many again."""
_SIOCOUTQNSD = 0x894B
_DEAD_MS = 10_000
_PREPARE_S = 10.0
_CLOSE_S = 1.0
"""How long the far end has to finish once a close frame is on its way."""

_audio_frames = AudioFrames()


class PendingSession:
    """The way to one session. TCP and TLS are made ready at once, while the phone still rings; nothing is asked for
    before ``join``.

    ``tls`` is for wss; it is made ahead because making one takes many ticks. Raises ``AgentUnreachable`` for a URL that
    is none.
    """

    def __init__(self, join_url: str, *, tls: ssl.SSLContext) -> None:
        self._join_url = join_url
        self._tls = tls
        self._connection = AgentConnection(join_url)
        self._preparing = asyncio.create_task(self._prepare())

    async def join(
        self,
        *,
        on_audio: Callable[[bytes], None],
        on_event: Callable[[SessionEvent], None],
        on_closed: Callable[[Closed], None],
        timeout_s: float = 5.0,
    ) -> AgentConnection:
        """Join the session. Raises ``AgentUnreachable``; then no callback is ever called.

        No callback is called before this has returned. ``on_audio`` gets PCM in pieces of any size, odd ones too.
        ``on_closed`` is called exactly once and last, when the socket is gone. ``timeout_s`` is for TCP, TLS and the
        WebSocket together.
        """
        failure = "did not open"
        try:
            async with asyncio.timeout(timeout_s):
                failure = await self._open(timeout_s)
        except OSError as error:
            failure = why(error)
        finally:
            if failure:
                self.leave()
        if failure:  # raised out here, so that no foreign exception, which may quote the URL, hangs on it
            raise _unreachable(failure)
        self._connection.listen(on_audio, on_event, on_closed)
        return self._connection

    def leave(self) -> None:
        """Nobody is to join the session any more; one that has been asked for already is closed as soon as it opens."""
        self._preparing.cancel()
        self._connection.leave()

    async def _prepare(self) -> None:
        with contextlib.suppress(OSError):  # what fails now may be well when it is needed
            await self._connection.connect(self._tls, _PREPARE_S)

    async def _open(self, timeout_s: float) -> str:
        """Why there is no WebSocket, or nothing."""
        await self._preparing
        if self._connection.reached:
            failure = await self._connection.shake_hands()
            if not self._connection.hung_up:
                return failure
        self._connection = AgentConnection(self._join_url)  # the far end did not wait for us
        await self._connection.connect(self._tls, timeout_s)
        return await self._connection.shake_hands()


class AgentConnection(asyncio.BufferedProtocol):
    """A session, joined by an ``PendingSession``. No method blocks; after the end all of them do nothing."""

    def __init__(self, join_url: str) -> None:
        self._on_event: Callable[[SessionEvent], None]
        self._on_closed: Callable[[Closed], None]
        self._loop = asyncio.get_running_loop()
        self._websocket = ClientWebSocket(join_url)
        self._session = Session()
        self._uplink = Uplink()
        self._bite = memoryview(bytearray(_BITE))  # a view: asyncio's TLS reads into slices of it
        # the transport
        self._transport: asyncio.Transport | None = None
        self._tcp: socket.socket
        self._paused = False
        self._stalled = False
        self._lost = False
        self._deadline: asyncio.TimerHandle | None = None
        self._answered = self._loop.create_future()
        self._asked = self._unwanted = False

    def send_audio(self, pcm: bytes) -> None:
        """Send caller audio. To be called every 20 ms from joining to the end, with silence when there is nothing else.

        While the far end reads too slowly, audio waits in a bounded queue that drops the oldest.
        """
        if not self._websocket.open:
            return
        if self._paused or self._stalled:
            self._uplink.put(pcm)
            if self._stalled:
                self.check_backlog()
            return
        assert self._transport is not None
        self._transport.write(_audio_frames.frame(pcm))

    def check_backlog(self) -> None:
        """Notice a far end, or a network, that takes too little; to be called each second or so."""
        if self._websocket.open:
            (unsent,) = struct.unpack("i", fcntl.ioctl(self._tcp.fileno(), _SIOCOUTQNSD, bytes(4)))
            self._stalled = unsent > _UNSENT_BYTES
            self._send_waiting()

    def send_text(self, text: str) -> None:
        """Send a data message (``messages.dump``). Not before ``SessionStarted``: it may be lost."""
        if self._websocket.open:
            self._websocket.send_text(text)
            self._send()

    def refuse_tool(self, invocation_id: str) -> None:
        """Answer a ``ToolInvoked``: there is no such tool here."""
        self.send_text(dump(ClientToolResult(invocation_id=invocation_id, error_type="undefined")))

    def close(self) -> None:
        """End the session (code 1000). What the far end still says within a second, or until its own close, is told."""
        if self._websocket.open:
            self._websocket.close()
            self._send()
            self._expect_end()

    @property
    def dropped_frames(self) -> int:
        """Caller audio thrown away, the oldest first, because the far end read too slowly."""
        return self._uplink.dropped_frames

    # -- opening -------------------------------------------------------------------------------------------------------

    async def connect(self, tls: ssl.SSLContext, timeout_s: float) -> None:
        """TCP, and TLS if the URL wants it. Raises ``OSError``."""
        uri = self._websocket.uri
        addresses = await look_up(uri.host, uri.port)
        await reach(self, addresses, tls=tls if uri.secure else None, host=uri.host, timeout_s=timeout_s)

    @property
    def reached(self) -> bool:
        """Whether TCP and TLS are ready."""
        return self._transport is not None and not self._lost

    @property
    def hung_up(self) -> bool:
        """Whether the far end left without a word."""
        return self._websocket.answered and not self._websocket.heard

    async def shake_hands(self) -> str:
        """Why the WebSocket did not open, or nothing."""
        self._asked = True
        self._websocket.ask()
        self._send()
        await self._answered
        return self._websocket.refusal

    def listen(
        self,
        on_audio: Callable[[bytes], None],
        on_event: Callable[[SessionEvent], None],
        on_closed: Callable[[Closed], None],
    ) -> None:
        """Tell what has come since the handshake, and what comes, from the loop's next turn on."""
        self._on_event = on_event
        self._on_closed = on_closed
        self._loop.call_soon(self._listen, on_audio)

    def _listen(self, on_audio: Callable[[bytes], None]) -> None:
        self._websocket.listen(on_audio, self._receive_text)
        self._advance()
        if self._lost:
            self._finish()

    def leave(self) -> None:
        """Nobody wants the session: if it has been asked for, close it within a second, else drop the connection."""
        if self._asked and not self._lost and not self._websocket.refusal:
            self._unwanted = True
            self._expect_end()
            self.close()
        elif self._transport is not None:
            self._transport.abort()

    # -- asyncio.BufferedProtocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_WRITE_HIGH, _WRITE_LOW)
        self._tcp = tcp = transport.get_extra_info("socket")
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
        # Audio leaves every 20 ms, so a far end that is gone without a word is one that acknowledges nothing.
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._bite

    def buffer_updated(self, nbytes: int) -> None:
        more_than_audio = self._websocket.receive(bytes(self._bite[:nbytes]))
        if nbytes == _BITE and self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_soon(self._transport.resume_reading)
        if more_than_audio:
            self._advance()

    def eof_received(self) -> None:
        self._websocket.receive_eof()
        self._advance()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send_waiting()

    def _send_waiting(self) -> None:
        while not self._paused and not self._stalled and (frame := self._uplink.take()):
            self.send_audio(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._websocket.receive_eof()
        self._lost = True
        if self._deadline is not None:
            self._deadline.cancel()
        if self._websocket.listening:
            self._finish()
        else:
            self._advance()

    # -- the WebSocket -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Tell that the handshake is over, or the connection; send what is due."""
        if not self._answered.done() and self._websocket.answered:
            self._answered.set_result(None)
        if self._unwanted:
            self.close()
        self._send()
        if self._websocket.close_expected:
            self._expect_end()

    def _send(self) -> None:
        assert self._transport is not None
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)
            else:  # SEND_EOF
                self._transport.close()

    def _receive_text(self, text: str) -> None:
        for event in self._session.receive_text(text):
            if isinstance(event, TooMuch):
                self._websocket.refuse(event.what)
            else:
                self._on_event(event)

    def _expect_end(self) -> None:
        assert self._transport is not None
        if self._deadline is None and not self._lost:
            self._deadline = self._loop.call_later(_CLOSE_S, self._transport.abort)
        if self._websocket.close_received:
            self._transport.close()

    def _finish(self) -> None:
        for event in self._session.ended():
            self._on_event(event)
        self._on_closed(self._websocket.closed())


def _unreachable(failure: str) -> AgentUnreachable:
    return AgentUnreachable(f"Ultravox's WebSocket {failure}. Check the network and the firewall on the way to it.")
