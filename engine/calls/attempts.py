"""The attempts of one call, trunk after trunk: which trunk is next, how each ended, and which is current."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from engine.calls.pacer import DialGrant, Ticket
from engine.messages.commands import Command, Dial, HangUp
from engine.outcome import Outcome, held_back
from engine.records import Attempt, AttemptId, CallRecord, attempt_id_of
from engine.sip.causes import trunk_failed
from engine.trunks.trunks import Trunks


class AttemptQueue(Protocol):
    """Where a call's attempts get their trunk and line (``engine.calls.dial_queue``)."""

    def ask(self, ticket: Ticket, granted: Callable[[DialGrant], None]) -> None: ...

    def withdraw(self, attempt_id: AttemptId) -> str: ...

    def send(self, attempt_id: AttemptId, command: Command) -> bool: ...

    def invite_sent(self, attempt_id: AttemptId, at_s: float) -> None: ...


class Attempts:
    """Each attempt is a new INVITE with its own line and SIP Call-ID.

    An attempt that was given up keeps its line until its SIP leg is over: the worker ACKs a late 2xx and sends BYE. The
    call ignores its events (``current``).
    """

    def __init__(
        self,
        record: CallRecord,
        route: tuple[str, ...],
        *,
        queue: AttemptQueue,
        trunks: Trunks,
        granted: Callable[[DialGrant], None],
    ) -> None:
        self._record = record
        self._route = route
        self._queue = queue
        self._trunks = trunks
        self._granted = granted
        self._waiting = True
        self.attempts: tuple[Attempt, ...] = ()
        self.attempt_id = attempt_id_of(record.id, 1)

    def current(self, attempt_id: AttemptId) -> bool:
        """Whether it is the present attempt, and not one that was given up."""
        return attempt_id == self.attempt_id

    @property
    def waiting(self) -> bool:
        """Whether the attempt waits for a line."""
        return self._waiting

    @property
    def has_alternative(self) -> bool:
        """Whether another trunk could be tried."""
        return any(self._trunks.up(name) for name in self._route)

    def queue_up(self) -> None:
        """Wait for the next attempt's turn; ``granted`` is called once, unless the wait is given up before."""
        self._waiting = True
        self.attempt_id = attempt_id_of(self._record.id, len(self.attempts) + 1)
        new_session = self._record.request.agent is not None and not self.attempts
        self._queue.ask(Ticket(attempt_id=self.attempt_id, route=self._route, new_session=new_session), self._granted)

    def send_invite(self, granted: DialGrant) -> bool:
        """Dial over the line that was granted; False if its worker has died, so that no INVITE was sent.

        Raises ``TrunkUnavailable``; the line is given back.
        """
        request, ordinal = self._record.request, len(self.attempts) + 1
        account = self._trunks.account(granted.trunk, granted.slot)
        self._waiting = False
        sip_call_id = self._record.sip_call_id + (f"-{ordinal}" if ordinal > 1 else "")
        dial = Dial(
            attempt_id=self.attempt_id,
            sip_call_id=sip_call_id,
            trunk=account,
            from_number=request.from_number,
            to_number=request.to_number,
            with_agent=request.agent is not None,
        )
        if not self.send(dial):
            return False
        self._route = tuple(name for name in self._route if name != granted.trunk)
        self.attempts += (Attempt(trunk=granted.trunk, sip_call_id=sip_call_id, started_at=datetime.now(UTC)),)
        return True

    def take_back(self) -> None:
        """The worker could not send the INVITE: the attempt never was, and its trunk is to be tried again."""
        self._route = (self.attempts[-1].trunk, *self._route)
        self.attempts = self.attempts[:-1]

    def invite_sent(self, at_s: float) -> None:
        """The attempt's INVITE was sent at ``at_s`` of the monotonic clock."""
        self._queue.invite_sent(self.attempt_id, at_s)

    def send(self, command: Command) -> bool:
        """Send a command to the worker of the present attempt; False if the worker is gone."""
        return self._queue.send(self.attempt_id, command)

    def fails_over(self, outcome: Outcome) -> bool:
        """Whether another trunk is to be tried after this outcome. If it is the trunk's failure, note that."""
        trunk = self._trunks.get(self.attempts[-1].trunk)
        if not trunk_failed(outcome, trunk.failover_on):
            return False
        self._trunks.failed(trunk.name, outcome)
        return self.has_alternative

    def close(self, outcome: Outcome) -> None:
        """Give up the attempt: leave the queue, or hang up. What the far end still sends is the worker's business."""
        if self._waiting:
            self._waiting = False
            self._queue.withdraw(self.attempt_id)
        else:
            self.send(HangUp(attempt_id=self.attempt_id, outcome=outcome))

    def give_up_waiting(self, waited_s: float) -> Outcome:
        """Leave the queue; the outcome is the last attempt's, or else names the limit that held this one back."""
        self._waiting = False
        held_by = self._queue.withdraw(self.attempt_id)
        last = self.attempts[-1].outcome if self.attempts else None
        return last or held_back(held_by, waited_s)

    def note_end(self, outcome: Outcome) -> None:
        """Record the end of the present attempt."""
        if self.attempts and self.attempts[-1].ended_at is None:
            ended = replace(self.attempts[-1], ended_at=datetime.now(UTC), outcome=outcome)
            self.attempts = (*self.attempts[:-1], ended)

    def sum_up(self, outcome: Outcome) -> Outcome:
        """The call's outcome: the last attempt's, with the number of trunks if each one that was tried failed."""
        tried = len(self.attempts)
        failed = tried > 1 and all(
            attempt.outcome and trunk_failed(attempt.outcome, self._trunks.get(attempt.trunk).failover_on)
            for attempt in self.attempts
        )
        return replace(outcome, detail=f"{outcome.detail} {tried} trunks were tried.") if failed else outcome
