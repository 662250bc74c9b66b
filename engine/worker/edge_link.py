"""A process's link to the edge: it carries the messages of the process's PJSIPs, and reconnects when the edge dies.

It also keeps what the edge knows of each dialog, so that the next edge can go on with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import Callable

from engine.messages.link import FORGET, HELLO, KEEP, Link

log = logging.getLogger("trunkline.worker")

_RETRY_S = 0.1
_MOST_KEPT = 1024


class EdgeLink:
    """``receive`` gets each message for a PJSIP, with the PJSIP's place. A message sent while there is no edge is
    dropped, as in a network; PJSIP sends it again."""

    def __init__(self, path: str, receive: Callable[[int, bytes], None]) -> None:
        self._path = path
        self._receive = receive
        self._link: Link | None = None
        self._kept: dict[str, bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._retrying: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Attach; raises ``OSError`` when there is no edge."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end.setblocking(False)  # an edge that accepts nothing must not stop the voice
        try:
            end.connect(self._path)
        except OSError:
            end.close()
            raise
        self._link = Link(end, self._hear, self._lost)
        self._link.send(HELLO, str(os.getpid()).encode())
        for dialog in self._kept.values():
            self._link.send(KEEP, dialog)

    def send(self, place: int, message: bytes) -> None:
        """Send a PJSIP's message."""
        if self._link is not None:
            self._link.send(place, message)

    def close(self) -> None:
        """Close the link; the edge hangs up the calls that are left."""
        self._closed = True
        if self._retrying is not None:
            self._retrying.cancel()
        if self._link is not None:
            self._link.close()

    def _hear(self, kind: int, payload: bytes) -> None:
        if kind == KEEP:
            dialog = json.loads(payload)
            key = f"{dialog['call_id']} {dialog['local_tag']}"
            if key in self._kept or len(self._kept) < _MOST_KEPT:
                self._kept[key] = payload
        elif kind == FORGET:
            self._kept.pop(payload.decode(), None)
        else:
            self._receive(kind, payload)

    def _lost(self) -> None:
        self._link = None
        if not self._closed:
            log.warning("the link to the edge is lost; reconnecting")
            self._retry()

    def _retry(self) -> None:
        try:
            self.open()
        except OSError:
            self._retrying = self._loop.call_later(_RETRY_S, self._retry)
