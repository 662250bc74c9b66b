"""The link between the edge and a process of PJSIPs: SIP messages as datagrams over a SEQPACKET socket.

The first byte of a datagram is the PJSIP's place in its process, the rest is one SIP message. From ``HELLO`` on, the
first byte tells what the datagram is instead.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

HELLO: Final = 255
"""The process introduces itself: the rest is its pid. The first datagram of a link."""
KEEP: Final = 254
"""The edge has a process keep a dialog for it, or the process gives it back to the next edge: JSON."""
FORGET: Final = 253
"""A kept dialog is over: the rest is its key."""

_LONGEST = 1 << 17
_MOST_WAITING = 4096
_READ_AT_ONCE = 64


class Link:
    """One end. ``on_datagram`` gets the first byte and the rest of each; ``on_closed`` is called once when the other
    end is gone. Nothing blocks; when the other end does not read, the oldest datagrams are dropped, as UDP would."""

    def __init__(
        self, end: socket.socket, on_datagram: Callable[[int, bytes], None], on_closed: Callable[[], None]
    ) -> None:
        self._end = end
        self._on_datagram = on_datagram
        self._on_closed = on_closed
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._loop = asyncio.get_running_loop()
        self._open = True
        end.setblocking(False)
        self._loop.add_reader(end, self._readable)

    @property
    def is_open(self) -> bool:
        return self._open

    def send(self, kind: int, payload: bytes) -> None:
        """Send a datagram; dropped when the other end is gone."""
        if not self._open:
            return
        datagram = bytes((kind,)) + payload
        if self._waiting:
            self._waiting.append(datagram)
            return
        try:
            self._end.send(datagram)
        except BlockingIOError:
            self._waiting.append(datagram)
            self._loop.add_writer(self._end, self._writable)
        except OSError:
            self.close()

    def close(self) -> None:
        """Close this end."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        self._end.close()
        self._on_closed()

    def _readable(self) -> None:
        for _ in range(_READ_AT_ONCE):
            try:
                datagram = self._end.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError:
                datagram = b""
            if not datagram:
                self.close()
                return
            self._on_datagram(datagram[0], datagram[1:])
            if not self._open:
                return

    def _writable(self) -> None:
        while self._waiting:
            try:
                self._end.send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self._waiting.popleft()
        self._loop.remove_writer(self._end)
