"""One call in the control process: a single task that takes what happens and decides, writes and tells what follows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.call_state import CallState, Trigger, next_state, status_of, trigger_of
from engine.commands import Dial, HangUp, JoinAgent
from engine.errors import TrunkUnavailable
from engine.events import (
    AgentJoined,
    AgentLeft,
    AgentSpoke,
    Answered,
    DigitsPressed,
    InviteSent,
    LegEnded,
    Progress,
    Transcribed,
)
from engine.ledger import Ledger
from engine.outcome import (
    CALLER_HANGUP,
    CANCELED,
    RING_TIMEOUT,
    TRUNK_SILENT,
    WORKER_LOST,
    Cause,
    Outcome,
    Party,
    agent_failure,
    engine_error,
    max_duration,
    no_line,
)
from engine.pool import CallEvent
from engine.ports import AgentService, AgentSession, CallStore, Lines
from engine.records import AiStatus, CallRecord
from engine.trunks import Trunks
from media.errors import AgentBusy, AgentError, AgentRefused

log = logging.getLogger("trunkline.call")

_GRACE_S = 5.0
"""After we hang up: how long the far end's confirmation may keep the record open. The line stays held until it came."""
_OVERDUE_S = 10.0
"""How long after a limit of its own a call may still be busy with itself before it is taken for stuck."""
_READ_BACK_S = 1.5
"""How long the record of an ended AI call waits for the service's own word on why."""


_END_REASONS = {
    Cause.AGENT_HANGUP: "agent_hangup",
    Cause.AGENT_LOST: "connection_error",
    Cause.WORKER_LOST: "connection_error",
}
"""What an agent session's end reason must have been when the service cannot be asked; any other: the client hung up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """Times a call is bound by."""

    ring_timeout_s: float
    queue_timeout_s: float
    default_max_duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _AgentReady:
    session: AgentSession


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """Somebody on this side wants the call over."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Lost:
    """The worker died."""


_Input = CallEvent | _AgentReady | _End | _Lost


class Call:
    """A call from its accepted request to its final record.

    ``run`` is the only writer of the record; ``record`` may be read by anyone. ``publish`` is called after each change
    is committed.
    """

    def __init__(
        self,
        record: CallRecord,
        *,
        lines: Lines,
        trunks: Trunks,
        agents: AgentService | None,
        store: CallStore,
        limits: CallLimits,
        publish: Callable[[CallRecord], None],
    ) -> None:
        # set once
        self._lines = lines
        self._trunks = trunks
        self._agents = agents
        self._limits = limits
        self._ledger = Ledger(record, store=store, publish=publish, meanwhile=self._enforce_deadline)
        self._loop = asyncio.get_running_loop()
        self._inputs: asyncio.Queue[_Input] = asyncio.Queue()
        # touched by the call's task
        self._state = CallState.TRYING
        self._outcome: Outcome | None = None
        self._deadline_s: float | None = None
        self._at_deadline: Outcome | None = None
        self._hung_up = False
        self._media: dict[str, Any] = {}
        self._session: AgentSession | None = None
        self._creating: asyncio.Task[None] | None = None
        self._no_more_retries = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def record(self) -> CallRecord:
        """The record as it is committed."""
        return self._ledger.record

    def tell(self, event: CallEvent) -> None:
        """Something happened to the call."""
        self._inputs.put_nowait(event)

    def lost(self) -> None:
        """The worker that carried the call died."""
        self._inputs.put_nowait(_Lost())

    def end(self, outcome: Outcome | None = None) -> None:
        """Have the call ended; DELETE when no outcome is given. Asking again does no harm."""
        outcome = outcome or (CALLER_HANGUP if self._state is CallState.CONFIRMED else CANCELED)
        self._inputs.put_nowait(_End(outcome=outcome))
        if self._ledger.failing:
            self._hang_up(outcome)  # the phone does not wait for the record

    @property
    def dialled(self) -> bool:
        """Whether a worker has been given the call."""
        return self._deadline_s is not None

    def check(self) -> None:
        """End the call from outside when it is past a limit of its own and has done nothing about it."""
        if self._deadline_s is None or self._task is None or self._outcome is not None or self._ledger.failing:
            return
        if self._loop.time() > self._deadline_s + _OVERDUE_S:
            log.error("a call is stuck past its time; it is ended", extra={"call": self.record.id})
            self._outcome = self._at_deadline
            self._task.cancel()

    async def run(self) -> None:
        """Carry the call to its final record, whatever happens."""
        self._task = asyncio.current_task()
        try:
            await self._dial()
            while self._outcome is None:
                await self._step()
        except asyncio.CancelledError:
            if self._outcome is None or self._task is None:
                raise
            self._task.uncancel()  # it was `check`
        except Exception:
            log.exception("the call's task failed; the call is ended", extra={"call": self.record.id})
            self._outcome = engine_error("An internal error ended the call.")
        finally:
            if self._creating is not None:
                self._creating.cancel()
            self._lines.send(self.record.id, HangUp(call_id=self.record.id, outcome=self._outcome or CANCELED))
        await self._finalise(self._outcome)

    # -- steps ---------------------------------------------------------------------------------------------------------

    async def _dial(self) -> None:
        """Get a line and have the INVITE sent, unless the call is cancelled first."""
        leasing = asyncio.ensure_future(self._lines.lease(self.record.id, self._limits.queue_timeout_s))
        first = asyncio.ensure_future(self._inputs.get())
        await asyncio.wait({leasing, first}, return_when=asyncio.FIRST_COMPLETED)
        if first.done() and not leasing.done():
            leasing.cancel()
            await asyncio.wait({leasing})
            self._note_end(first.result())
            return
        if not first.cancel():
            self._inputs.put_nowait(first.result())
        try:
            slot = leasing.result()
            trunk = self._trunks.account(self.record.trunk, slot)
        except TimeoutError:
            self._outcome = no_line(self._limits.queue_timeout_s)
            return
        except TrunkUnavailable as error:
            self._lines.give_back(self.record.id)
            self._outcome = replace(engine_error(str(error)), cause=Cause.TRUNK_UNAVAILABLE)
            return
        request = self.record.request
        self._lines.send(
            self.record.id,
            Dial(
                call_id=self.record.id,
                sip_call_id=self.record.sip_call_id,
                trunk=trunk,
                from_number=request.from_number,
                to_number=request.to_number,
                with_agent=request.agent is not None,
            ),
        )
        self._end_after(self._limits.ring_timeout_s, RING_TIMEOUT)

    async def _step(self) -> None:
        try:
            async with asyncio.timeout_at(self._deadline_s):
                happened = await self._inputs.get()
        except TimeoutError:
            assert self._at_deadline is not None
            if self._hung_up:
                self._outcome = self._at_deadline
            elif self._state in (CallState.TRYING, CallState.PROCEEDING):
                self._hang_up(TRUNK_SILENT)
            else:
                self._hang_up(self._at_deadline)
            return
        await self._take(happened)

    async def _take(self, happened: _Input) -> None:
        match happened:
            case Progress():
                await self._progress(happened)
            case Answered():
                await self._answered(happened)
            case AgentJoined():
                ai = self.record.ai
                assert ai is not None
                now = self._ledger.now()
                await self._change("voice.ai.initiated", ai=replace(ai, status=AiStatus.ACTIVE, joined_at=now))
            case AgentSpoke():
                log.info(
                    "agent's first word", extra={"call": self.record.id, "after_answer_ms": happened.after_answer_ms}
                )
            case Transcribed():
                await self._ledger.add_line(happened.line)
            case DigitsPressed():
                by = Party.CALLEE if happened.by_callee else Party.AGENT
                await self._change("voice.dtmf", data={"by": by, "count": happened.count})
            case AgentLeft():
                await self._agent_left()
            case _AgentReady():
                await self._agent_ready(happened.session)
            case InviteSent():
                pass
            case LegEnded():
                self._media = dict(happened.media)
                self._outcome = happened.outcome
            case _Lost():
                self._outcome = WORKER_LOST
            case _End():
                self._hang_up(happened.outcome)

    def _note_end(self, happened: _Input) -> None:
        self._outcome = happened.outcome if isinstance(happened, _End) else WORKER_LOST

    def _hang_up(self, outcome: Outcome) -> None:
        if self._hung_up:
            return
        self._hung_up = True
        self._no_more_retries.set()
        self._lines.send(self.record.id, HangUp(call_id=self.record.id, outcome=outcome))
        self._end_after(_GRACE_S, outcome)

    def _enforce_deadline(self) -> None:
        """Hang up when the time is over, also while the call's task waits for the store."""
        if self._deadline_s is not None and self._loop.time() > self._deadline_s and self._at_deadline is not None:
            self._hang_up(self._at_deadline)

    def _end_after(self, delay_s: float, outcome: Outcome) -> None:
        self._deadline_s = self._loop.time() + delay_s
        self._at_deadline = outcome

    # -- the phone -----------------------------------------------------------------------------------------------------

    async def _progress(self, event: Progress) -> None:
        state = next_state(self._state, trigger_of(event.code))
        if state is CallState.EARLY:
            self._create_agent(event.codec_rate_hz)
            if self._state is not CallState.EARLY:
                self._state = state
                await self._change("voice.ringing", data={"sipCode": event.code}, ringing_at=self._ledger.now())
        self._state = state

    async def _answered(self, event: Answered) -> None:
        if self._hung_up:
            return
        self._state = next_state(self._state, Trigger.ANSWER)
        self._no_more_retries.set()
        self._create_agent(event.codec_rate_hz)
        limit_s = self._limit_s
        self._end_after(limit_s, max_duration(limit_s))
        await self._change("voice.answered", data={"codec": event.codec}, answered_at=self._ledger.now())

    @property
    def _limit_s(self) -> float:
        return self.record.request.max_duration_s or self._limits.default_max_duration_s

    # -- the agent -----------------------------------------------------------------------------------------------------

    def _create_agent(self, codec_rate_hz: int | None) -> None:
        """Have the agent's session made, once: at the first ring, or at the answer when nothing rang."""
        if self.record.request.agent is None or self._creating is not None or self._hung_up:
            return
        self._creating = self._loop.create_task(self._ask_for_agent(codec_rate_hz))

    async def _ask_for_agent(self, codec_rate_hz: int | None) -> None:
        assert self._agents is not None
        rate_hz = codec_rate_hz or self._trunks.preferred_rate_hz(self.record.trunk)
        try:
            session = await self._agents.create(
                self.record.request,
                sample_rate_hz=rate_hz,
                max_duration_s=self._limit_s,
                gave_up=self._no_more_retries,
            )
        except AgentError as error:
            cause = Cause.AGENT_UNREACHABLE
            if isinstance(error, AgentRefused):
                cause = Cause.AGENT_REFUSED
            elif isinstance(error, AgentBusy):
                cause = Cause.AGENT_BUSY
            self._inputs.put_nowait(_End(outcome=agent_failure(cause, str(error))))
        else:
            self._inputs.put_nowait(_AgentReady(session=session))

    async def _agent_ready(self, session: AgentSession) -> None:
        self._session = session
        if self._hung_up:
            return
        self._lines.send(
            self.record.id,
            JoinAgent(call_id=self.record.id, join_url=session.join_url, sample_rate_hz=session.sample_rate_hz),
        )
        ai = self.record.ai
        assert ai is not None
        created = replace(ai, status=AiStatus.CREATED, ultravox_call_id=session.ultravox_call_id)
        await self._change("voice.ai.created", ai=created)

    async def _agent_left(self) -> None:
        ai = self.record.ai
        assert ai is not None
        if ai.ended_at is None:
            await self._change("voice.ai.left", ai=replace(ai, status=AiStatus.ENDED, ended_at=self._ledger.now()))

    # -- the record ----------------------------------------------------------------------------------------------------

    async def _change(self, *kinds: str, data: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Commit a change of the record, whose last kind sums it up, then tell it."""
        status = status_of(self._state, answered=self.record.answered_at is not None)
        data = data or {}
        await self._ledger.change(*kinds, data=data, status=status, **fields)
        log.info("call %s", kinds[-1].removeprefix("voice."), extra={"call": self.record.id, **data})

    async def _finalise(self, outcome: Outcome | None) -> None:
        """The one place where a record becomes final."""
        assert outcome is not None
        ended_at = self._ledger.now()
        self._state = CallState.TERMINATED
        fields: dict[str, Any] = {"ended_at": ended_at, "media": self._media or None}
        if self.record.ai is not None:
            reason = await self._agent_end_reason(outcome)
            if reason == "timeout" and outcome.cause is Cause.AGENT_HANGUP:
                outcome = max_duration(self._limit_s)
            ai_ended_at = self.record.ai.ended_at or ended_at
            fields["ai"] = replace(self.record.ai, status=AiStatus.ENDED, ended_at=ai_ended_at, end_reason=reason)
        await self._change(*final_kinds(self.record), outcome=outcome, **fields)
        log.info("call ended", extra={"call": self.record.id, "by": outcome.by, "cause": outcome.cause, **self._media})

    async def _agent_end_reason(self, outcome: Outcome) -> str | None:
        ai = self.record.ai
        if ai is None or self._session is None or self._agents is None:
            return None
        if ai.joined_at is None:
            return "unjoined"
        told = await self._agents.end_reason(self._session.ultravox_call_id, _READ_BACK_S)
        return told or _END_REASONS.get(outcome.cause, "hangup")


def final_kinds(record: CallRecord) -> tuple[str, ...]:
    """The changes that a record becomes final with, in one transaction. The last one is a call's last."""
    final = "voice.completed" if record.answered_at is not None else "voice.failed"
    return ("voice.ai.ended", final) if record.ai is not None else (final,)
