"""One call inside a worker: its SIP leg and, for an AI call, the agent's leg, from the INVITE to the end of both.

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
    AgentSpoke,
    Answered,
    AttemptEnded,
    DigitsPressed,
    Event,
    InviteSent,
    LineFree,
    Progress,
)
from engine.outcome import AGENT_HANGUP, Outcome, engine_error, rtp_timeout
from engine.sip.causes import ended_by_bye, ended_by_stack, refusal
from engine.sip.leg_port import LegEnd, LegListener, MediaStream, SipLeg
from engine.worker.agent_leg import AgentLeg
from engine.worker.audio_path import AudioPath
from engine.worker.keypad import Keypad

_REFUSED = 487
_NEVER_SENT = LegEnd(sip_code=0, sip_reason="", q850=None, by_remote=False, confirmed=False, rtp={})


class Dialler(Protocol):
    """The part of the SIP stack that a call uses."""

    def __call__(self, dial: Dial, listener: LegListener) -> SipLeg: ...


class WorkerCall:
    """One call from ``Dial`` to ``AttemptEnded``.

    The end of either side ends the other. ``emit`` gets each event, and ``AttemptEnded`` exactly once, when both sides
    are closed; then at most one ``LineFree``, if the far end confirms our hang-up later. ``audio`` is to be clocked
    from the beginning to the end.
    """

    def __init__(self, dial: Dial, emit: Callable[[Event], None], tls: ssl.SSLContext) -> None:
        self.attempt_id = dial.attempt_id
        self._dial = dial
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._leg: SipLeg | None = None
        self._leg_end: LegEnd | None = None
        self._line_held = False
        self._unsent = False
        self._answered_at_s: float | None = None
        self._outcome: Outcome | None = None
        self._received: int | None = None
        self._heard_at_s = 0.0
        self._over = False
        self.audio = AudioPath(on_first_word=self._on_first_word, on_played_out=self._on_played_out)
        self._keypad = Keypad(on_burst=self._on_keys, voice=self.audio, with_agent=dial.with_agent)
        self._agent = AgentLeg(
            dial,
            emit,
            audio=self.audio,
            keypad=self._keypad,
            tls=tls,
            sip_leg=lambda: self._leg,
            on_over=self._on_agent_over,
        )

    def dial(self, dialler: Dialler) -> None:
        """Send the INVITE; a refusal by the stack ends the call at once."""
        try:
            leg = dialler(self._dial, self)
        except SipError as error:
            self._unsent = True
            self.hang_up(engine_error(f"The call could not be sent to the trunk: {error}."))
            return
        if self._leg_end is None:  # PJSIP may report the end of a leg before it has returned the leg
            self._leg = leg
            # Not the loop's time: that is the time at which the loop's iteration began.
            self._emit(InviteSent(attempt_id=self.attempt_id, at_s=time.monotonic()))

    def join(self, command: JoinAgent) -> None:
        """Prepare the agent's session, and join it once the callee has answered."""
        if self._leg_end is not None or self._outcome is not None:
            return
        self._agent.prepare(command.join_url, command.sample_rate_hz)
        if self._answered_at_s is not None:
            self._agent.open()

    def hang_up(self, outcome: Outcome) -> None:
        """End both sides; ``outcome`` stands unless the far end ended the call first."""
        if self._outcome is not None or self._leg_end is not None:
            return
        self._outcome = outcome
        if self._leg is None:
            self.on_ended(_NEVER_SENT)
            return
        self._leg.hang_up()
        self._agent.close()

    def watch(self, limit_s: float) -> None:
        """Hang up when nothing came from the far end for ``limit_s``; to be called about once a second."""
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
        self._agent.open()

    def on_digit(self, digit: str) -> None:
        if self._answered_at_s is not None and self._outcome is None:
            self._keypad.heard(digit)

    def on_ended(self, end: LegEnd) -> None:
        self._leg_end = end
        self._line_held = end.lingering
        self._leg = None
        self.audio.end()
        self._agent.close()
        self._finish()

    def on_gone(self) -> None:
        self._line_held = False
        if self._over:
            self._emit(LineFree(attempt_id=self.attempt_id))

    # -- between leg and agent -----------------------------------------------------------------------------------------

    def _on_agent_over(self, failure: Outcome | None) -> None:
        """Hang up: after the agent's last word when it left in good order, at once when it failed."""
        if self._outcome is None and self._leg_end is None:
            if failure is None:
                self.audio.play_out()
            else:
                self.hang_up(failure)
        self._finish()

    def _on_keys(self, count: int, by_callee: bool) -> None:
        self._emit(DigitsPressed(attempt_id=self.attempt_id, count=count, by_callee=by_callee))

    def _on_first_word(self) -> None:
        now_s = self._loop.time()
        after_answer_ms = round((now_s - (self._answered_at_s or now_s)) * 1000, 1)
        self._emit(AgentSpoke(attempt_id=self.attempt_id, after_answer_ms=after_answer_ms))

    def _on_played_out(self) -> None:
        self.hang_up(AGENT_HANGUP)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        end = self._leg_end
        if end is None or not self._agent.gone or self._over:
            return
        self._over = True
        media = {**end.rtp, **self.audio.stats()}
        outcome, held = self._judge(end), self._line_held
        self._emit(
            AttemptEnded(attempt_id=self.attempt_id, outcome=outcome, media=media, unsent=self._unsent, line_held=held)
        )

    def _judge(self, end: LegEnd) -> Outcome:
        """The outcome of this attempt (``engine.outcome``): our own reason to hang up, or the far end's."""
        if end.refused is not None:
            return end.refused
        ours = self._outcome
        if end.confirmed:
            return ours or (ended_by_bye(end.q850) if end.by_remote else ended_by_stack(end.sip_code))
        if ours is not None and (not end.by_remote or end.sip_code == _REFUSED):
            return ours
        return refusal(end.sip_code, end.sip_reason, end.q850, retry_after_s=end.retry_after_s, by_remote=end.by_remote)
