"""The counters of the audio path, and their frozen snapshots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_FINE_STEPS: Final = 100
"""Of 0.1 ms, up to 10 ms; then as many of 1 ms; then as many of 10 ms, the last of which holds everything later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeStats:
    """A bridge's counters since its creation."""

    frames_from_caller: int
    frames_to_caller: int
    agent_ms: float
    """Audio that came from the agent, dropped and cleared included."""
    underruns: int
    """The number of times that the phone ran out of audio in the middle of a turn."""
    underrun_frames: int
    """The silent frames that the callee heard because of underruns."""
    overrun_ms: float
    """Audio dropped because the agent sent too far ahead."""
    clears: int
    """Barge-ins."""
    cleared_ms: float
    """Audio that the callee did not hear because of barge-ins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TickReport:
    """How late the ticks since the last report were."""

    ticks: int
    late_p99_ms: float
    late_max_ms: float


class TickMeter:
    """Lateness as a histogram in fixed memory: p99 exact to 0.1 ms below 10 ms, 1 ms below 110, 10 ms below 1.1 s."""

    __slots__ = ("_counts", "_max_s", "_ticks")

    def __init__(self) -> None:
        self._counts: list[int]
        self._ticks: int
        self._max_s: float
        self._start()

    def ticked(self, late_s: float) -> None:
        """Count a tick that came ``late_s`` after its time; early counts as on time."""
        self._ticks += 1
        if late_s > self._max_s:
            self._max_s = late_s
        self._counts[_bucket(late_s)] += 1

    def take(self) -> TickReport:
        """The report since the last one; the counters start again."""
        max_ms = self._max_s * 1000
        report = TickReport(
            ticks=self._ticks,
            late_p99_ms=min(max_ms, self._p99_ms()),
            late_max_ms=max_ms,
        )
        self._start()
        return report

    def _start(self) -> None:
        self._counts = [0] * (3 * _FINE_STEPS)
        self._ticks = 0
        self._max_s = 0.0

    def _p99_ms(self) -> float:
        """The upper edge of the bucket in which 99 % of the ticks are reached."""
        wanted = -(-self._ticks * 99 // 100)
        reached = 0
        for bucket, count in enumerate(self._counts):
            reached += count
            if reached >= wanted:
                return _upper_edge_ms(bucket)
        raise AssertionError("the buckets hold every tick")


def _bucket(late_s: float) -> int:
    if late_s < 0.010:
        return max(0, int(late_s * 10_000))
    if late_s < 0.110:
        return _FINE_STEPS - 10 + int(late_s * 1000)
    return min(2 * _FINE_STEPS - 11 + int(late_s * 100), 3 * _FINE_STEPS - 1)


def _upper_edge_ms(bucket: int) -> float:
    if bucket < _FINE_STEPS:
        return (bucket + 1) / 10
    if bucket < 2 * _FINE_STEPS:
        return bucket - _FINE_STEPS + 11
    return (bucket - 2 * _FINE_STEPS + 12) * 10 if bucket < 3 * _FINE_STEPS - 1 else math.inf
