"""The caller's frames while the agent's socket is too slow to take them."""

from __future__ import annotations

from collections import deque


class Uplink:
    """At most ``max_frames``. Beyond that, the oldest frame is dropped and counted, so that a slow agent hears current
    speech.

    Nothing here blocks. ``dropped_frames`` only grows.
    """

    __slots__ = ("_frames", "dropped_frames")

    def __init__(self, max_frames: int = 25) -> None:
        self._frames: deque[bytes] = deque(maxlen=max_frames)
        self.dropped_frames = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes) -> None:
        """Add the newest frame."""
        if len(self._frames) == self._frames.maxlen:
            self.dropped_frames += 1
        self._frames.append(frame)

    def take(self) -> bytes | None:
        """The oldest frame, or None."""
        return self._frames.popleft() if self._frames else None
