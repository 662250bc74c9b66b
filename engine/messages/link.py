"""The link between the edge and a process of PJSIPs: SIP messages as datagrams over a SEQPACKET socket.

The first byte of a datagram is the PJSIP's place in its process, the rest is one SIP message. From ``HELLO`` on, the
first byte tells what the datagram is instead.
"""

from __future__ import annotations

import asyncio
import errno
import logging
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

PRIVATE: Final = "X-Trunkline-"
"""Header fields between the edge and PJSIP begin so; none crosses the network."""
TRUNK: Final = "X-Trunkline-Trunk"
"""In a request outside a dialog: the name of its trunk."""
PEER: Final = "X-Trunkline-Peer"
FAILURE: Final = "X-Trunkline-Failure"
"""In a response of the edge's own: why the request could not be sent, as JSON."""
UNUSABLE: Final = "X-Trunkline-Unusable"
"""In a 2xx to an INVITE: why its session description cannot be used, as a clause."""

log = logging.getLogger("trunkline.link")

_LONGEST = 1 << 17
_MOST_WAITING = 4096
_MOST_WAITING_BYTES = 1 << 22
_READ_AT_ONCE = 64


class Link:
    """One end. ``on_datagram`` gets the first byte and the rest of each; ``on_closed`` is called once when the other
    end is gone. Nothing blocks.

    When the other end does not read, the newest SIP messages are dropped, as a full UDP socket does: what waits stays
    in order, and SIP sends again. ``KEEP`` and ``FORGET`` are never repeated, so they wait; an end that does not take
    even those is closed. A datagram that is too long for the socket is dropped alone.
    """

    def __init__(
        self, end: socket.socket, on_datagram: Callable[[int, bytes], None], on_closed: Callable[[], None]
    ) -> None:
        self._end = end
        self._on_datagram = on_datagram
        self._on_closed = on_closed
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
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
        if len(datagram) > _LONGEST:
            log.warning("a datagram is too long for the link and is dropped", extra={"bytes": len(datagram)})
        elif self._waiting:
            self._wait(kind, datagram)
        elif not self._sent(datagram) and self._open:
            self._wait(kind, datagram)
            self._loop.add_writer(self._end, self._writable)

    def close(self) -> None:
        """Close this end."""
        if not self._open:
            return
        self._open = False
        self._waiting.clear()
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        self._end.close()
        self._on_closed()

    def _wait(self, kind: int, datagram: bytes) -> None:
        full = len(self._waiting) >= _MOST_WAITING or self._waiting_bytes + len(datagram) > _MOST_WAITING_BYTES
        if full and kind < FORGET:
            self._dropped += 1
            return
        if self._waiting_bytes > 2 * _MOST_WAITING_BYTES:
            log.error("the other end of a link does not read; the link is closed")
            self.close()
            return
        self._waiting.append(datagram)
        self._waiting_bytes += len(datagram)

    def _sent(self, datagram: bytes) -> bool:
        """Whether the socket is done with it; otherwise it has to wait, or the link is closed."""
        try:
            self._end.send(datagram)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                self.close()
                return False
            log.warning("a datagram is too long for the link and is dropped", extra={"bytes": len(datagram)})
        return True

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
            try:
                self._on_datagram(datagram[0], datagram[1:])
            except Exception:
                log.exception("a datagram of the link could not be served")
            if not self._open:
                return

    def _writable(self) -> None:
        while self._waiting:
            if not self._sent(self._waiting[0]):
                return
            self._waiting_bytes -= len(self._waiting.popleft())
        self._loop.remove_writer(self._end)
        if self._dropped:
            log.warning(
                "messages were dropped because the other end of a link did not read", extra={"messages": self._dropped}
            )
            self._dropped = 0
