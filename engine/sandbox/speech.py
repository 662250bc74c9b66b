"""Speech for the sandbox's voices: espeak-ng where it is installed, otherwise one tone for each syllable."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import soxr
from numpy.typing import NDArray

Voice = Literal["agent", "callee"]

_ESPEAK_HZ: Final = 22_050
_ESPEAK_VOICES: Final[dict[Voice, str]] = {"agent": "en-us+f3", "callee": "en-gb+m3"}
_TONE_HZ: Final[dict[Voice, float]] = {"agent": 330.0, "callee": 740.0}
_PEAK: Final = 12_000
_AUDIBLE: Final = 100
_SYLLABLE_MS: Final = 150
_PAUSE_MS: Final = 50
_LETTERS_PER_SYLLABLE: Final = 3
_ESPEAK_TIMEOUT_S: Final = 10.0


@lru_cache(maxsize=256)
def speech(text: str, rate_hz: int, voice: Voice) -> bytes:
    """``text`` spoken by ``voice`` as s16le at ``rate_hz``, without silence at either end.

    The same arguments give the same audio. Blocks for about 10 ms the first time, while espeak-ng runs; the last 256
    results are cached.
    """
    samples = _spoken(text, rate_hz, voice)
    return samples if samples is not None else tones(text, rate_hz, voice)


def tones(text: str, rate_hz: int, voice: Voice) -> bytes:
    """A beep for each probable syllable of ``text``, at the pitch of ``voice``: speech to an energy detector."""
    syllables = max(1, len(text) // _LETTERS_PER_SYLLABLE)
    beep, pause = tone(_TONE_HZ[voice], _SYLLABLE_MS, rate_hz), bytes(rate_hz * _PAUSE_MS // 1000 * 2)
    return pause.join([beep] * syllables)


def tone(frequency_hz: float, duration_ms: int, rate_hz: int) -> bytes:
    """A sine that fades in and out, so that it does not click."""
    length = rate_hz * duration_ms // 1000
    wave = np.sin(2 * np.pi * frequency_hz / rate_hz * np.arange(length))
    sound: bytes = (_PEAK * np.hanning(length) * wave).astype("<i2").tobytes()
    return sound


def _spoken(text: str, rate_hz: int, voice: Voice) -> bytes | None:
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    # The text may come from a request. espeak-ng reads it from stdin, so that it is never read as an option.
    command = [program, "-v", _ESPEAK_VOICES[voice], "-s", "185", "--stdin", "--stdout"]
    try:
        wav = subprocess.run(command, input=text.encode(), capture_output=True, check=True, timeout=_ESPEAK_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    _, _, pcm = wav.stdout.partition(b"data")
    samples = np.frombuffer(pcm[4 : len(pcm) // 2 * 2], "<i2").astype(np.float64)
    loud = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    if loud.size == 0:
        return None
    return _at_rate(samples[loud[0] : loud[-1] + 1], rate_hz)


def _at_rate(samples: NDArray[np.float64], rate_hz: int) -> bytes:
    """Resample a whole utterance and level it to a common peak. The delay of soxr does not matter here."""
    resampled: NDArray[np.float64] = soxr.resample(samples, _ESPEAK_HZ, rate_hz)
    levelled: bytes = (resampled * (_PEAK / np.abs(resampled).max())).astype("<i2").tobytes()
    return levelled
