"""The pacer decides which waiting attempt may dial now, and through which trunk. Pure: the caller passes the time.

Attempts wait in order of arrival. Each is granted the first trunk of its route that can take calls and has room under
its limits, as soon as a line is free and, for an AI call, the agent service accepts another session. An attempt that is
blocked on one resource never blocks attempts that don't need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from engine.records import AttemptId
from engine.trunks.trunks import TrunkLimits

_WINDOW_S = 1.0
NO_LINE = "sip.max_calls"
AGENTS_BUSY = "Ultravox, which reported that it is at its own limit"


@dataclass(slots=True, kw_only=True, eq=False)
class Ticket:
    """A waiting attempt. ``held_by`` is the setting that last held it back; empty when no trunk could take calls."""

    attempt_id: AttemptId
    route: tuple[str, ...]
    new_session: bool
    """The agent service will be asked for a session."""
    held_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DialGrant:
    """The attempt may dial: through this trunk, over a line of the worker in this slot."""

    attempt_id: AttemptId
    trunk: str
    slot: int


@dataclass(slots=True)
class _Rate:
    """At most ``limit`` in any window of one second. A granted attempt counts as now until its time is known."""

    name: str
    limit: int | None
    times: dict[AttemptId, float | None] = field(default_factory=dict)

    def held_by(self, now_s: float) -> str:
        over = [one for one, at_s in self.times.items() if at_s is not None and at_s + _WINDOW_S <= now_s]
        for attempt_id in over:
            del self.times[attempt_id]
        return "" if self.limit is None or len(self.times) < self.limit else f"{self.name} = {self.limit}"

    def take(self, attempt_id: AttemptId, at_s: float | None) -> None:
        if self.limit is not None:
            self.times[attempt_id] = at_s

    def happened(self, attempt_id: AttemptId, at_s: float) -> None:
        if attempt_id in self.times:
            self.times[attempt_id] = at_s

    def forget_unsent(self, attempt_id: AttemptId) -> None:
        if attempt_id in self.times and self.times[attempt_id] is None:
            del self.times[attempt_id]

    @property
    def opens_at_s(self) -> float | None:
        """The time at which the next one may go. None: now, or unknown until the time of a granted one is known."""
        known = [at_s for at_s in self.times.values() if at_s is not None]
        full = self.limit is not None and len(self.times) >= self.limit
        return min(known) + _WINDOW_S if known and full else None


class Pacer:
    """All limits of one environment, and the queue of attempts. Attempt ids are unique."""

    def __init__(self, trunks: Mapping[str, TrunkLimits], *, creations_per_second: int | None = None) -> None:
        self._limits = trunks
        self._invites = {
            name: _Rate(f"trunks[{name}].calls_per_second", limits.calls_per_second) for name, limits in trunks.items()
        }
        self._creations = _Rate("ultravox.creations_per_second", creations_per_second)
        self._sessions_from_s = 0.0
        self._calls: dict[str, set[AttemptId]] = {name: set() for name in trunks}
        self._waiting: dict[AttemptId, Ticket] = {}

    def join(self, ticket: Ticket) -> None:
        """Join the queue."""
        self._waiting[ticket.attempt_id] = ticket

    def leave(self, attempt_id: AttemptId) -> str:
        """Leave the queue; returns the settings that held the attempt, or "" when no trunk could take calls."""
        return self._waiting.pop(attempt_id).held_by

    def hold_sessions(self, until_s: float) -> None:
        """The agent service reported that it is at its limit: begin no session before ``until_s``."""
        self._sessions_from_s = max(self._sessions_from_s, until_s)

    def calls(self, trunk: str) -> int:
        """The number of attempts and calls that the trunk has now."""
        return len(self._calls[trunk])

    def grants(
        self, now_s: float, up: Callable[[str], bool], lease: Callable[[AttemptId], int | None]
    ) -> Iterator[DialGrant]:
        """The attempts that may dial now, in order of arrival. ``lease`` takes a line; it returns None without one."""
        no_line = False
        for ticket in list(self._waiting.values()):
            trunk = self._trunk_for(ticket, now_s, up)
            if trunk is None:
                continue
            slot = None if no_line else lease(ticket.attempt_id)
            if slot is None:
                no_line, ticket.held_by = True, NO_LINE
                continue
            del self._waiting[ticket.attempt_id]
            self._calls[trunk].add(ticket.attempt_id)
            self._invites[trunk].take(ticket.attempt_id, None)
            if ticket.new_session:
                self._creations.take(ticket.attempt_id, now_s)
            yield DialGrant(attempt_id=ticket.attempt_id, trunk=trunk, slot=slot)

    def sent(self, attempt_id: AttemptId, at_s: float) -> None:
        """The attempt's INVITE was sent at ``at_s``: it counts against the rate for one second from then."""
        for rate in self._invites.values():
            rate.happened(attempt_id, at_s)

    def mark_ended(self, attempt_id: AttemptId) -> None:
        """The attempt is over and its line is free."""
        for calls in self._calls.values():
            calls.discard(attempt_id)
        for rate in self._invites.values():
            rate.forget_unsent(attempt_id)

    def wake_at_s(self) -> float | None:
        """The time at which an attempt may be granted without any event; None while no attempt waits for a time."""
        if not self._waiting:
            return None
        opens = [rate.opens_at_s for rate in (*self._invites.values(), self._creations)]
        if any(ticket.held_by == AGENTS_BUSY for ticket in self._waiting.values()):
            opens.append(self._sessions_from_s)
        return min((at_s for at_s in opens if at_s is not None), default=None)

    def wait_s(self, route: Iterable[str], *, new_session: bool) -> float:
        """The least time that an attempt that joins now would wait, from the rates alone."""
        limits = [self._limits[name].calls_per_second for name in route]
        rates = [(len(self._waiting), sum(limit or 0 for limit in limits))] if all(limits) else []
        if new_session:
            before = sum(ticket.new_session for ticket in self._waiting.values())
            rates.append((before, self._creations.limit or 0))
        return max((waiting // rate * _WINDOW_S for waiting, rate in rates if rate), default=0.0)

    def _trunk_for(self, ticket: Ticket, now_s: float, up: Callable[[str], bool]) -> str | None:
        held = {name: self._full(name, now_s) for name in ticket.route if up(name)}
        creations = self._sessions_held_by(now_s) if ticket.new_session else ""
        ticket.held_by = creations or ", ".join(held.values())
        return None if creations else next((name for name, limit in held.items() if not limit), None)

    def _sessions_held_by(self, now_s: float) -> str:
        return AGENTS_BUSY if now_s < self._sessions_from_s else self._creations.held_by(now_s)

    def _full(self, name: str, now_s: float) -> str:
        limit = self._limits[name].max_calls
        if limit is not None and len(self._calls[name]) >= limit:
            return f"trunks[{name}].max_calls = {limit}"
        return self._invites[name].held_by(now_s)
