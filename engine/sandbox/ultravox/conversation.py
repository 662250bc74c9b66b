"""One joined call, without I/O: feed it what the client sends and the time, send the client what it gives.

The agent is a script: it says its sayings in turn, each after the user has spoken and fallen silent. After every
``receive_…`` and, at least every 20 ms, after ``poll``, the owner must send what ``messages.take`` returns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox.agent_speech import AgentSpeech
from engine.sandbox.ultravox.caller_audio import CallerAudio
from engine.sandbox.ultravox.client_effects import obey
from engine.sandbox.ultravox.client_messages import read_message
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.mischief import perform
from engine.sandbox.ultravox.requests import CallSettings
from engine.sandbox.ultravox.script import Saying, Script
from engine.sandbox.ultravox.server_messages import Close, ServerMessages
from engine.sandbox.ultravox.tool_calls import ToolCalls
from engine.sandbox.ultravox.transcript import Transcript
from engine.sandbox.ultravox.utterance import EndReason, Utterance

_CLICK_MS: Final = 64
"""No more speech than this is a click on the line, not a turn."""
_NOTHING: Final = Dialogue(agent=(), callee=())
_HELD_UP_S: Final = 0.04
"""Twice the longest time between two polls that the owner promises."""
_NORMAL_CODE: Final = 1000
_MEDIA_IDLE_CODE: Final = 1008


class Conversation:
    """From the join to the end. ``voice`` gives the agent's speech as s16le at the call's output rate.

    In tests, ``on_audio`` and ``on_text`` see every message of the client as it arrives, with the time.
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
        self.joined_at = now
        self.faults = faults
        self.messages = ServerMessages(settings.messages)
        self.audio = CallerAudio(settings.input_hz, faults, joined_at=now, capture_s=capture_s)
        self.transcript = Transcript(self.messages, knobs, now)
        self.speech = AgentSpeech(self.messages, self.transcript, knobs, settings.client_buffer_ms)
        self.tools = ToolCalls(self.messages, settings.tools, faults)
        self._voice = voice
        # For tests to set.
        self.echo_mode = knobs.echo
        self.on_audio: Callable[[bytes, float], None] | None = None
        self.on_text: Callable[[str, float], None] | None = None
        # Where the conversation stands.
        self.end_reason: EndReason | None = None
        self.started = False
        self.now = now
        self.reply_owed = False
        self._unwatched_s = 0.0
        self._script = Script(_NOTHING if knobs.quiet else dialogue)
        self._mischief = deque(sorted(knobs.mischief, key=lambda it: it.after_s))
        self._user_speaking = False
        self._fallback_at: float | None = None
        self._quiet_since = now
        self._prompted = 0
        self._time_exceeded = False

    # What a test may ask for.

    def say(self, text: str, *, uninterruptible: bool = False, ends_call: EndReason | None = None) -> None:
        """Say ``text`` when the sayings before it are said."""
        utterance = self._utterance(text)
        utterance.uninterruptible, utterance.ends_call = uninterruptible, ends_call
        self.speech.say(utterance)

    def clear(self) -> None:
        """Stop speaking at once, as after a barge-in, and listen."""
        self.speech.interrupt(self.now)
        self._quiet_since = self.now

    def hang_up(self, text: str = "") -> None:
        """End as the agent does, saying ``text`` first."""
        if text:
            self.say(text, uninterruptible=True, ends_call="agent_hangup")
        else:
            self.end("agent_hangup")

    def invoke_tool(self, name: str, parameters: dict[str, Any]) -> str:
        """Ask the client to run its tool; the answer will be in ``tools.results`` by the returned id."""
        return self.tools.invoke(name, parameters, self.now)

    def end(self, reason: EndReason, code: int = _NORMAL_CODE) -> None:
        """Close the socket; the call is over."""
        if self.end_reason is None:
            self.end_reason = reason
            self.messages.put(Close(code=code))

    # The client's side.

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
                self._follow_user()

    def receive_text(self, text: str, now: float) -> None:
        self._look(now)
        if self.on_text is not None:
            self.on_text(text, now)
        if not self.started:
            self.faults.note("text-before-call-started", now, text)
        message = read_message(text, self.faults, now)
        if message is not None and self.end_reason is None:
            obey(message, self)

    def closed(self, code: int | None, now: float) -> None:
        """The connection is gone: after the client's close frame with ``code``, or without one (None). Call once."""
        self.audio.finish(max(self.now, self.audio.last_at), unwatched_s=self._unwatched_s)  # as far as was watched
        self.tools.finish(now)
        if self.end_reason is None:
            self.end_reason = "connection_error" if code is None else "hangup"

    # The clock's side.

    def poll(self, now: float) -> None:
        """Do what is due."""
        self._look(now)
        while self._mischief and now >= self.joined_at + self._mischief[0].after_s and self.end_reason is None:
            perform(self._mischief.popleft(), self)
        if not self.started and now >= self.joined_at + self.knobs.call_started_delay_s:
            self._start()
        if self.started and self.end_reason is None:
            self._speak()
            self._reply()
            self._prompt()
            self._watch_limits()

    def _look(self, now: float) -> None:
        """It is ``now``. When that is long after the last time, the simulator was held up, and the client was not."""
        if now - self.now > _HELD_UP_S:
            self._unwatched_s += now - self.now
        self.now = now

    def _start(self) -> None:
        self.started = True
        self.messages.send("call_started", callId=self.call_id)
        first = self.settings.first
        if self.echo_mode:
            self.speech.enter("speaking")
        elif first.agent and not self.knobs.quiet:
            self.speech.enter("thinking")
            self._open(self.now + (self.knobs.greeting_delay_s if first.delay_s is None else first.delay_s))
        else:
            self.speech.enter("listening")
            self._fallback_at = None if first.delay_s is None else self.now + first.delay_s

    def _open(self, at: float) -> None:
        """The agent's first words: what the request says, or the script's opening."""
        first, saying = self.settings.first, self._script.next_saying()
        opening = Saying(text=first.text, last=False) if first.text else saying
        if opening is not None:
            self._say(opening, at, uninterruptible=first.uninterruptible)

    def _speak(self) -> None:
        spoken = self.speech.poll(self.now)
        if spoken is None:
            return
        self._quiet_since = self.now
        if spoken.ends_call is not None:
            self.end(spoken.ends_call)
        elif self.speech.idle:
            self.speech.enter("listening")
        if spoken.calls_tool is not None:
            self.invoke_tool(spoken.calls_tool, {})

    def _reply(self) -> None:
        if not self.reply_owed or not self.speech.idle or self.tools.awaited(self.now):
            return
        self.reply_owed = False
        saying = self._script.next_saying()
        if saying is not None:
            self.speech.enter("thinking")
            self._say(saying, self.now + self.knobs.thinking_s)

    def _say(self, saying: Saying, at: float, *, uninterruptible: bool = False) -> None:
        utterance = self._utterance(saying.text)
        utterance.uninterruptible = uninterruptible
        # Like the real model, the agent can hang up only by a tool of that name, called after the speech.
        hang_up = next((tool for tool in self.settings.tools if tool.name == "hangUp"), None)
        if saying.last and hang_up is not None:
            utterance.uninterruptible = True
            if hang_up.kind == "client":
                utterance.calls_tool = hang_up.name
            else:
                utterance.ends_call = "agent_hangup"
        self.speech.say(utterance, at)

    def _utterance(self, text: str) -> Utterance:
        return Utterance(text, self._voice(text), self.settings.output_hz)

    def _prompt(self) -> None:
        """Speak into the user's silence: the fallback of a user who was to speak first, or an inactivity message."""
        if not self.speech.idle or self._user_speaking:
            return
        if self._fallback_at is not None and self.now >= self._fallback_at:
            self._fallback_at = None
            self._open(self.now)
        elif self._prompted < len(self.settings.inactivity):
            prompt = self.settings.inactivity[self._prompted]
            if self.now >= self._quiet_since + prompt.after_s:
                self._prompted += 1
                ends_call: EndReason | None = "agent_hangup" if prompt.hangs_up else None
                self.say(prompt.text, uninterruptible=prompt.strict, ends_call=ends_call)

    def _watch_limits(self) -> None:
        settings, now = self.settings, self.now
        if settings.media_idle_s is not None and now - self.audio.last_at > settings.media_idle_s:
            self.end("connection_error", _MEDIA_IDLE_CODE)
        elif now >= self.joined_at + settings.max_duration_s and not self._time_exceeded:
            self._time_exceeded = True
            if not self.speech.idle:
                self.clear()
            if settings.time_exceeded:
                self.say(settings.time_exceeded, uninterruptible=True, ends_call="timeout")
            else:
                self.end("timeout")

    # Turn-taking.

    def _follow_user(self) -> None:
        ears, vad = self.audio.ears, self.settings.vad
        if ears.speech and not self._user_speaking:
            self._user_speaking = True
            self.user_acted()
            self.messages.send("user_started_speaking")
        if self.speech.interruptible and ears.silent_ms == 0 and ears.voiced_ms >= vad.minimum_interruption_ms:
            self.clear()
        if self._user_speaking and ears.silent_ms >= vad.turn_endpoint_ms:
            voiced_ms = ears.voiced_ms
            ears.forget()
            self._user_speaking = False
            self.messages.send("user_stopped_speaking")
            # What is said over words that may not be interrupted, or while the answer is on its way, is no turn.
            if voiced_ms > _CLICK_MS and voiced_ms >= vad.minimum_turn_ms and self.speech.idle:
                self.transcript.user(self._script.heard(), "voice", self.now)
                self.reply_owed = True

    def user_acted(self) -> None:
        """The user is there: what is said into silence waits anew."""
        self._quiet_since = self.now
        self._prompted = 0
        self._fallback_at = None
