"""One stretch of the agent's speech: the audio that may be sent by now, and the words heard by now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

EndReason = Literal["unjoined", "hangup", "agent_hangup", "timeout", "connection_error", "system_error"]

FRAME_MS = 20


class Utterance:
    """``pcm`` is s16le at ``rate_hz``. Each word of ``text`` takes a share of it in proportion to its letters.

    Playback counts from the first byte sent; the real service cannot know better either.
    """

    def __init__(self, text: str, pcm: bytes, rate_hz: int) -> None:
        self.text = text
        self.uninterruptible = False
        self.ends_call: EndReason | None = None
        """The reason with which the call ends after these words."""
        self.calls_tool: str | None = None
        """The client tool to invoke after them."""
        self.sent_at: float | None = None
        self.started_at = 0.0
        self._pcm = pcm
        self._bytes_per_s = rate_hz * 2
        self._sent = 0
        self._words = _timed_words(text, len(pcm) / self._bytes_per_s)
        self._spoken = 0

    def start(self, now: float) -> None:
        self.started_at = now

    def audio_due(self, now: float, lead_ms: float) -> Iterator[bytes]:
        """The 20 ms frames that may be sent by now: at most ``lead_ms`` ahead of playback."""
        frame = self._bytes_per_s * FRAME_MS // 1000
        limit = (now - self.started_at + lead_ms / 1000) * self._bytes_per_s
        while self._sent < len(self._pcm) and self._sent <= limit:
            yield self._pcm[self._sent : self._sent + frame]
            self._sent += frame
        if self._sent >= len(self._pcm) and self.sent_at is None:
            self.sent_at = now

    def words_due(self, now: float) -> list[str]:
        """The words that began to sound since the last call, each with its leading space."""
        first = self._spoken
        while self._spoken < len(self._words) and self._words[self._spoken][0] <= now - self.started_at:
            self._spoken += 1
        return [word for _, word in self._words[first : self._spoken]]

    @property
    def spoken(self) -> str:
        """All words that ``words_due`` has returned."""
        return "".join(word for _, word in self._words[: self._spoken])

    def played(self, now: float) -> bool:
        return self.sent_at is not None and now - self.started_at >= len(self._pcm) / self._bytes_per_s


def _timed_words(text: str, duration_s: float) -> list[tuple[float, str]]:
    words = list(re.finditer(r"\s*\S+", text))
    return [(duration_s * word.start() / len(text), word.group()) for word in words]
