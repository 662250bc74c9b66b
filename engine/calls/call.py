"""One call in the control process: a single task that takes in what happens, decides, and writes the record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from engine.agent_service import AgentService, AgentSession, SessionTerms
from engine.calls.agent import AgentSide
from engine.calls.attempts import AttemptQueue, Attempts
from engine.calls.call_store import CallStore
from engine.calls.ledger import Ledger, final_kinds
from engine.calls.pacer import DialGrant
from engine.calls.state import CallState, Trigger, allows, next_state, status_of, trigger_of
from engine.errors import TrunkUnavailable
from engine.messages.commands import HangUp, JoinAgent
from engine.messages.events import (
    AgentJoined,
    AgentLeft,
    AgentSpoke,
    Answered,
    AttemptEnded,
    CallEvent,
    DigitsPressed,
    InviteSent,
    Progress,
    Transcribed,
)
from engine.outcome import (
    CALLER_HANGUP,
    CANCELED,
    RING_TIMEOUT,
    TRUNK_SILENT,
    WORKER_LOST,
    Cause,
    Outcome,
    Party,
    engine_error,
    max_duration,
)
from engine.records import AiRecord, AttemptId, CallRecord
from engine.trunks.trunks import Trunks, offered_rate_hz

log = logging.getLogger("trunkline.call")

_GRACE_S = 5.0
"""How long the record stays open after we hang up, for the far end to confirm. The line is held until it does."""
_MOST_UNSENT = 3
"""So many workers in a row may fail to send an INVITE before the call does."""
_OVERDUE_S = 10.0
"""How long a call's task may be busy past a limit before it counts as stuck."""
_NO_TURN = engine_error("The call waited too long for its turn.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """The time limits of every call, from the configuration."""

    ring_timeout_s: float
    queue_timeout_s: float
    default_max_duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At ``at_s``, by the loop's clock, the call's task does ``then``. If the task is stuck and cannot, ``Call.check``
    ends the call with ``outcome``."""

    at_s: float
    then: Callable[[], Awaitable[None]]
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class _AgentReady:
    ultravox_call_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """A request of this side to end the call; without an outcome it is DELETE."""

    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class _Lost:
    """The worker died."""

    attempt_id: AttemptId


_Input = CallEvent | DialGrant | _AgentReady | _End | _Lost


class Call:
    """A call from its accepted request to its final record; the trunks of ``route`` are tried in that order.

    Only ``run`` writes the record; anyone may read ``record``. ``publish`` is called after each change is committed.
    """

    def __init__(
        self,
        record: CallRecord,
        route: tuple[str, ...],
        *,
        queue: AttemptQueue,
        trunks: Trunks,
        agents: AgentService | None,
        store: CallStore,
        limits: CallLimits,
        publish: Callable[[CallRecord], None],
    ) -> None:
        # set once
        self._trunks = trunks
        self._limits = limits
        self._ledger = Ledger(record, store=store, publish=publish)
        self._loop = asyncio.get_running_loop()
        self._inputs: asyncio.Queue[_Input] = asyncio.Queue()
        self._attempts = Attempts(record, route, queue=queue, trunks=trunks, granted=self._inputs.put_nowait)
        self._agent: AgentSide | None = None
        if agents is not None and record.ai is not None:
            self._agent = AgentSide(
                agents,
                record.request,
                ready=self._join,
                failed=self.end,
            )
        # changes as the call goes
        self._state = CallState.TRYING
        self._outcome: Outcome | None = None
        # What the task does next if nothing happens, and when `check` steps in. They are the same limit, except while
        # a trunk has not responded yet: then `due` ends the silence, and `hard_stop` the ringing.
        self._due = self._hard_stop = self._limit_in(limits.queue_timeout_s, self._waited_too_long, _NO_TURN)
        self._hung_up = False
        self._unsent = 0
        self._dialled: dict[str, Any] = {}
        self._media: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def record(self) -> CallRecord:
        """The record, as committed."""
        return self._ledger.record

    def deliver(self, event: CallEvent) -> None:
        """Queue an event for the call's task."""
        self._inputs.put_nowait(event)

    def lost(self, attempt_id: AttemptId) -> None:
        """Notify the call that the worker of the attempt died."""
        self._inputs.put_nowait(_Lost(attempt_id))

    def end(self, outcome: Outcome | None = None) -> None:
        """Have the call ended: with ``outcome``, or as DELETE ends it now. Asking again does no harm.

        This does two things. It always queues the request for the call's task, in order with what happened before. And
        it hangs up at once, from outside the task, once the call is confirmed or while the store fails: the task may
        then hang in a write, and nobody's phone stays connected because a disk does not respond. In any other state the
        queue alone is right, because an answer may be waiting in it, and it decides what DELETE is: a hang-up after the
        answer, a cancellation before.
        """
        self._inputs.put_nowait(_End(outcome=outcome))
        if self._state is CallState.CONFIRMED or self._ledger.failing:
            self._hang_up(outcome or self._deleted)

    @property
    def attempt_id(self) -> AttemptId | None:
        """The attempt that has a line; None while the call waits for one."""
        return None if self._attempts.waiting else self._attempts.attempt_id

    def check(self) -> None:
        """End a call that is past its hard stop because its task is stuck. To be called each second.

        While the task waits for a write, the call is only hung up; its record becomes final when the write returns.
        """
        if self._task is None or self._outcome is not None:
            return
        late_s = self._loop.time() - self._hard_stop.at_s
        if self._ledger.writing:
            if late_s > 0:
                self._hang_up(self._hard_stop.outcome)  # the task goes on: a cancelled write could still be committed
        elif late_s > _OVERDUE_S:
            log.error("call stuck past its limit, ending it", extra={"call": self.record.id})
            self._outcome = self._hard_stop.outcome
            self._task.cancel()

    async def run(self) -> None:
        """Take the call to its final record, whatever happens."""
        self._task = asyncio.current_task()
        try:
            self._queue_up()
            while self._outcome is None:
                await self._step()
        except asyncio.CancelledError:
            if self._outcome is None or self._task is None:
                raise
            self._task.uncancel()  # `check` cancelled it
        except Exception:
            log.exception("call's task failed, ending the call", extra={"call": self.record.id})
            self._outcome = engine_error("An internal error ended the call.")
        finally:
            if self._agent is not None:
                self._agent.close(joined=self._ai.joined_at is not None)
            self._attempts.close(self._outcome or CANCELED)
        await self._finalise(self._outcome)

    def _move(self, trigger: Trigger) -> None:
        """The only place where the state changes, as the table says. Raises ``IllegalTransition``."""
        before, self._state = self._state, next_state(self._state, trigger)
        if self._state is not before:
            log.debug("= %s", self._state, extra={"call": self.record.id})

    # -- steps ---------------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        try:
            async with asyncio.timeout_at(self._due.at_s):
                happened = await self._inputs.get()
        except TimeoutError:
            await self._due.then()
        else:
            await self._take(happened)

    async def _take(self, happened: _Input) -> None:
        match happened:
            case DialGrant():
                self._dial(happened)
            case _AgentReady():
                await self._change("voice.ai.created", ai=self._ai.created(happened.ultravox_call_id))
            case _End():
                self._hang_up(happened.outcome or self._deleted)
            case _Lost():
                if self._attempts.current(happened.attempt_id) and not self._attempts.waiting:
                    self._outcome = WORKER_LOST
            case _ if self._attempts.current(happened.attempt_id):
                await self._hear(happened)

    async def _hear(self, event: CallEvent) -> None:
        match event:
            case InviteSent():
                self._attempts.invite_sent(event.at_s)
            case Progress():
                await self._progress(event)
            case Answered():
                await self._answered(event)
            case AgentJoined():
                await self._change("voice.ai.joined", ai=self._ai.joined(self._ledger.now()))
            case AgentSpoke():
                log.info("agent's first word", extra={"call": self.record.id, "after_answer_ms": event.after_answer_ms})
            case Transcribed():
                await self._ledger.add_turn(event.turn)
            case DigitsPressed():
                by = Party.CALLEE if event.by_callee else Party.AGENT
                await self._change("voice.dtmf", data={"by": by, "count": event.count})
            case AgentLeft():
                await self._change("voice.ai.left", ai=self._ai.ended(self._ledger.now()))
            case AttemptEnded():
                await self._attempt_ended(event)

    def _hang_up(self, outcome: Outcome) -> None:
        if self._hung_up:
            return
        self._hung_up = True
        if self._agent is not None:
            self._agent.wait_no_more()
        if self._attempts.waiting:
            self._outcome = outcome
            return
        self._attempts.send(HangUp(attempt_id=self._attempts.attempt_id, outcome=outcome))
        self._due = self._hard_stop = self._limit_in(_GRACE_S, partial(self._end_with, outcome), outcome)

    @property
    def _deleted(self) -> Outcome:
        """The outcome of a DELETE now."""
        return CALLER_HANGUP if self._state is CallState.CONFIRMED else CANCELED

    async def _end_with(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def _limit_in(self, delay_s: float, then: Callable[[], Awaitable[None]], outcome: Outcome) -> Limit:
        return Limit(at_s=self._loop.time() + delay_s, then=then, outcome=outcome)

    # -- dialling ------------------------------------------------------------------------------------------------------

    def _queue_up(self) -> None:
        self._due = self._hard_stop = self._limit_in(self._limits.queue_timeout_s, self._waited_too_long, _NO_TURN)
        self._attempts.queue_up()

    async def _waited_too_long(self) -> None:
        self._outcome = self._attempts.give_up_waiting(self._limits.queue_timeout_s)

    def _dial(self, granted: DialGrant) -> None:
        trunk = self._trunks.get(granted.trunk)
        try:
            if not self._attempts.send_invite(granted):
                self._queue_up()  # no INVITE was sent: another worker may dial
                return
        except TrunkUnavailable as error:
            self._outcome = replace(engine_error(str(error)), cause=Cause.TRUNK_UNAVAILABLE)
            return
        provider = trunk.provider if self.record.request.agent is None else self.record.provider
        self._dialled = {"trunk": trunk.name, "provider": provider, "attempts": self._attempts.attempts}
        rings_for_s = self._limits.ring_timeout_s
        self._hard_stop = self._limit_in(rings_for_s, self._rang_too_long, RING_TIMEOUT)
        self._due = self._limit_in(min(trunk.response_timeout_s, rings_for_s), self._no_response, TRUNK_SILENT)

    async def _no_response(self) -> None:
        """The trunk is silent. If no other trunk can be tried, it has until the end of the ringing."""
        if self._state is CallState.TRYING and self._attempts.fails_over(TRUNK_SILENT):
            self._attempts.close(TRUNK_SILENT)
            await self._fail_over(TRUNK_SILENT)
        else:
            self._due = self._hard_stop

    async def _rang_too_long(self) -> None:
        self._hang_up(RING_TIMEOUT if self._state is CallState.EARLY else TRUNK_SILENT)

    async def _attempt_ended(self, event: AttemptEnded) -> None:
        unheard = allows(self._state, Trigger.NEXT_TRUNK) and not self._hung_up
        if event.unsent and unheard and self._unsent < _MOST_UNSENT:
            self._unsent += 1
            self._attempts.take_back()
            self._move(Trigger.NEXT_TRUNK)
            self._queue_up()
            return
        if unheard and self._attempts.fails_over(event.outcome):
            await self._fail_over(event.outcome)
            return
        self._media = dict(event.media)
        self._outcome = event.outcome

    async def _fail_over(self, outcome: Outcome) -> None:
        self._attempts.note_end(outcome)
        self._move(Trigger.NEXT_TRUNK)
        self._queue_up()
        failed: dict[str, Any] = {"trunk": self._dialled["trunk"], "cause": outcome.cause, "sipCode": outcome.sip_code}
        await self._change("voice.trunk.failed", data=failed, attempts=self._attempts.attempts)

    # -- the phone -----------------------------------------------------------------------------------------------------

    async def _progress(self, event: Progress) -> None:
        before = self._state
        self._move(trigger_of(event.code))
        if before is CallState.TRYING and not self._hung_up:
            self._due = self._hard_stop
        if self._state is CallState.EARLY:
            self._ask_for_agent(event.codec_rate_hz)
            if before is not CallState.EARLY:
                await self._change("voice.ringing", data={"sipCode": event.code}, ringing_at=self._ledger.now())

    async def _answered(self, event: Answered) -> None:
        if self._hung_up:
            return
        self._move(Trigger.ANSWER)
        self._ask_for_agent(event.codec_rate_hz)
        if self._agent is not None:
            self._agent.wait_no_more()
        limit_s = self._max_duration_s
        self._due = self._hard_stop = self._limit_in(limit_s, self._lasted_too_long, max_duration(limit_s))
        await self._change("voice.answered", data={"codec": event.codec}, answered_at=self._ledger.now())

    async def _lasted_too_long(self) -> None:
        self._hang_up(max_duration(self._max_duration_s))

    @property
    def _max_duration_s(self) -> float:
        return self.record.request.max_duration_s or self._limits.default_max_duration_s

    # -- the agent -----------------------------------------------------------------------------------------------------

    @property
    def _ai(self) -> AiRecord:
        assert self.record.ai is not None
        return self.record.ai

    def _ask_for_agent(self, codec_rate_hz: int | None) -> None:
        """Ask for the agent's session: at the first ring, or at the answer if nothing rang."""
        if self._agent is not None and not self._hung_up:
            rate_hz = codec_rate_hz or offered_rate_hz(self._trunks.get(self._dialled["trunk"]).account.codecs)
            rings_for_s = 0.0 if self._state is CallState.CONFIRMED else self._hard_stop.at_s - self._loop.time()
            self._agent.ask(
                SessionTerms(
                    sample_rate_hz=rate_hz, max_duration_s=self._max_duration_s, rings_for_s=max(rings_for_s, 0.0)
                )
            )

    def _join(self, session: AgentSession) -> None:
        """Have the worker join the agent at once: the conversation does not wait for the record."""
        if self._hung_up:
            return
        attempt_id, rate_hz = self._attempts.attempt_id, session.sample_rate_hz
        self._attempts.send(JoinAgent(attempt_id=attempt_id, join_url=session.join_url, sample_rate_hz=rate_hz))
        self._inputs.put_nowait(_AgentReady(ultravox_call_id=session.ultravox_call_id))

    # -- the record ----------------------------------------------------------------------------------------------------

    async def _change(self, *kinds: str, data: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Commit a change of the record, then publish it. The last of ``kinds`` names the change in the log."""
        status = status_of(self._state, answered=self.record.answered_at is not None)
        data = data or {}
        await self._ledger.change(*kinds, data=data, status=status, **(self._dialled | fields))
        log.info("call %s", kinds[-1].removeprefix("voice."), extra={"call": self.record.id, **data})

    async def _finalise(self, outcome: Outcome | None) -> None:
        """The only place where a record becomes final."""
        assert outcome is not None
        ended_at = self._ledger.now()
        self._move(Trigger.END)
        self._attempts.note_end(outcome)
        outcome = self._attempts.sum_up(outcome)
        fields: dict[str, Any] = {"ended_at": ended_at, "media": self._media or None}
        fields["attempts"] = self._attempts.attempts
        if self._agent is not None:
            reason = await self._agent.end_reason(self._ai, outcome.cause)
            outcome = self._agent.judge(outcome, reason, self._max_duration_s)
            fields["ai"] = self._ai.ended(ended_at, reason)
        await self._change(*final_kinds(self.record), outcome=outcome, **fields)
        log.info("call ended", extra={"call": self.record.id, "by": outcome.by, "cause": outcome.cause, **self._media})
