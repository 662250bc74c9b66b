"""The simulated person who answers: listens, waits for the agent to finish, then says the next line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from engine.sandbox.voice_activity import VoiceActivity

FRAME_MS = 20
_TURN_SILENCE_MS = 600
_HELLO_AFTER_MS = 2000


class Callee:
    """One call from its answer on. ``hello`` and ``sayings`` are s16le PCM at ``rate_hz``.

    Pass each received 20 ms frame to ``frame`` and play the frame it returns; nothing here blocks. After its last
    line the callee only listens.
    """

    def __init__(self, rate_hz: int, sayings: Iterable[bytes], *, hello: bytes = b"") -> None:
        self._frame_bytes = rate_hz * FRAME_MS // 1000 * 2
        self._silence = bytes(self._frame_bytes)
        self._sayings = deque(sayings)
        self._hello = hello
        self._ears = VoiceActivity(rate_hz)
        self._saying = b""
        self._said = 0

    @property
    def speaking(self) -> bool:
        return self._said < len(self._saying)

    def frame(self, heard: bytes) -> bytes:
        """The 20 ms of PCM to play while ``heard`` arrives."""
        self._ears.feed(heard)
        if not self.speaking:
            self._answer()
        frame = self._saying[self._said : self._said + self._frame_bytes]
        self._said += len(frame)
        return frame + self._silence[len(frame) :]

    def _answer(self) -> None:
        if self._ears.speech and self._ears.silent_ms >= _TURN_SILENCE_MS:
            self._ears.forget()
            self._hello = b""
            if self._sayings:
                self._say(self._sayings.popleft())
        elif self._hello and not self._ears.speech and self._ears.silent_ms >= _HELLO_AFTER_MS:
            self._say(self._hello)
            self._hello = b""

    def _say(self, pcm: bytes) -> None:
        self._saying, self._said = pcm, 0
