"""One direction's change of sample rate: a short polyphase FIR that remembers the stream between two chunks.

The rates are as L to M. Of the signal stuffed to L times its rate, a windowed sinc passes what both rates can hold and
every M-th sample is kept. The products with stuffed zeros are never made: the L outputs that follow M inputs are the
same weighted sums each time, so a block of periods is one matrix and a chunk is one multiplication of it with
overlapping windows of the input.

The band, in parts of the lower rate: flat to 0.4375 (3.5 kHz of 8), 60 dB down from 0.5625 (4.5 kHz): whatever folds or
is mirrored into the flat part is 60 dB down. Half the impulse response, 16 samples of the lower rate, is the delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from media.errors import FormatError
from media.pcm import SAMPLE_BYTES

_Floats: TypeAlias = npt.NDArray[np.float64]

_DELAY_SAMPLES: Final = 16
"""Of the lower rate. With ``_KAISER_BETA`` it sets width and depth: shorter is less delay and a wider skirt."""
_KAISER_BETA: Final = 6.2
_COEFFICIENT_STEP: Final = 2.0**-20
"""Coefficients are whole multiples of this, samples are 16 bits wide: every sum is exact in a float64, so the order in
which BLAS adds, which depends on how a stream is cut into chunks, cannot change a bit of the output."""
_BLOCKS_PER_SECOND: Final = 500
"""Measured: with 2 ms a row, neither the zeros in the matrix nor the number of rows cost much."""
_LOWEST, _HIGHEST = np.array(-32768.0), np.array(32767.0)  # as arrays: clipping with plain numbers costs twice as much
_SMALLEST_COMMON_HZ: Final = 25
"""Rates with a smaller common divisor would need matrices of many megabytes; 11025 and 8000 Hz share 25."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kernel:
    """What all resamplers between two rates share: ``matrix`` makes ``inputs`` new samples, after ``history`` older
    ones, into ``outputs``; a period is ``up`` outputs for ``down`` inputs."""

    up: int
    down: int
    history: int
    inputs: int
    outputs: int
    matrix: _Floats


@lru_cache(maxsize=32)
def _kernel(source_hz: int, target_hz: int) -> _Kernel:
    common_hz = math.gcd(source_hz, target_hz)
    if source_hz <= 0 or target_hz <= 0 or common_hz < _SMALLEST_COMMON_HZ:
        raise FormatError(f"There is no resampling from {source_hz} to {target_hz} Hz.")
    up, down = target_hz // common_hz, source_hz // common_hz
    width = max(up, down)  # of one sample of the lower rate, in samples of the stuffed signal
    at = np.arange(-_DELAY_SAMPLES * width, _DELAY_SAMPLES * width + 1) / width
    taps = np.sinc(at) * np.kaiser(len(at), _KAISER_BETA)
    taps = np.rint(taps * (up / taps.sum()) / _COEFFICIENT_STEP) * _COEFFICIENT_STEP
    history = (len(taps) - 1) // up
    periods = max(1, source_hz // _BLOCKS_PER_SECOND // down)
    matrix = np.zeros((history + periods * down, periods * up))
    for output in range(periods * up):
        newest, phase = divmod(output * down, up)
        weights = taps[phase::up]
        matrix[history + newest + 1 - len(weights) : history + newest + 1, output] = weights[::-1]
    return _Kernel(up, down, history, periods * down, periods * up, matrix)


class Resampler:
    """s16le mono at ``source_hz`` in, at ``target_hz`` out, ``delay_ms`` later; loudness stays, overload clips.

    However a stream is cut into chunks, the samples that come out are the same to the bit. ``n`` samples in make
    ``n * target_hz / source_hz`` out, from the first chunk on and never fewer: the delay is heard as leading silence.
    Memory is that of the longest chunk so far. ``FormatError`` for rates that have almost no divisor in common.
    """

    def __init__(self, source_hz: int, target_hz: int) -> None:
        kernel = _kernel(source_hz, target_hz)
        self.delay_ms = _DELAY_SAMPLES * 1000 / min(source_hz, target_hz)
        self._kernel = kernel
        # The input from `history` samples before the period that the next output belongs to.
        self._filled = kernel.history
        self._emitted = 0  # outputs of that period that are out already
        self._capacity = 0
        self._input: _Floats = np.zeros(kernel.history)
        self._windows: _Floats = self._input
        self._grow(_BLOCKS_PER_SECOND // 50)

    def process(self, pcm: bytes) -> bytes:
        """Resample the next whole samples of the stream. Raises ``FormatError`` for half a sample."""
        kernel = self._kernel
        if len(pcm) % SAMPLE_BYTES:
            raise FormatError(f"{len(pcm)} bytes are not a whole number of 16-bit samples.")
        end = self._filled + len(pcm) // SAMPLE_BYTES
        fresh = end - kernel.history
        blocks = -(-fresh // kernel.inputs)
        if blocks > self._capacity:
            self._grow(blocks)
        signal = self._input
        signal[self._filled : end] = np.frombuffer(pcm, "<i2")
        # The last block may reach beyond `end`, into what an earlier chunk left there: those outputs are not taken.
        known = -(-fresh * kernel.up // kernel.down)
        wave = np.matmul(self._windows[:blocks], kernel.matrix).ravel()[self._emitted : known]
        np.rint(wave, wave)
        wave.clip(_LOWEST, _HIGHEST, out=wave)
        periods = fresh // kernel.down
        self._emitted = known - periods * kernel.up
        self._filled = end - periods * kernel.down
        signal[: self._filled] = signal[periods * kernel.down : end]
        return bytes(wave.astype("<i2"))

    def reset(self) -> None:
        """Forget the stream: the next chunk is treated as the first."""
        self._input.fill(0.0)
        self._filled = self._kernel.history
        self._emitted = 0

    def _grow(self, blocks: int) -> None:
        kernel = self._kernel
        signal = np.zeros(kernel.history + blocks * kernel.inputs)
        signal[: self._filled] = self._input[: self._filled]
        width, step = kernel.matrix.shape[0], signal.itemsize
        self._windows = np.ndarray((blocks, width), np.float64, signal, strides=(kernel.inputs * step, step))
        self._input, self._capacity = signal, blocks
