"""The agent's side of one call in a worker: a session, prepared while the phone rings and opened at the answer."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable

from engine.messages.commands import Dial
from engine.messages.events import AgentJoined, AgentLeft, Event, Transcribed
from engine.outcome import AGENT_LOST, Cause, Outcome, agent_failure
from engine.records import Speaker, TranscriptTurn, call_of
from engine.sip.dtmf import PRESS_KEYS
from engine.sip.leg_port import SipLeg
from engine.worker.audio_path import AudioPath
from engine.worker.keypad import Keypad
from media.errors import AgentError
from media.ultravox.connection import AgentConnection, PendingSession
from media.ultravox.session import AgentState, ClearPlayback, SessionEvent, SessionStarted, ToolInvoked, TurnFinal
from media.ultravox.websocket import Closed

log = logging.getLogger("trunkline.worker")


class AgentLeg:
    """One agent session: ``prepare``, then ``open``, then ``close``. Nothing is left open after ``close``.

    ``on_over`` is called at most once, when the session has ended or could not begin: with None when the service closed
    it in good order, with the outcome when it failed. ``sip_leg`` returns the leg on which to press the agent's keys,
    or None when that leg is over.
    """

    def __init__(
        self,
        dial: Dial,
        emit: Callable[[Event], None],
        *,
        audio: AudioPath,
        keypad: Keypad,
        tls: ssl.SSLContext,
        sip_leg: Callable[[], SipLeg | None],
        on_over: Callable[[Outcome | None], None],
    ) -> None:
        self.gone = not dial.with_agent
        """True when no session is open and none will be. In a plain call it is true from the start."""
        self._attempt_id = dial.attempt_id
        self._emit = emit
        self._audio = audio
        self._keypad = keypad
        self._tls = tls
        self._sip_leg = sip_leg
        self._on_over = on_over
        self._pending: PendingSession | None = None
        self._rate_hz = 0
        self._joining: asyncio.Task[None] | None = None
        self._connection: AgentConnection | None = None

    def prepare(self, join_url: str, rate_hz: int) -> None:
        """Begin to connect, so that ``open`` is quick. The service is not asked for the session yet."""
        try:
            self._pending = PendingSession(join_url, tls=self._tls)
        except AgentError as error:
            self._fail(error)
        else:
            self._rate_hz = rate_hz

    def open(self) -> None:
        """Join the prepared session; does nothing when there is none."""
        if self._pending is not None:
            on_audio = self._audio.bridge_to(self._rate_hz)
            self._joining = asyncio.create_task(self._join(self._pending, on_audio))

    def check_backlog(self) -> None:
        """Check whether the agent reads too slowly; to be called about once a second."""
        if self._connection is not None:
            self._connection.check_backlog()

    def close(self) -> None:
        """End the session, whether it is open, being opened or only prepared. A second call has no effect."""
        self._keypad.close()
        if self._joining is not None:
            self._joining.cancel()
            self._joining = None
        if self._connection is not None:
            self._connection.close()
        else:
            self.gone = True
            if self._pending is not None:
                self._pending.leave()
                self._pending = None

    async def _join(self, pending: PendingSession, on_audio: Callable[[bytes], None]) -> None:
        try:
            connection = await pending.join(on_audio=on_audio, on_event=self._on_event, on_closed=self._on_closed)
        except AgentError as error:
            self._joining = None
            self._fail(error)
            return
        self._joining = self._pending = None
        self._connection = connection
        self._audio.join(connection)
        self._emit(AgentJoined(attempt_id=self._attempt_id))

    def _fail(self, error: AgentError) -> None:
        self._on_over(agent_failure(Cause.AGENT_UNREACHABLE, str(error)))

    def _on_event(self, event: SessionEvent) -> None:
        match event:
            case ClearPlayback():
                self._audio.clear()
            case AgentState():
                self._audio.agent_turn(event.state == "speaking")
            case TurnFinal():
                speaker = Speaker.AGENT if event.role == "agent" else Speaker.USER
                turn = TranscriptTurn(
                    ordinal=event.ordinal, speaker=speaker, text=event.text, truncated=event.truncated
                )
                self._emit(Transcribed(attempt_id=self._attempt_id, turn=turn))
            case SessionStarted():
                if self._connection is not None:
                    self._keypad.attach(self._connection)
            case ToolInvoked():
                self._run_tool(event)

    def _run_tool(self, invoked: ToolInvoked) -> None:
        sip_leg = self._sip_leg()
        if invoked.name == PRESS_KEYS and sip_leg is not None:
            self._keypad.press(invoked, sip_leg)
        elif self._connection is not None:
            self._connection.refuse_tool(invoked.invocation_id)

    def _on_closed(self, closed: Closed) -> None:
        self._connection = None
        self.gone = True
        self._audio.leave()
        self._emit(AgentLeft(attempt_id=self._attempt_id))
        if closed.by_us and not closed.clean:
            extra = {"call": call_of(self._attempt_id), "reason": closed.reason}
            log.warning("the AI service broke a rule; its session is closed", extra=extra)
        self._on_over(None if closed.clean else AGENT_LOST)
