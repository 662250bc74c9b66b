"""How the time of a reader grows with what it reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_SMALL: Final = 8_000
_TIMES: Final = 8
_GENEROUS: Final = 4
"""Quadratic growth takes 64 times as long for 8 times as much; a busy machine does not make 32 of 8."""
_INSTANT_S: Final = 0.02


def grows_linearly(read: Callable[[int], object]) -> bool:
    """Whether ``read(64_000)`` takes no more than a few times as long as eight of ``read(8_000)``."""
    small_s = min(_seconds(read, _SMALL) for _ in range(5))
    large_s = min(_seconds(read, _SMALL * _TIMES) for _ in range(5))
    return large_s <= max(_INSTANT_S, small_s * _TIMES * _GENEROUS)


def _seconds(read: Callable[[int], object], size: int) -> float:
    began_s = time.thread_time()  # other processes' work is not counted
    read(size)
    return time.thread_time() - began_s
