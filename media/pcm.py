"""16-bit mono little-endian PCM as a value: its rate, its frame, and what bytes and milliseconds are of each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from media.errors import FormatError

SAMPLE_BYTES: Final = 2


@lru_cache(maxsize=64)
def silence(samples: int) -> bytes:
    """That many samples of exact silence; the same object each time."""
    return bytes(samples * SAMPLE_BYTES)


@dataclass(frozen=True, slots=True)
class PcmFormat:
    """s16le mono at ``rate_hz`` in frames of ``frame_ms``; refuses a frame that is no whole number of samples."""

    rate_hz: int
    frame_ms: int = 20

    def __post_init__(self) -> None:
        if self.rate_hz <= 0 or self.frame_ms <= 0 or self.rate_hz * self.frame_ms % 1000:
            raise FormatError(f"{self.frame_ms} ms at {self.rate_hz} Hz is no whole number of samples.")

    @property
    def samples(self) -> int:
        """Samples in a frame."""
        return self.rate_hz * self.frame_ms // 1000

    @property
    def size(self) -> int:
        """Bytes in a frame."""
        return self.samples * SAMPLE_BYTES

    @property
    def silence(self) -> bytes:
        """A silent frame."""
        return silence(self.samples)

    def duration_ms(self, size: int) -> float:
        """How long ``size`` bytes play."""
        return size * 1000 / (SAMPLE_BYTES * self.rate_hz)

    def size_of(self, duration_ms: float) -> int:
        """How many bytes play that long: always whole samples."""
        return int(duration_ms * self.rate_hz / 1000) * SAMPLE_BYTES

    def __str__(self) -> str:
        return f"{self.rate_hz / 1000:g}k"
