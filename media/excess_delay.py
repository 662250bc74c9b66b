"""Finds the delay that a jitter buffer holds and never needs, and removes it where nobody hears it."""

from __future__ import annotations

from typing import Final

import numpy as np

_FIRST_WATCH: Final = 50  # reads: 1 s at the usual packet time
_LONGEST_WATCH: Final = 1600
_QUIET_PEAK: Final = 300  # 41 dB below full scale: line noise, not speech
_BEARABLE: Final = 2  # packets: a longer delay is worth a click


class ExcessDelay:
    """Decides for each read packet whether to leave it out, so that the delay is no longer than the jitter requires.

    Packets that still wait at every read of a watch are pure delay. A watch takes 1 s for one such packet, and an n-th
    of that for n of them, because a longer delay costs more. Each time the buffer runs empty, a watch takes twice as
    long, 32 s at most, so that rare jitter is not forgotten at once. Only quiet packets are left out. Sound is left
    out, one packet a watch, when the excess is beyond 40 ms of the usual packet time and two watches found no quiet.
    """

    def __init__(self) -> None:
        self._watch = _FIRST_WATCH
        self._playing = False
        self._reads = self._left_out = 0
        self._needed: list[int] = []
        """For each packet of the excess, the read that needed it last."""

    def leave_out(self, pcm: bytes, waiting: int) -> bool:
        """To be called after each read: ``pcm`` is the packet, ``waiting`` the number of packets before the read."""
        self._reads += 1
        if self._playing and not waiting:
            self._watch = min(2 * self._watch, _LONGEST_WATCH)
        self._playing = waiting > 0
        excess = max(waiting - 1, 0)
        del self._needed[excess:]
        if not excess:
            return False
        self._needed += [self._reads - 1] * (excess - len(self._needed))
        if not (self._pressing or (self._found and _quiet(pcm))):
            return False
        self._left_out = self._reads
        del self._needed[0]
        return True

    @property
    def _found(self) -> bool:
        return any((self._reads - needed) * packets >= self._watch for packets, needed in enumerate(self._needed, 1))

    @property
    def _pressing(self) -> bool:
        if len(self._needed) <= _BEARABLE or self._reads - self._left_out < self._watch:
            return False
        return self._reads - self._needed[_BEARABLE] >= 2 * self._watch


def _quiet(pcm: bytes) -> bool:
    samples = np.frombuffer(pcm, "<i2")
    return int(samples.max()) < _QUIET_PEAK and int(samples.min()) > -_QUIET_PEAK
