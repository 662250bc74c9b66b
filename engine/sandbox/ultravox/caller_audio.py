"""The audio that a client sends, checked against the rule that it flows in real time for the whole call."""

from __future__ import annotations

from typing import Any, Final

from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.voice_activity import VoiceActivity

_LATE_START_S: Final = 1.0
_GAP_S: Final = 0.2
_OVERFLOW_S: Final = 1.0
_UNDERFLOW_SHARE: Final = 0.8
_UNDERFLOW_AFTER_S: Final = 2.0


class CallerAudio:
    """Counts and listens to audio at ``rate_hz``. Keeps the last ``capture_s`` seconds of it; 0 keeps nothing.

    Notes the faults ``late-audio``, ``audio-gap``, ``odd-length``, ``wav-header``, ``too-much-audio``,
    ``too-little-audio``.
    """

    def __init__(self, rate_hz: int, faults: ClientFaults, *, joined_at: float, capture_s: float) -> None:
        self.ears = VoiceActivity(rate_hz)
        self.captured = bytearray()
        self.first_at: float | None = None
        self.last_at = joined_at
        self.messages = 0
        self.gaps = 0
        self.max_gap_s = 0.0
        self._bytes = 0
        self._bytes_per_s = rate_hz * 2
        self._capture_bytes = int(capture_s * self._bytes_per_s) // 2 * 2
        self._carry = b""
        self._faults = faults
        self._joined_at = joined_at
        self._unwatched_s = 0.0

    @property
    def received_s(self) -> float:
        return self._bytes / self._bytes_per_s

    def receive(self, data: bytes, now: float, *, unwatched_s: float = 0.0) -> bytes:
        """Take one binary message; returns its whole samples.

        ``unwatched_s`` is how long the simulator itself was held up. That time does not count as the client's gap.
        """
        self._unwatched_s += unwatched_s
        self._watch_flow(data, now, unwatched_s)
        self.messages += 1
        self._bytes += len(data)
        if len(data) % 2:
            self._faults.note("odd-length", now, f"{len(data)} bytes")
        if self._carry or len(data) % 2:
            data = self._carry + data
            cut = len(data) // 2 * 2
            data, self._carry = data[:cut], data[cut:]
        self.ears.feed(data)
        if self._capture_bytes:
            self.captured += data
            del self.captured[: -self._capture_bytes]
        return data

    def finish(self, now: float, *, unwatched_s: float = 0.0) -> None:
        """The call is over: note what shows only at the end. ``unwatched_s`` as in ``receive``. Call once."""
        if self.first_at is None:
            if now - self._joined_at > _LATE_START_S:
                self._faults.note("late-audio", now, "no audio at all")
            return
        self._gap(now - unwatched_s)
        elapsed_s = now - self.first_at - self._unwatched_s - unwatched_s
        if elapsed_s > _UNDERFLOW_AFTER_S and self.received_s < _UNDERFLOW_SHARE * elapsed_s:
            self._faults.note("too-little-audio", now, f"{self.received_s:.1f} s of audio in {elapsed_s:.1f} s")

    def render(self) -> dict[str, Any]:
        """The field ``audio`` of the verdict on a call."""
        started_s = None if self.first_at is None else round(self.first_at - self._joined_at, 3)
        return {
            "messages": self.messages,
            "audioMs": round(self.received_s * 1000),
            "startedAfterS": started_s,
            "gaps": self.gaps,
            "maxGapMs": round(self.max_gap_s * 1000),
        }

    def _watch_flow(self, data: bytes, now: float, unwatched_s: float) -> None:
        if self.first_at is None:
            self.first_at = self.last_at = now
            if now - self._joined_at > _LATE_START_S:
                self._faults.note("late-audio", now, f"{now - self._joined_at:.1f} s after the join")
            if data.startswith(b"RIFF"):
                self._faults.note("wav-header", now)
        self._gap(now - unwatched_s)
        self.last_at = now
        ahead_s = self.received_s - (now - self.first_at)
        if ahead_s > _OVERFLOW_S:
            self._faults.note("too-much-audio", now, f"{ahead_s:.1f} s ahead of the clock")

    def _gap(self, now: float) -> None:
        gap_s = now - self.last_at
        self.max_gap_s = max(self.max_gap_s, gap_s)
        if gap_s > _GAP_S:
            self.gaps += 1
            self._faults.note("audio-gap", now, f"{gap_s * 1000:.0f} ms without audio")
