"""One joined call, without I/O. It takes the client's messages and the time, and returns what to send.

After every ``receive_…`` and, at least every 20 ms, after ``poll``, the owner must send what ``messages.take`` returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox.agent import Agent
from engine.sandbox.ultravox.caller_audio import CallerAudio
from engine.sandbox.ultravox.client_effects import obey
from engine.sandbox.ultravox.client_messages import read_message
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.mischief import perform
from engine.sandbox.ultravox.requests import CallSettings
from engine.sandbox.ultravox.server_messages import Close, ServerMessages
from engine.sandbox.ultravox.transcript import Transcript
from engine.sandbox.ultravox.utterance import EndReason

_HELD_UP_S: Final = 0.04
"""Twice the longest time between two polls that the owner promises."""
_MEDIA_IDLE_CODE: Final = 1008


class Conversation:
    """A call from its join to its end. ``voice`` makes the agent's speech as s16le at the call's output rate.

    In tests, ``on_audio`` and ``on_text`` get every message of the client as it arrives, with the time.
    """

    def __init__(
        self,
        call_id: str,
        settings: CallSettings,
        dialogue: Dialogue,
        knobs: CallKnobs,
        voice: Callable[[str], bytes],
        faults: ClientFaults,
        *,
        now: float,
        capture_s: float = 0.0,
    ) -> None:
        # Set once.
        self.call_id = call_id
        self.settings = settings
        self.knobs = knobs
        self.faults = faults
        self.messages = ServerMessages(settings.messages)
        self.audio = CallerAudio(settings.input_hz, faults, joined_at=now, capture_s=capture_s)
        self.transcript = Transcript(self.messages, knobs, now)
        self.agent = Agent(settings, dialogue, knobs, voice, self.messages, self.transcript, faults, self._end, now=now)
        self._joined_at = now
        # For tests to set.
        self.echo_mode = knobs.echo
        self.on_audio: Callable[[bytes, float], None] | None = None
        self.on_text: Callable[[str, float], None] | None = None
        # State.
        self.end_reason: EndReason | None = None
        self.started = False
        self._unwatched_s = 0.0
        self._mischief = deque(sorted(knobs.mischief, key=lambda it: it.after_s))
        self._time_exceeded = False

    # Called for the client's messages.

    def receive_audio(self, data: bytes, now: float) -> None:
        self._look(now)
        pcm = self.audio.receive(data, now, unwatched_s=self._unwatched_s)
        self._unwatched_s = 0.0
        if self.on_audio is not None:
            self.on_audio(pcm, now)
        if self.end_reason is None and self.started:
            if self.echo_mode:
                self.messages.put(pcm)
            else:
                self.agent.listen(self.audio.ears)

    def receive_text(self, text: str, now: float) -> None:
        self._look(now)
        if self.on_text is not None:
            self.on_text(text, now)
        if not self.started:
            self.faults.note("text-before-call-started", now, text)
        message = read_message(text, self.faults, now)
        if message is not None and self.end_reason is None:
            obey(message, self.agent)

    def closed(self, code: int | None, now: float) -> None:
        """The connection closed: with the client's close frame and ``code``, or without one (None). Call once."""
        watched_until = max(self.agent.now, self.audio.last_at)
        self.audio.finish(watched_until, unwatched_s=self._unwatched_s)
        self.agent.tools.finish(now)
        if self.end_reason is None:
            self.end_reason = "connection_error" if code is None else "hangup"

    # Called by the clock.

    def poll(self, now: float) -> None:
        """Do what is due."""
        self._look(now)
        while self._mischief and now >= self._joined_at + self._mischief[0].after_s and self.end_reason is None:
            perform(self._mischief.popleft(), self.agent)
        if not self.started and now >= self._joined_at + self.knobs.call_started_delay_s:
            self._start()
        if self.started and self.end_reason is None:
            self.agent.poll()
            self._watch_limits(now)

    def _look(self, now: float) -> None:
        """Advance to ``now``. A long step means that the simulator was held up; the client is not to blame."""
        if now - self.agent.now > _HELD_UP_S:
            self._unwatched_s += now - self.agent.now
        self.agent.now = now

    def _start(self) -> None:
        self.started = True
        self.messages.send("call_started", callId=self.call_id)
        if self.echo_mode:
            self.agent.speech.enter("speaking")
        else:
            self.agent.start()

    def _watch_limits(self, now: float) -> None:
        settings, agent = self.settings, self.agent
        if settings.media_idle_s is not None and now - self.audio.last_at > settings.media_idle_s:
            self._end("connection_error", _MEDIA_IDLE_CODE)
        elif now >= self._joined_at + settings.max_duration_s and not self._time_exceeded:
            self._time_exceeded = True
            if not agent.speech.idle:
                agent.clear()
            if settings.time_exceeded:
                agent.say(settings.time_exceeded, uninterruptible=True, ends_call="timeout")
            else:
                agent.end("timeout")

    def _end(self, reason: EndReason, code: int) -> None:
        """End the call: close the socket with ``code``."""
        if self.end_reason is None:
            self.end_reason = reason
            self.messages.put(Close(code=code))
