"""The agent of a joined call. It says each line of its script after the user has spoken and fallen silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from engine.sandbox.dialogue import Dialogue
from engine.sandbox.ultravox.agent_speech import AgentSpeech
from engine.sandbox.ultravox.faults import ClientFaults
from engine.sandbox.ultravox.knobs import CallKnobs
from engine.sandbox.ultravox.requests import CallSettings
from engine.sandbox.ultravox.script import Saying, Script
from engine.sandbox.ultravox.server_messages import ServerMessages
from engine.sandbox.ultravox.tool_calls import ToolCalls
from engine.sandbox.ultravox.transcript import Transcript
from engine.sandbox.ultravox.utterance import EndReason, Utterance
from engine.sandbox.voice_activity import VoiceActivity

_CLICK_MS: Final = 64
"""Speech no longer than this is a click on the line, not a turn."""
_NOTHING: Final = Dialogue(agent=(), callee=())
_NORMAL_CODE: Final = 1000


class Agent:
    """``voice`` makes its speech as s16le at the call's output rate. ``end`` ends the call with a close code.

    The owner sets ``now`` to the current time before every other call.
    """

    def __init__(
        self,
        settings: CallSettings,
        dialogue: Dialogue,
        knobs: CallKnobs,
        voice: Callable[[str], bytes],
        messages: ServerMessages,
        transcript: Transcript,
        faults: ClientFaults,
        end: Callable[[EndReason, int], None],
        *,
        now: float,
    ) -> None:
        # Set once.
        self.settings = settings
        self.messages = messages
        self.faults = faults
        self.transcript = transcript
        self.speech = AgentSpeech(messages, transcript, knobs, settings.client_buffer_ms)
        self.tools = ToolCalls(messages, settings.tools, faults)
        self._knobs = knobs
        self._voice = voice
        self._end = end
        self._script = Script(_NOTHING if knobs.quiet else dialogue)
        # State.
        self.now = now
        self.reply_owed = False
        self._user_speaking = False
        self._fallback_at: float | None = None
        self._quiet_since = now
        self._prompted = 0

    # Commands.

    def say(self, text: str, *, uninterruptible: bool = False, ends_call: EndReason | None = None) -> None:
        """Say ``text`` after everything that is queued."""
        utterance = self._utterance(text)
        utterance.uninterruptible, utterance.ends_call = uninterruptible, ends_call
        self.speech.say(utterance)

    def clear(self) -> None:
        """Stop speaking at once, as after a barge-in, and listen."""
        self.speech.interrupt(self.now)
        self._quiet_since = self.now

    def hang_up(self, text: str = "") -> None:
        """End the call, saying ``text`` first."""
        if text:
            self.say(text, uninterruptible=True, ends_call="agent_hangup")
        else:
            self.end("agent_hangup")

    def invoke_tool(self, name: str, parameters: dict[str, Any]) -> str:
        """Ask the client to run its tool; returns the id under which ``tools.results`` will have the result."""
        return self.tools.invoke(name, parameters, self.now)

    def end(self, reason: EndReason, code: int = _NORMAL_CODE) -> None:
        """End the call: close the socket with ``code``."""
        self._end(reason, code)

    # Turns.

    def start(self) -> None:
        """Say the opening, or wait for the user to speak first."""
        first = self.settings.first
        if first.agent and not self._knobs.quiet:
            self.speech.enter("thinking")
            self._open(self.now + (self._knobs.greeting_delay_s if first.delay_s is None else first.delay_s))
        else:
            self.speech.enter("listening")
            self._fallback_at = None if first.delay_s is None else self.now + first.delay_s

    def poll(self) -> None:
        """Do what is due: go on speaking, reply, or prompt a silent user."""
        self._speak()
        self._reply()
        self._prompt()

    def listen(self, ears: VoiceActivity) -> None:
        """Follow the user's speech: stop when interrupted, and schedule a reply at the end of a turn."""
        vad = self.settings.vad
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
            # Speech over uninterruptible words, or while a reply is due, does not count as a turn.
            if voiced_ms > _CLICK_MS and voiced_ms >= vad.minimum_turn_ms and self.speech.idle:
                self.transcript.user(self._script.heard(), "voice", self.now)
                self.reply_owed = True

    def user_acted(self) -> None:
        """The user did something: the timers of the silence prompts start again."""
        self._quiet_since = self.now
        self._prompted = 0
        self._fallback_at = None

    def _open(self, at: float) -> None:
        """Say the first words: those of the request, or the script's opening."""
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
            self._say(saying, self.now + self._knobs.thinking_s)

    def _say(self, saying: Saying, at: float, *, uninterruptible: bool = False) -> None:
        utterance = self._utterance(saying.text)
        utterance.uninterruptible = uninterruptible
        # Like the real model, the agent can hang up only by calling the tool ``hangUp`` after its speech.
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
        """Prompt a silent user: with the fallback when the user was to speak first, or with an inactivity message."""
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
