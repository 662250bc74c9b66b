"""Polls PJSIP as soon as its socket is readable, at most four times a tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.pjsip.clock import TICK_S

_AT_ONCE = 4  # 100, 180 and 200 may follow each other at once


class OnArrival:
    """Calls ``serve`` when ``socket`` is readable, at most four times a tick. So an answered callee does not wait, and
    in a flood the messages wait, not the audio."""

    def __init__(self, socket: int, serve: Callable[[], None]) -> None:
        self._socket = socket
        self._serve = serve
        self._served = 0

    def start(self) -> None:
        """Watch the socket for as long as the running loop runs."""
        self._loop = asyncio.get_running_loop()
        self._watch()

    def _watch(self) -> None:
        self._served = 0
        self._loop.add_reader(self._socket, self._arrived)

    def _arrived(self) -> None:
        self._served += 1
        if self._served == 1:
            self._loop.call_later(TICK_S, self._watch)
        if self._served == _AT_ONCE:
            self._loop.remove_reader(self._socket)
        self._serve()
