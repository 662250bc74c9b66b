"""The agent of a load call: sentences of a known tone, some cut short. Clicks in the pauses measure the loop time."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np

from api.load.packets import SPEECH_HZ, SPEECH_LEVEL
from engine.sandbox.ultravox import Conversation
from engine.sandbox.ultravox.utterance import Utterance

_SENTENCE_S: Final = (3.0, 5.0)
_CUT_AFTER_S: Final = (1.0, 2.5)
"""Every second sentence is cleared after this long, as by a barge-in."""
_CLICKS_AFTER_S: Final = (0.6, 1.2, 1.8)
"""In the pause after a sentence; far enough apart not to be taken for speech with a gap."""
_PAUSE_S: Final = 2.4
_JITTER_S: Final = 0.02
"""Spreads the clicks over all moments of the engine's tick."""
_CLICK_HZ, _CLICK_S, _CLICK_LEVEL = 1500, 0.02, 12_000
_CLICK_DUE_NS: Final = 500_000_000
_HEARD: Final = 3000


@dataclass(slots=True, kw_only=True)
class TalkLog:
    """The events of a call at the agent's side; times are ``time.time_ns``."""

    call: str
    sentences: int = 0
    clears_ns: list[int] = field(default_factory=list)
    clicks_ns: list[int] = field(default_factory=list)
    loops_ms: list[float] = field(default_factory=list)
    frames_heard: int = 0
    ended_ns: int = 0

    def render(self) -> dict[str, Any]:
        return asdict(self)


class Talk:
    """Drives one joined conversation until ``stop``. ``flush`` sends the conversation's messages at once."""

    def __init__(self, conversation: Conversation, flush: Callable[[], None], call: str) -> None:
        self.log = TalkLog(call=call)
        self._conversation = conversation
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._listening = False
        self._timers: list[asyncio.TimerHandle] = []
        conversation.on_audio = self._hear
        self._speak()

    def stop(self) -> None:
        """The call is over."""
        self.log.ended_ns = time.time_ns()
        if self._listening and self.log.ended_ns - self.log.clicks_ns[-1] < _CLICK_DUE_NS:
            self.log.clicks_ns.pop()  # the last click was still on its way
        for timer in self._timers:
            timer.cancel()

    def _speak(self) -> None:
        log, conversation = self.log, self._conversation
        log.sentences += 1
        seconds = round(random.uniform(*_SENTENCE_S) * 50) / 50
        pcm = tone(SPEECH_HZ, conversation.settings.output_hz, seconds, SPEECH_LEVEL)
        sentence = Utterance(f"Sentence {log.sentences} of the agent.", pcm, conversation.settings.output_hz)
        sentence.uninterruptible = True  # the far end's echo is not a barge-in
        conversation.agent.speech.say(sentence)
        if log.sentences % 2:
            self._timers = [*self._pause(seconds)]
        else:
            self._timers = [self._loop.call_later(random.uniform(*_CUT_AFTER_S), self._cut)]
        self._flush()

    def _pause(self, after_s: float = 0.0) -> list[asyncio.TimerHandle]:
        clicks = [self._after(after_s + at_s + random.uniform(0, _JITTER_S), self._click) for at_s in _CLICKS_AFTER_S]
        return [*clicks, self._after(after_s + _PAUSE_S, self._speak)]

    def _after(self, delay_s: float, act: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_s, act)

    def _cut(self) -> None:
        self._conversation.agent.clear()
        self.log.clears_ns.append(time.time_ns())
        self._flush()
        self._timers = self._pause()

    def _click(self) -> None:
        self._listening = True
        self._conversation.messages.put(tone(_CLICK_HZ, self._conversation.settings.output_hz, _CLICK_S, _CLICK_LEVEL))
        self.log.clicks_ns.append(time.time_ns())
        self._flush()

    def _hear(self, pcm: bytes, _: float) -> None:
        self.log.frames_heard += 1
        if self._listening and pcm and int(np.frombuffer(pcm, "<i2").max()) > _HEARD:
            self._listening = False
            self.log.loops_ms.append((time.time_ns() - self.log.clicks_ns[-1]) / 1e6)


@lru_cache(maxsize=1024)
def tone(frequency_hz: float, rate_hz: int, seconds: float, level: float) -> bytes:
    """A sine as s16le; the same object each time."""
    at_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * frequency_hz * at_s)).astype("<i2").tobytes()
