"""The media clock: polls PJSIP and moves audio every 20 ms of absolute time, on one thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from media.meters import TickMeter

TICK_S = 0.020
_MAX_OWED_S = 0.2  # beyond this a stall is not made up: the jitter buffers at both ends have given up too


class MediaClock:
    """Calls ``play`` at each 20 ms and ``capture`` half-way between, ``poll`` before either.

    Sending and receiving half a tick apart wakes no more often than needed anyway (a SIP message waits 10 ms at most)
    and takes half a tick from the way there and back. A late tick is caught up, and its lateness measured.
    """

    def __init__(self, *, poll: Callable[[], None], play: Callable[[], None], capture: Callable[[], None]) -> None:
        self.meter = TickMeter()
        self._poll = poll
        self._play = play
        self._capture = capture
        self._loop = asyncio.get_running_loop()
        self._due_s = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Tick from now on."""
        self._due_s = time.monotonic()
        self._tick()

    def stop(self) -> None:
        """No tick after this."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now_s = time.monotonic()  # the loop's own time is as old as its wake-up
        late_s = now_s - self._due_s
        self.meter.ticked(max(0.0, late_s))
        if late_s > _MAX_OWED_S:
            self._due_s = now_s
        # Scheduled first: an error in a tick must not stop the clock of the other calls.
        self._timer = self._loop.call_at(self._due_s + TICK_S / 2, self._half_tick)
        self._poll()
        self._play()

    def _half_tick(self) -> None:
        self._due_s += TICK_S
        self._timer = self._loop.call_at(self._due_s, self._tick)
        self._poll()
        self._capture()
