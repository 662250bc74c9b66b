"""Voice activity: an energy detector over 32 ms frames, the frame length of Ultravox's own detector."""

from __future__ import annotations

import numpy as np

FRAME_MS = 32
_SPEECH_RMS = 300.0
"""-41 dBFS: above line noise and the quantization of silent G.711, below quiet speech."""


class VoiceActivity:
    """Follows one direction of audio by its own clock: time passes only as samples are fed.

    ``voiced_ms`` is the speech heard since the last ``forget``, ``silent_ms`` the silence since speech was last heard.
    The owner decides when a silence is long enough to end the speech, and then calls ``forget``.
    """

    def __init__(self, rate_hz: int) -> None:
        self.voiced_ms = 0
        self.silent_ms = 0
        self._frame_bytes = rate_hz * FRAME_MS // 1000 * 2
        self._pending = bytearray()

    @property
    def speech(self) -> bool:
        """Whether speech was heard since the last ``forget``."""
        return self.voiced_ms > 0

    def feed(self, pcm: bytes) -> None:
        """Listen to any whole number of s16le samples."""
        self._pending += pcm
        while len(self._pending) >= self._frame_bytes:
            self._hear(bytes(self._pending[: self._frame_bytes]))
            del self._pending[: self._frame_bytes]

    def forget(self) -> None:
        """Reset ``voiced_ms``: the speech so far has been dealt with."""
        self.voiced_ms = 0

    def _hear(self, frame: bytes) -> None:
        if loudness(frame) >= _SPEECH_RMS:
            self.voiced_ms += FRAME_MS
            self.silent_ms = 0
        else:
            self.silent_ms += FRAME_MS


def loudness(pcm: bytes) -> float:
    """Root mean square of s16le samples; 0 for none."""
    samples = np.frombuffer(pcm, "<i2").astype(np.float32)
    return float(np.sqrt(np.dot(samples, samples) / samples.size)) if samples.size else 0.0
