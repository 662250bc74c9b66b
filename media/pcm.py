"""16-bit mono little-endian PCM as a value: its rate, and the conversion between bytes and milliseconds."""

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
    """s16le mono at ``rate_hz``. Raises ``FormatError`` for a rate at which 20 ms are not a whole number of samples."""

    rate_hz: int

    def __post_init__(self) -> None:
        if self.rate_hz <= 0 or self.rate_hz % 50:
            raise FormatError(f"20 ms at {self.rate_hz} Hz is not a whole number of samples.")

    def duration_ms(self, size: int) -> float:
        """The playing time of ``size`` bytes."""
        return size * 1000 / (SAMPLE_BYTES * self.rate_hz)

    def size_of(self, duration_ms: float) -> int:
        """The number of bytes that play for ``duration_ms``: always whole samples."""
        return int(duration_ms * self.rate_hz / 1000) * SAMPLE_BYTES
