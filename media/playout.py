"""The agent's audio on its way to the phone; the phone's clock drains it."""

from __future__ import annotations

from media.framer import Framer
from media.pcm import SAMPLE_BYTES, PcmFormat, silence


class Playout:
    """A bounded queue. Beyond the bound, the newest audio is dropped and counted. ``take`` never blocks.

    The first frame after silence waits one tick for the rest of it; later, whatever is there is played. An underrun is
    silence between audio of the same turn; it is counted when the audio resumes.
    """

    __slots__ = (
        "_bound", "_flowing", "_format", "_half_dropped", "_queue", "_silent_frames", "_speaking", "_waited",
        "dropped_bytes", "underrun_frames", "underruns",
    )  # fmt: skip

    def __init__(self, rate_hz: int, bound_ms: int) -> None:
        self._format = PcmFormat(rate_hz)
        self._bound = self._format.size_of(bound_ms)
        self._queue = Framer()
        self._half_dropped = False  # the other half of the last dropped sample has yet to come
        self._flowing = False
        self._waited = False
        self._speaking = False
        self._silent_frames: int | None = None  # since the last audio of this turn; None before the first
        self.dropped_bytes = 0
        self.underruns = 0
        self.underrun_frames = 0

    def put(self, data: bytes) -> None:
        """Add audio, cut anywhere."""
        queue = self._queue
        self._waited = False
        if self._half_dropped and data:
            self._half_dropped = False
            self.dropped_bytes += 1
            data = data[1:]
        excess = len(queue) + len(data) - self._bound
        if excess > 0:
            self.dropped_bytes += excess
            self._half_dropped = excess % SAMPLE_BYTES != 0
            data = data[:-excess]
        queue.push(data)

    def take(self, samples: int) -> bytes:
        """The next ``samples``, padded with silence at the end; no bytes when there is nothing to play."""
        frame = self._queue.pull(samples * SAMPLE_BYTES)
        if frame:
            self._flowing = True
        else:
            frame = self._take_rest(samples)
        if frame and self._silent_frames != 0:
            self._resume()
        return frame

    def take_upto(self, samples: int) -> bytes:
        """The next samples, at most ``samples``, independent of the phone's clock."""
        return self._queue.pull(min(samples, self._samples) * SAMPLE_BYTES)

    def give_back(self, pcm: bytes) -> None:
        """Undo a take: ``pcm`` comes next."""
        self._queue.push_back(pcm)

    def turn(self, speaking: bool) -> None:
        """The agent begins a turn, or has ended it."""
        if speaking != self._speaking:
            self._speaking = speaking
            self._silent_frames = None

    def clear(self) -> float:
        """Drop all waiting audio; returns its length in milliseconds."""
        cleared_ms = self.buffered_ms
        self._queue.clear()
        self._half_dropped = self._flowing = self._waited = False
        self._silent_frames = None
        return cleared_ms

    @property
    def buffered_ms(self) -> float:
        """The playing time of the waiting audio."""
        return self._format.duration_ms(len(self._queue))

    @property
    def playing(self) -> bool:
        """Whether there is a whole sample to play."""
        return len(self._queue) >= SAMPLE_BYTES

    @property
    def _samples(self) -> int:
        return len(self._queue) // SAMPLE_BYTES

    def _take_rest(self, samples: int) -> bytes:
        left = self._samples
        if left and (self._flowing or self._waited):
            self._flowing = self._waited = False
            return self._queue.pull(left * SAMPLE_BYTES) + silence(samples - left)
        self._flowing, self._waited = False, left > 0
        if self._silent_frames is not None:
            self._silent_frames += 1
        return b""

    def _resume(self) -> None:
        if self._silent_frames and self._speaking:
            self.underruns += 1
            self.underrun_frames += self._silent_frames
        self._silent_frames = 0
