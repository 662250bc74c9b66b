"""Messages over a socket pair between two processes of ours: length, then the message (``engine.messages.codec``)."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

from engine.messages.codec import TO_CHILD, TO_CONTROL, Codec, NotAMessage

log = logging.getLogger("trunkline.pipe")

_LENGTH = struct.Struct("!I")


class Pipe(asyncio.Protocol):
    """One end. ``on_value`` gets each value in order; ``on_closed`` is called once when the other end is gone.

    An other end that sends anything but the messages of ``hears`` is taken for gone.
    """

    def __init__(
        self, on_value: Callable[[Any], None], on_closed: Callable[[], None], *, says: Codec, hears: Codec
    ) -> None:
        self._on_value = on_value
        self._on_closed = on_closed
        self._says, self._hears = says, hears
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None
        self.broken = False
        """Whether the other end sent what is no message."""

    def send(self, value: object) -> None:
        """Send a value; never blocks. What is sent to an end that is gone is dropped, and ``on_closed`` called."""
        if self._transport is None or self._transport.is_closing():
            return
        body = self._says.encode(value)
        self._transport.write(_LENGTH.pack(len(body)) + body)

    def close(self) -> None:
        """Close after what was sent is out."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        while not self.broken and len(received) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(received, start)
            end = start + _LENGTH.size + size
            if size > self._hears.most_bytes:
                return self._break(f"it has {size} bytes")
            if len(received) < end:
                break
            try:
                value = self._hears.decode(bytes(memoryview(received)[start + _LENGTH.size : end]))
            except NotAMessage as error:
                return self._break(str(error))
            start = end
            self._on_value(value)
        del received[:start]
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_closed()

    def _break(self, why: str) -> None:
        log.error("a process sent what is no message; its pipe is closed: %s", why)
        self.broken = True
        self._received.clear()
        if self._transport is not None:
            self._transport.abort()


def receive(end: socket.socket) -> Any:
    """The first value from the control process, before a loop serves the end; blocks.

    Raises ``EOFError`` when the other end is gone.
    """

    def exactly(size: int) -> bytes:
        data = end.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise EOFError("the other end of the pipe is gone")
        return data

    return TO_CHILD.decode(exactly(_LENGTH.unpack(exactly(_LENGTH.size))[0]))


async def open_pipe(
    end: socket.socket, on_value: Callable[[Any], None], on_closed: Callable[[], None], *, of_child: bool = True
) -> Pipe:
    """Serve one end of ``socket.socketpair()`` on the running loop; the socket belongs to the pipe from here.

    ``of_child``: it is the child's end, else the control process's.
    """
    end.setblocking(False)
    says, hears = (TO_CONTROL, TO_CHILD) if of_child else (TO_CHILD, TO_CONTROL)
    _, pipe = await asyncio.get_running_loop().create_unix_connection(
        lambda: Pipe(on_value, on_closed, says=says, hears=hears), sock=end
    )
    return pipe
