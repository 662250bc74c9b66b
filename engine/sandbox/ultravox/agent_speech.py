"""The agent's speech: plays utterances in order, sends audio ahead of playback and each word when it sounds."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.server_messages import ServerMessages
from engine.sandbox.ultravox.transcript import Transcript
from engine.sandbox.ultravox.utterance import Utterance

State = Literal["idle", "listening", "thinking", "speaking"]

_CLOSE_AFTER_SENT_S: Final = 0.2


class AgentSpeech:
    """Sends audio no more than ``lead_ms`` ahead of playback, and the ``state`` messages around it."""

    def __init__(self, messages: ServerMessages, transcript: Transcript, knobs: CallKnobs, lead_ms: int) -> None:
        self.state: State = "idle"
        self.clears = 0
        self._messages = messages
        self._transcript = transcript
        self._knobs = knobs
        self._lead_ms = lead_ms
        self._queue: deque[tuple[float, Utterance]] = deque()
        self._current: Utterance | None = None

    @property
    def speaking(self) -> bool:
        return self._current is not None

    @property
    def idle(self) -> bool:
        """Nothing is playing or queued."""
        return self._current is None and not self._queue

    @property
    def interruptible(self) -> bool:
        return self._current is not None and not self._current.uninterruptible

    def enter(self, state: State) -> None:
        """Notify the client of the state when it changed."""
        if state != self.state:
            self.state = state
            self._messages.send("state", state=state)

    def say(self, utterance: Utterance, not_before: float = 0.0) -> None:
        """Queue ``utterance``; it does not start before ``not_before``."""
        self._queue.append((not_before, utterance))

    def poll(self, now: float) -> Utterance | None:
        """Send what is due; returns the utterance that ended by now, if any."""
        if self._current is None and self._queue and now >= self._queue[0][0]:
            _, self._current = self._queue.popleft()
            self._current.start(now)
            self.enter("speaking")
        utterance = self._current
        if utterance is None:
            return None
        for frame in utterance.audio_due(now, self._lead_ms):
            self._messages.put(frame)
        for word in utterance.words_due(now):
            self._transcript.agent_word(word, now)
        if not utterance.played(now) and not self._closing(utterance, now):
            return None
        for word in utterance.words_due(float("inf")):
            self._transcript.agent_word(word, now)
        self._transcript.agent_final(utterance.text, now)
        self._current = None
        return utterance

    def interrupt(self, now: float) -> None:
        """Stop speaking, clear the client's buffer, and cut the transcript to what was heard."""
        utterance, self._current = self._current, None
        self._queue.clear()
        if utterance is not None and self._knobs.transcript_before_clear:
            self._transcript.agent_final(utterance.spoken, now)
        self._messages.send("playback_clear_buffer")
        self.clears += 1
        if utterance is not None and not self._knobs.transcript_before_clear:
            self._transcript.agent_final(utterance.spoken, now)
        self.enter("listening")

    def _closing(self, utterance: Utterance, now: float) -> bool:
        """Whether the call may end although the client has yet to play these last words."""
        if utterance.ends_call is None or not utterance.uninterruptible or self._knobs.farewell == "played":
            return False
        return utterance.sent_at is not None and now >= utterance.sent_at + _CLOSE_AFTER_SENT_S
