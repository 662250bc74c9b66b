"""The media clock: polls PJSIP and moves audio every 20 ms of absolute time, on one thread."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from media.meters import TickMeter

TICK_S = 0.020
_ROUNDING = 1e-6  # of a tick: a tick that is due this very moment must not count as the tick before
_MAX_OWED_S = 0.2  # a longer stall is not made up: the jitter buffers at both ends have given up too


class MediaClock:
    """Calls ``play`` and ``capture`` once every 20 ms each, and ``poll`` just before ``capture``.

    All clocks of a machine tick together, ``phase_s`` after each whole 20 ms of its monotonic time: a worker finds its
    code in the processor's caches, because the worker before it has just used it.

    Half a tick between ``play`` and ``capture`` saves 10 ms of the round trip, and of the wait of a SIP message. It
    costs a second wake-up, and wake-ups cost most. While ``thrifty``, both happen in one wake-up. The change between
    the modes drops no audio: one capture waits for the next. A late tick is caught up, and its lateness is measured.
    While not ``busy``, the clock only polls every ``rest_s``; ``wake`` ends the rest.
    """

    def __init__(
        self,
        *,
        poll: Callable[[], None],
        play: Callable[[], None],
        capture: Callable[[], None],
        busy: Callable[[], bool],
        rest_s: float,
        phase_s: float = 0.0,
    ) -> None:
        self.meter = TickMeter()
        self.thrifty = False
        self._poll = poll
        self._play = play
        self._capture = capture
        self._busy = busy
        self._rest_s = rest_s
        self._phase_s = phase_s
        self._loop = asyncio.get_running_loop()
        self._due_s = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._resting = True
        self._captured_halfway = True
        self._owed = 0  # captures

    def start(self) -> None:
        """Start to poll, and to tick while busy."""
        self._tick()

    def wake(self) -> None:
        """Tick again at once, not at the end of the rest, because there is work."""
        if self._resting and self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(TICK_S / 2, self._tick)

    def stop(self) -> None:
        """Stop; no tick follows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        now_s = time.monotonic()  # the loop's own time is as old as its wake-up
        if not self._busy():
            self._resting = True
            self._timer = self._loop.call_later(self._rest_s, self._tick)
            self._poll()
            return
        late_s = 0.0 if self._resting else max(0.0, now_s - self._due_s)
        self.meter.ticked(late_s)
        if self._resting or late_s > _MAX_OWED_S:
            self._resting, self._due_s = False, self._last_due_s(now_s)
        # Scheduled first: an error in a tick must not stop the clock of the other calls.
        if self.thrifty:
            self._due_s += TICK_S
            self._timer = self._loop.call_at(self._due_s, self._tick)
        else:
            self._timer = self._loop.call_at(self._due_s + TICK_S / 2, self._half_tick)
        if self.thrifty:
            self._poll()
        self._play()
        if self.thrifty:
            self._take(halfway=False)

    def _last_due_s(self, now_s: float) -> float:
        """The time of the machine's last common tick in this phase."""
        ticks = (now_s - self._phase_s) / TICK_S
        return math.floor(ticks + _ROUNDING) * TICK_S + self._phase_s

    def _half_tick(self) -> None:
        self._due_s += TICK_S
        self._timer = self._loop.call_at(self._due_s, self._tick)
        self._poll()
        self._take(halfway=True)

    def _take(self, *, halfway: bool) -> None:
        """Capture, but not 10 ms after the last capture: the far end has sent nothing new by then."""
        if halfway is self._captured_halfway:
            for _ in range(1 + self._owed):
                self._capture()
            self._owed = 0
        else:
            self._captured_halfway, self._owed = halfway, 1
