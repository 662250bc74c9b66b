"""The WebSocket of a joined call: moves bytes between a TCP connection and a conversation.

It replaces uvicorn's own WebSocket protocol. REST and sockets share a port, messages cost no task switch, and a
connection can be cut in the ways a network cuts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from uvicorn import Config
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from engine.sandbox.ultravox.conversation import Conversation
from engine.sandbox.ultravox.server_messages import Close, Cut, Outgoing, Ping

_MAX_MESSAGE: Final = 1 << 20
_CLOSE_TIMEOUT_S: Final = 2.0
_GOING_AWAY: Final = 1001


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The client may not join: respond with an HTTP status, or accept and then close with ``close_code``."""

    status: HTTPStatus = HTTPStatus.NOT_FOUND
    close_code: int | None = None


Admit = Callable[["AgentSocket", str], Conversation | Refusal]
"""Called with the request's path and query when a client asks to join."""


class AgentSocket(asyncio.Protocol):
    """Made by uvicorn for each request to upgrade. ``poll`` it at least every 20 ms."""

    def __init__(self, admit: Admit, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        self.conversation: Conversation | None = None
        self.over = False
        self._admit = admit
        self._peers = cast("set[asyncio.Protocol]", server_state.connections)
        self._loop = asyncio.get_running_loop()
        self._protocol = ServerProtocol(max_size=_MAX_MESSAGE)
        self._transport: asyncio.Transport | None = None
        self._opcode = Opcode.BINARY
        self._fragments: list[bytes] = []

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._peers.add(self)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._join(event)
            elif isinstance(event, Frame):
                self._take(event)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._peers.discard(self)
        self._end(None)

    # Called by the simulator.

    def poll(self, now: float) -> None:
        """Advance the conversation to ``now`` and send what is due."""
        if self.conversation is not None:
            self.conversation.poll(now)
            self._flush()

    def shutdown(self) -> None:
        """The server is stopping (uvicorn's name for it)."""
        self._send(Close(code=_GOING_AWAY))
        self._write()
        self._disconnect()

    def _join(self, request: Request) -> None:
        response = self._protocol.accept(request)
        admitted = self._admit(self, request.path)
        if isinstance(admitted, Refusal) and admitted.close_code is None:
            response = self._protocol.reject(admitted.status, f"{admitted.status.phrase}\n")
        self._protocol.send_response(response)
        if isinstance(admitted, Conversation):
            self.conversation = admitted
            admitted.poll(self._loop.time())
        elif admitted.close_code is not None:
            self._send(Close(code=admitted.close_code))

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            close = self._protocol.close_rcvd
            self._end(close.code if close is not None else None)
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            # RFC 6455 §5.4: a message may be fragmented, and only its first fragment has the opcode.
            if frame.opcode is not Opcode.CONT:
                self._opcode = frame.opcode
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                message = b"".join(self._fragments)
                self._fragments.clear()
                self._deliver(message)

    def _deliver(self, message: bytes) -> None:
        if self.conversation is None:
            return
        if self._opcode is Opcode.BINARY:
            self.conversation.receive_audio(message, self._loop.time())
        else:
            self.conversation.receive_text(message.decode(errors="replace"), self._loop.time())

    def _end(self, client_code: int | None) -> None:
        if not self.over and self.conversation is not None:
            self.conversation.closed(client_code, self._loop.time())
        self.over = True

    def _flush(self) -> None:
        for outgoing in self.conversation.messages.take() if self.conversation is not None else ():
            self._send(outgoing)
        self._write()

    def _send(self, outgoing: Outgoing) -> None:
        if self._protocol.state is not State.OPEN:
            return
        match outgoing:
            case bytes():
                self._protocol.send_binary(outgoing)
            case str():
                self._protocol.send_text(outgoing.encode())
            case Ping():
                self._protocol.send_ping(b"simulator")
            case Close(code=code):
                self._protocol.send_close(code)
                self._loop.call_later(_CLOSE_TIMEOUT_S, self._disconnect)
            case Cut():
                self._write()
                if self._transport is not None:
                    self._transport.abort()

    def _write(self) -> None:
        chunks = self._protocol.data_to_send()
        if not chunks or self._transport is None or self._transport.is_closing() or self._ignores_close:
            return
        self._transport.writelines([chunk for chunk in chunks if chunk])
        if SEND_EOF in chunks:
            self._disconnect()

    @property
    def _ignores_close(self) -> bool:
        """Whether to leave the client's close frame unanswered."""
        return self.over and self.conversation is not None and not self.conversation.knobs.echo_close

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()
