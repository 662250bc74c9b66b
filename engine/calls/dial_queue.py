"""The queue of attempts: connects the pacer's decisions to the clock, the trunks and the pool's lines."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from engine.calls.pacer import DialGrant, Pacer, Ticket
from engine.errors import NoCapacity
from engine.messages.commands import Command
from engine.processes.pool import WorkerPool
from engine.records import AttemptId
from engine.trunks.trunks import Trunks

_LONGEST_HOLD_S = 10.0


class DialQueue:
    """One environment's queue for lines. Each attempt that asks is granted a line once, or withdraws."""

    def __init__(self, pool: WorkerPool, trunks: Trunks, pacer: Pacer) -> None:
        self._pool = pool
        self._trunks = trunks
        self._pacer = pacer
        self._granted: dict[AttemptId, Callable[[DialGrant], None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        pool.watch(on_room=self.grant_turns, on_free=pacer.mark_ended)

    def ask(self, ticket: Ticket, granted: Callable[[DialGrant], None]) -> None:
        """Queue an attempt. ``granted`` is called once, perhaps before this returns; the line is then the attempt's."""
        self._granted[ticket.attempt_id] = granted
        self._pacer.join(ticket)
        self.grant_turns()

    def withdraw(self, attempt_id: AttemptId) -> str:
        """Leave the queue; returns the settings that held the attempt. An attempt that has a line gives it back."""
        if self._granted.pop(attempt_id, None) is None:
            self._pool.give_back(attempt_id)
            return ""
        return self._pacer.leave(attempt_id)

    def send(self, attempt_id: AttemptId, command: Command) -> bool:
        """Send a command to the worker that carries the attempt; False when it is gone."""
        return self._pool.send(attempt_id, command)

    def invite_sent(self, attempt_id: AttemptId, at_s: float) -> None:
        """The attempt's INVITE left, by the monotonic clock."""
        self._pacer.sent(attempt_id, at_s)
        self.grant_turns()

    def check_wait(self, route: tuple[str, ...], timeout_s: float, *, new_session: bool) -> None:
        """Raises ``NoCapacity`` when the queue for these trunks is longer than can be served in time."""
        wait_s = self._pacer.wait_s(route, new_session=new_session)
        if wait_s > timeout_s:
            raise NoCapacity(
                f"Too many calls are queued: this one would wait {wait_s:g} s, longer than sip.queue_timeout "
                f"({timeout_s:g} s).",
                retry_after_s=math.ceil(wait_s - timeout_s),
            )

    def hold_sessions(self, wait_s: float) -> None:
        """Request no agent session for ``wait_s`` seconds, or for ``_LONGEST_HOLD_S`` when that is shorter."""
        self._pacer.hold_sessions(asyncio.get_running_loop().time() + min(wait_s, _LONGEST_HOLD_S))

    def calls(self, trunk: str) -> int:
        """The number of attempts and calls that the trunk has now."""
        return self._pacer.calls(trunk)

    def grant_turns(self) -> None:
        """Grant lines to the attempts that may dial; to be called when a trunk or a line has become free."""
        loop = asyncio.get_running_loop()
        for granted in self._pacer.grants(loop.time(), self._trunks.up, self._pool.lease):
            self._granted.pop(granted.attempt_id)(granted)
        if self._timer is not None:
            self._timer.cancel()
        wake_at_s = self._pacer.wake_at_s()
        self._timer = None if wake_at_s is None else loop.call_at(wake_at_s, self.grant_turns)
