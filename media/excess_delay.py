"""What a jitter buffer holds and never needs: found by watching it, given back where nobody hears it."""

from __future__ import annotations

from typing import Final

import numpy as np

_FIRST_WATCH: Final = 50  # reads: 1 s at the usual packet time
_LONGEST_WATCH: Final = 1600
_QUIET_PEAK: Final = 300  # 41 dB below full scale: a line's noise, no speech
_BEARABLE: Final = 2  # packets: a longer delay is worth a click


class ExcessDelay:
    """Tells of each packet that was read whether to leave it out, so that the delay is what jitter asks for.

    A packet that still waits at every read of a watch is delay and nothing else. The watch takes 1 s; each time the
    buffer runs empty it takes twice as long, 32 s at most, for jitter that is rare must not be forgotten at once. What
    is left out is quiet; where a watch brings no quiet it is one packet of sound, if the excess is above 40 ms of the
    usual packet time.
    """

    def __init__(self) -> None:
        self._watch = _FIRST_WATCH
        self._playing = False
        self._excess = 0
        self._least = _LONGEST_WATCH
        self._left = self._watch

    def leave_out(self, pcm: bytes, waiting: int) -> bool:
        """To be asked after each read: ``pcm`` is what was read, ``waiting`` the packets there were before it."""
        if not waiting:
            if self._playing:
                self._watch = min(2 * self._watch, _LONGEST_WATCH)
            self._playing, self._excess = False, 0
            self._restart()
            return False
        self._playing = True
        self._least = min(self._least, waiting)
        self._left -= 1
        pressing = False
        if not self._left:
            pressing = self._excess > _BEARABLE
            self._excess = self._least - 1
            self._restart()
        if not self._excess or not (pressing or _quiet(pcm)):
            return False
        self._excess -= 1
        self._restart()
        return True

    def _restart(self) -> None:
        self._left, self._least = self._watch, _LONGEST_WATCH


def _quiet(pcm: bytes) -> bool:
    samples = np.frombuffer(pcm, "<i2")
    return int(samples.max()) < _QUIET_PEAK and int(samples.min()) > -_QUIET_PEAK
