"""The worker's clock: polls PJSIP and calls ``on_tick`` every 20 ms of absolute time, on one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from media.meters import TickMeter

TICK_S = 0.020
_MAX_OWED_S = 0.2  # beyond this a stall is not made up: the jitter buffers at both ends have given up too


class MediaClock:
    """Calls ``poll`` and then ``on_tick`` at each 20 ms; a late tick is caught up, and its lateness measured.

    Between ticks ``poll`` runs once more, so that a SIP message waits 10 ms at most.
    """

    def __init__(self, poll: Callable[[], None], on_tick: Callable[[], None]) -> None:
        self.meter = TickMeter()
        self.skipped_ticks = 0
        self._poll = poll
        self._on_tick = on_tick
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Tick from now on."""
        self._due_s = self._loop.time()
        self._tick()

    def stop(self) -> None:
        """No tick after this."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now_s = self._loop.time()
        late_s = now_s - self._due_s
        self.meter.ticked(max(0.0, late_s))
        if late_s > _MAX_OWED_S:
            self.skipped_ticks += int(late_s / TICK_S)
            self._due_s = now_s
        # Scheduled first: an error in a tick must not stop the clock of the other calls.
        self._due_s += TICK_S
        self._timer = self._loop.call_at(self._due_s - TICK_S / 2, self._between)
        self._poll()
        self._on_tick()

    def _between(self) -> None:
        self._timer = self._loop.call_at(self._due_s, self._tick)
        self._poll()
