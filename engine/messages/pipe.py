"""Frozen values over a socket pair between two processes of ours: length, then pickle.

Only our own processes hold the ends (they are never bound to an address), which is what makes pickle fit.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

_LENGTH = struct.Struct("!I")


class Pipe(asyncio.Protocol):
    """One end. ``on_value`` gets each value in order; ``on_closed`` is called once when the other end is gone."""

    def __init__(self, on_value: Callable[[Any], None], on_closed: Callable[[], None]) -> None:
        self._on_value = on_value
        self._on_closed = on_closed
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def send(self, value: object) -> None:
        """Send a value; never blocks. What is sent to an end that is gone is dropped: ``on_closed`` tells."""
        if self._transport is None or self._transport.is_closing():
            return
        body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
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
        while len(received) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(received, start)[0]
            if len(received) < end:
                break
            value = pickle.loads(memoryview(received)[start + _LENGTH.size : end])
            start = end
            self._on_value(value)
        del received[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_closed()


def receive(end: socket.socket) -> Any:
    """The next value of an end that no loop serves yet; blocks. Raises ``EOFError`` when the other end is gone."""

    def exactly(size: int) -> bytes:
        data = end.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise EOFError("the other end of the pipe is gone")
        return data

    return pickle.loads(exactly(_LENGTH.unpack(exactly(_LENGTH.size))[0]))


async def open_pipe(end: socket.socket, on_value: Callable[[Any], None], on_closed: Callable[[], None]) -> Pipe:
    """Serve one end of ``socket.socketpair()`` on the running loop; the socket belongs to the pipe from here."""
    end.setblocking(False)
    _, pipe = await asyncio.get_running_loop().create_unix_connection(lambda: Pipe(on_value, on_closed), sock=end)
    return pipe
