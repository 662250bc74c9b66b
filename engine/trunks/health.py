"""The health of one trunk: its registration, its probes, and how long it asked for no calls (Retry-After)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from engine.messages.events import Probed, Registration

_OUT_MAX_S = 3600
_REFUSED = (401, 403, 407)
_UNSENT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationState:
    """A registration (RFC 3261 §10) and since when. ``code`` and ``reason`` are the registrar's last response.

    Without a ``code`` no REGISTER could be sent, and ``reason`` is a sentence.
    """

    state: Literal["registered", "registering", "failed"]
    since: datetime
    code: int | None = None
    reason: str = ""
    expires_at: datetime | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeState:
    """The last OPTIONS. ``failures`` counts the failed probes in a row. Without a ``code`` it was not sent, and
    ``reason`` is a sentence."""

    code: int | None
    reason: str
    at: datetime
    failures: int


class TrunkHealth:
    """The health of one trunk. After ``probe_failures`` failed probes in a row it is down; the next answered probe
    brings it up again."""

    def __init__(self, *, registers: bool, probe_failures: int, now: Callable[[], datetime]) -> None:
        self.registration = RegistrationState(state="registering", since=now()) if registers else None
        self.probe: ProbeState | None = None
        self._probe_failures = probe_failures
        self._out_until: datetime | None = None
        self._now = now

    def registration_changed(self, event: Registration) -> bool:
        """Note a report of the registrar process; True when the state, the code or the reason changed."""
        before, now = self.registration, self._now()
        assert before is not None
        after = RegistrationState(
            state="registered" if event.registered else "failed",
            since=now,
            code=event.code or None,
            reason=event.reason,
            expires_at=now + timedelta(seconds=event.expires_s) if event.registered else None,
            hint="" if event.registered else event.hint or _hint(event.code),
        )
        changed = (before.state, before.code, before.reason) != (after.state, after.code, after.reason)
        self.registration = after if changed else replace(after, since=before.since)
        return changed

    def registration_lost(self) -> None:
        """The registrar process died: the state of the registration is unknown."""
        if self.registration is not None:
            self.registration = RegistrationState(state="registering", since=self._now())

    def probed(self, event: Probed) -> bool:
        """Note a probe; True when it brought the trunk down or up."""
        before = self._probe_down
        # RFC 3261 §11.2: any answer shows that the trunk is there. These show that it cannot take calls.
        failed = event.code in (_UNSENT, 408, 502, 503, 504)
        failures = (self.probe.failures if self.probe else 0) + 1 if failed else 0
        self.probe = ProbeState(code=event.code or None, reason=event.reason, at=self._now(), failures=failures)
        return self._probe_down != before

    def leave_alone(self, for_s: int) -> None:
        """Send the trunk no calls for ``for_s`` seconds, as its Retry-After asked; an hour at most."""
        self._out_until = self._now() + timedelta(seconds=min(for_s, _OUT_MAX_S))

    @property
    def out_until(self) -> datetime | None:
        """The time at which the trunk may be tried again; None when it may be now."""
        return self._out_until if self._out_until is not None and self._out_until > self._now() else None

    @property
    def up(self) -> bool:
        """Whether the trunk can take calls."""
        registered = self.registration is None or self.registration.state == "registered"
        return registered and not self._probe_down and self.out_until is None

    def __str__(self) -> str:
        """The health in words; starts with ``up`` when the trunk can take calls."""
        known = self.registration
        if known is not None and known.state != "registered":
            return f"registration failed: {_shown(known)}" if known.state == "failed" else "registering"
        if self._probe_down:
            assert self.probe is not None
            return f"down, OPTIONS failed: {_shown(self.probe)}"
        if until := self.out_until:
            return f"out until {until:%H:%M:%S} UTC (Retry-After)"
        return "up" if known is None else "up, registered"

    @property
    def _probe_down(self) -> bool:
        return self.probe is not None and self.probe.failures >= self._probe_failures


def _shown(answer: RegistrationState | ProbeState) -> str:
    return f"{answer.code} {answer.reason}" if answer.code is not None else answer.reason.rstrip(".")


def _hint(code: int) -> str:
    if code in _REFUSED:
        return "Check the trunk's username and password in the configuration, and that the carrier knows the account."
    if code in (_UNSENT, 408, 502, 503):
        return "Check the trunk's registrar and outbound_proxy in the configuration, the firewall and the route to it."
    return "The registrar's status says more; ask the carrier."
