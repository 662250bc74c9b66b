"""What tests listen with: tones to play, and an ear that says which tone it hears, how loud, and where it is silent.

PCM is s16le mono throughout; levels are dBFS, 0 being a sine that fills the range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

_Floats: TypeAlias = npt.NDArray[np.float64]

_FULL_SCALE_RMS: Final = 32767 / np.sqrt(2)
_SILENCE_DBFS: Final = -60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch that is all sound or all silence."""

    start_ms: float
    duration_ms: float
    sounding: bool


def tone(frequency_hz: float, rate_hz: int, seconds: float, amplitude: float = 8000, *, start_s: float = 0.0) -> bytes:
    """A sine; pieces made with the ``start_s`` where the last one ended join without a click."""
    at_s = start_s + np.arange(round(seconds * rate_hz)) / rate_hz
    return to_pcm(amplitude * np.sin(2 * np.pi * frequency_hz * at_s))


def to_pcm(wave: _Floats) -> bytes:
    """Rounded and clipped to 16 bits."""
    return np.clip(np.rint(wave), -32768, 32767).astype("<i2").tobytes()


def samples(pcm: bytes) -> _Floats:
    """The samples as floats of the same size."""
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def level_dbfs(pcm: bytes) -> float:
    """The mean level; -inf for exact silence and for nothing at all."""
    wave = samples(pcm)
    return _decibels(float(np.sqrt(np.mean(wave**2))) / _FULL_SCALE_RMS) if len(wave) else -np.inf


def spectrum_dbfs(pcm: bytes, rate_hz: int) -> tuple[_Floats, _Floats]:
    """Frequencies in Hz and the level of a tone at each; what is 8 bins away from a tone is 120 dB below it."""
    wave = samples(pcm)
    window = np.kaiser(len(wave), 20.0)
    amplitudes = np.abs(np.fft.rfft(wave * window)) * 2 / window.sum() / 32767
    levels: _Floats = 20 * np.log10(np.maximum(amplitudes, 1e-12))
    return np.arange(len(levels)) * rate_hz / len(wave), levels


def dominant_frequency(pcm: bytes, rate_hz: int) -> float:
    """The loudest frequency in Hz, to a fraction of a bin; 0 for exact silence."""
    frequencies, levels = spectrum_dbfs(pcm, rate_hz)
    peak = int(np.argmax(levels[1:-1])) + 1
    if levels[peak] <= -200:
        return 0.0
    # The top of the parabola through the peak and its neighbours: exact for a Gaussian, near it for this window.
    left, top, right = levels[peak - 1 : peak + 2]
    return float(frequencies[peak] + (left - right) / (left - 2 * top + right) / 2 * frequencies[1])


def tone_snr_db(pcm: bytes, rate_hz: int, frequency_hz: float) -> float:
    """How far the best fitting sine of that frequency stands above all the rest together; -inf when there is none."""
    wave = samples(pcm)
    phase = 2 * np.pi * frequency_hz * np.arange(len(wave)) / rate_hz
    basis = np.stack([np.cos(phase), np.sin(phase)], axis=1)
    weights, *_ = np.linalg.lstsq(basis, wave, rcond=None)
    fitted = basis @ weights
    signal, rest = float(np.sum(fitted**2)), float(np.sum((wave - fitted) ** 2))
    if signal == 0:
        return -np.inf
    return _decibels(np.sqrt(signal / rest)) if rest else np.inf


def has_tone(pcm: bytes, rate_hz: int, frequency_hz: float, *, min_snr_db: float = 20, min_dbfs: float = -40) -> bool:
    """Whether that tone is heard: it stands above all the rest, and is loud enough. 20 dB survives G.711 with a margin.

    The tone must last all of ``pcm`` without a jump in phase: cut out what is to be judged first.
    """
    return tone_snr_db(pcm, rate_hz, frequency_hz) >= min_snr_db and level_dbfs(pcm) >= min_dbfs


def hears(pcm: bytes, rate_hz: int, frequency_hz: float, *, min_dbfs: float = -40) -> bool:
    """Whether that tone is anywhere in ``pcm``, whatever else there is: for mixtures, gaps and noise."""
    size = 2 * (rate_hz // 10)
    pieces = (pcm[start : start + size] for start in range(0, max(1, len(pcm) - size + 1), size))
    return any(_level_near(piece, rate_hz, frequency_hz) >= min_dbfs for piece in pieces if piece)


def segments(pcm: bytes, rate_hz: int, *, window_ms: float = 5, below_dbfs: float = _SILENCE_DBFS) -> list[Segment]:
    """The stretches of sound and silence, to a window's precision; a window as quiet as ``below_dbfs`` is silent."""
    size = max(1, round(rate_hz * window_ms / 1000))
    wave = samples(pcm)
    found: list[Segment] = []
    for start in range(0, len(wave), size):
        piece = wave[start : start + size]
        sounding = _decibels(float(np.sqrt(np.mean(piece**2))) / _FULL_SCALE_RMS) > below_dbfs
        start_ms, duration_ms = start * 1000 / rate_hz, len(piece) * 1000 / rate_hz
        if found and found[-1].sounding == sounding:
            last = found.pop()
            start_ms, duration_ms = last.start_ms, last.duration_ms + duration_ms
        found.append(Segment(start_ms=start_ms, duration_ms=duration_ms, sounding=sounding))
    return found


def longest_silence_ms(pcm: bytes, rate_hz: int, *, window_ms: float = 5, below_dbfs: float = _SILENCE_DBFS) -> float:
    """The longest silence between two sounds: a gap. Silence before the first and after the last is none."""
    inner = segments(pcm, rate_hz, window_ms=window_ms, below_dbfs=below_dbfs)[1:-1]
    return max((segment.duration_ms for segment in inner if not segment.sounding), default=0.0)


def loudest_click(pcm: bytes, rate_hz: int, frequency_hz: float, *, window_ms: float = 10) -> float:
    """How much of a tone's amplitude the worst sample is off the sine fitted around it: a jump in phase or a lost
    sample shows as 0.1 and more."""
    size = round(rate_hz * window_ms / 1000)
    wave = samples(pcm)
    phase = 2 * np.pi * frequency_hz * np.arange(size) / rate_hz
    basis = np.stack([np.cos(phase), np.sin(phase)], axis=1)
    starts = range(0, len(wave) - size + 1, max(1, size // 4))
    pieces = np.stack([wave[start : start + size] for start in starts], axis=1)
    weights, *_ = np.linalg.lstsq(basis, pieces, rcond=None)
    amplitude = float(np.median(np.hypot(*weights)))
    return float(np.max(np.abs(pieces - basis @ weights))) / amplitude if amplitude else 0.0


def _level_near(pcm: bytes, rate_hz: int, frequency_hz: float) -> float:
    frequencies, levels = spectrum_dbfs(pcm, rate_hz)
    return float(np.max(levels[np.abs(frequencies - frequency_hz) <= 1.5 * frequencies[1]], initial=-np.inf))


def _decibels(ratio: float) -> float:
    return float(20 * np.log10(ratio)) if ratio > 0 else -np.inf
