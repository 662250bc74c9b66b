"""One call inside a worker: its SIP leg and, for an AI call, the agent's session, from INVITE to the end of both.

Everything here runs on the worker's one thread: PJSIP's callbacks, the tick, and the WebSocket's events.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Protocol

from engine.errors import SipError
from engine.messages.commands import Dial, JoinAgent
from engine.messages.events import (
    AgentJoined,
    AgentLeft,
    AgentSpoke,
    Answered,
    AttemptEnded,
    DigitsPressed,
    Event,
    InviteSent,
    LineFree,
    Progress,
    Transcribed,
)
from engine.outcome import AGENT_HANGUP, AGENT_LOST, Cause, Outcome, agent_failure, engine_error, rtp_timeout
from engine.records import Speaker, TranscriptTurn
from engine.sip.causes import ended_by_bye, ended_by_stack, refusal
from engine.sip.dtmf import PRESS_KEYS
from engine.sip.leg_port import LegEnd, LegListener, MediaStream, SipLeg
from engine.worker.audio_path import AudioPath
from engine.worker.keypad import Keypad
from media.errors import AgentError
from media.ultravox.connection import AgentConnection, PendingSession
from media.ultravox.session import AgentState, ClearPlayback, SessionEvent, SessionStarted, ToolInvoked, TurnFinal
from media.ultravox.websocket import Closed

_REFUSED = 487
_NEVER_SENT = LegEnd(sip_code=0, sip_reason="", q850=None, by_remote=False, confirmed=False, rtp={})


class Dialler(Protocol):
    """What a call needs of the SIP stack."""

    def __call__(self, dial: Dial, listener: LegListener) -> SipLeg: ...


class WorkerCall:
    """One call from ``Dial`` to ``AttemptEnded``.

    ``emit`` gets each event, ``AttemptEnded`` exactly once, when leg and agent session are both closed; after it only
    ``LineFree``, when the far end was slower than we. ``audio`` is to be clocked from the beginning to the end.
    """

    def __init__(self, dial: Dial, emit: Callable[[Event], None], tls: ssl.SSLContext) -> None:
        self.attempt_id = dial.attempt_id
        self._dial = dial
        self._emit = emit
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        # the leg
        self._leg: SipLeg | None = None
        self._leg_end: LegEnd | None = None
        self._line_held = False
        self._answered_at_s: float | None = None
        self._outcome: Outcome | None = None
        self._received: int | None = None
        self._heard_at_s = 0.0
        # the agent
        self._pending: PendingSession | None = None
        self._agent_rate_hz = 0
        self._joining: asyncio.Task[None] | None = None
        self._agent: AgentConnection | None = None
        self._agent_gone = not dial.with_agent
        self._over = False
        # between the two
        self.audio = AudioPath(on_first_word=self._on_first_word, on_played_out=self._on_played_out)
        self._keypad = Keypad(told=self._digits_told, voice=self.audio, with_agent=dial.with_agent)

    def dial(self, dialler: Dialler) -> None:
        """Send the INVITE; a refusal by the stack ends the call at once."""
        try:
            leg = dialler(self._dial, self)
        except SipError as error:
            self.hang_up(engine_error(f"The call could not be sent to the trunk: {error}."))
            return
        if self._leg_end is None:  # PJSIP may tell the end of a leg before it has returned it
            self._leg = leg
            # The loop's own time is that of its round's beginning.
            self._emit(InviteSent(attempt_id=self.attempt_id, at_s=time.monotonic()))

    def join(self, command: JoinAgent) -> None:
        """Join the agent's session once the callee has answered; until then be ready to."""
        if self._leg_end is not None or self._outcome is not None:
            return
        try:
            self._pending = PendingSession(command.join_url, tls=self._tls)
        except AgentError as error:
            self._agent_failed(error)
            return
        self._agent_rate_hz = command.sample_rate_hz
        if self._answered_at_s is not None:
            self._open_agent(self._pending)

    def hang_up(self, outcome: Outcome) -> None:
        """End both sides; ``outcome`` stands unless the far end was first."""
        if self._outcome is not None or self._leg_end is not None:
            return
        self._outcome = outcome
        if self._leg is None:
            self.on_ended(_NEVER_SENT)
            return
        self._leg.hang_up()
        self._close_agent()

    def watch(self, limit_s: float) -> None:
        """Hang up when nothing came from the far end for ``limit_s``; to be called each second or so."""
        if self._agent is not None:
            self._agent.check_backlog()
        received = self._leg.received if self._leg is not None and self._answered_at_s is not None else None
        now_s = self._loop.time()
        if received is None or received != self._received:
            self._received, self._heard_at_s = received, now_s
        elif now_s - self._heard_at_s >= limit_s:
            self.hang_up(rtp_timeout(limit_s, ever=received > 0))

    # -- LegListener ---------------------------------------------------------------------------------------------------

    def on_progress(self, code: int, reason: str) -> None:
        rate_hz = self.audio.codec_rate_hz
        self._emit(Progress(attempt_id=self.attempt_id, code=code, reason=reason, codec_rate_hz=rate_hz))

    def on_media(self, stream: MediaStream | None) -> None:
        self.audio.use(stream)

    def on_answered(self, codec: str) -> None:
        self._answered_at_s = self._loop.time()
        if self._dial.with_agent:
            self.audio.listen()
        self._emit(Answered(attempt_id=self.attempt_id, codec=codec, codec_rate_hz=self.audio.codec_rate_hz or 0))
        if self._pending is not None:
            self._open_agent(self._pending)

    def on_digit(self, digit: str) -> None:
        if self._answered_at_s is not None and self._outcome is None:
            self._keypad.heard(digit)

    def on_ended(self, end: LegEnd) -> None:
        self._leg_end = end
        self._line_held = end.lingering
        self._leg = None
        self.audio.end()
        self._close_agent()
        self._finish()

    def on_gone(self) -> None:
        self._line_held = False
        if self._over:
            self._emit(LineFree(attempt_id=self.attempt_id))

    # -- the agent -----------------------------------------------------------------------------------------------------

    def _open_agent(self, pending: PendingSession) -> None:
        on_audio = self.audio.bridge_to(self._agent_rate_hz)
        self._joining = self._loop.create_task(self._join_agent(pending, on_audio))

    async def _join_agent(self, pending: PendingSession, on_audio: Callable[[bytes], None]) -> None:
        try:
            agent = await pending.join(
                on_audio=on_audio, on_event=self._on_agent_event, on_closed=self._on_agent_closed
            )
        except AgentError as error:
            self._joining = None
            self._agent_failed(error)
            return
        self._joining = None
        self._agent = agent
        self.audio.join(agent)
        self._emit(AgentJoined(attempt_id=self.attempt_id))

    def _agent_failed(self, error: AgentError) -> None:
        self.hang_up(agent_failure(Cause.AGENT_UNREACHABLE, str(error)))

    def _close_agent(self) -> None:
        self._keypad.close()
        if self._joining is not None:
            self._joining.cancel()
            self._joining = None
        if self._agent is not None:
            self._agent.close()
        else:
            self._agent_gone = True
            if self._pending is not None:
                self._pending.leave()

    def _on_agent_event(self, event: SessionEvent) -> None:
        match event:
            case ClearPlayback():
                self.audio.clear()
            case AgentState():
                self.audio.agent_turn(event.state == "speaking")
            case TurnFinal():
                speaker = Speaker.AGENT if event.role == "agent" else Speaker.USER
                turn = TranscriptTurn(
                    ordinal=event.ordinal, speaker=speaker, text=event.text, truncated=event.truncated
                )
                self._emit(Transcribed(attempt_id=self.attempt_id, turn=turn))
            case SessionStarted():
                if self._agent is not None:
                    self._keypad.attach(self._agent)
            case ToolInvoked():
                self._run_tool(event)

    def _run_tool(self, invoked: ToolInvoked) -> None:
        if invoked.name == PRESS_KEYS and self._leg is not None:
            self._keypad.press(invoked, self._leg)
        elif self._agent is not None:
            self._agent.refuse_tool(invoked.invocation_id)

    def _digits_told(self, count: int, by_callee: bool) -> None:
        self._emit(DigitsPressed(attempt_id=self.attempt_id, count=count, by_callee=by_callee))

    def _on_first_word(self) -> None:
        now_s = self._loop.time()
        after_answer_ms = round((now_s - (self._answered_at_s or now_s)) * 1000, 1)
        self._emit(AgentSpoke(attempt_id=self.attempt_id, after_answer_ms=after_answer_ms))

    def _on_played_out(self) -> None:
        self.hang_up(AGENT_HANGUP)

    def _on_agent_closed(self, closed: Closed) -> None:
        self._agent = None
        self._agent_gone = True
        self.audio.leave()
        self._emit(AgentLeft(attempt_id=self.attempt_id, code=closed.code, by_agent=not closed.by_us))
        if self._outcome is None and self._leg_end is None:
            if closed.clean:
                self.audio.play_out()
            else:
                self.hang_up(AGENT_LOST)
        self._finish()

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        end = self._leg_end
        if end is None or not self._agent_gone or self._over:
            return
        self._over = True
        media = {**end.rtp, **self.audio.stats()}
        outcome, held = self._judge(end), self._line_held
        self._emit(AttemptEnded(attempt_id=self.attempt_id, outcome=outcome, media=media, line_held=held))

    def _judge(self, end: LegEnd) -> Outcome:
        if end.refused is not None:
            return end.refused
        ours = self._outcome
        if end.confirmed:
            return ours or (ended_by_bye(end.q850) if end.by_remote else ended_by_stack(end.sip_code))
        if ours is not None and (not end.by_remote or end.sip_code == _REFUSED):
            return ours
        return refusal(end.sip_code, end.sip_reason, end.q850, retry_after_s=end.retry_after_s, by_remote=end.by_remote)
