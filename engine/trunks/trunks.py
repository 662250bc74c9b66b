"""The trunks: whether they can take a call, and in which order they are tried."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from engine.errors import CallerNotAllowed, TrunkUnavailable
from engine.messages.commands import TrunkAccount
from engine.messages.events import Probed, Registration
from engine.outcome import Outcome
from engine.sip.addressing import may_call_from
from engine.sip.causes import pause_s
from engine.trunks.health import TrunkHealth

_WIDEBAND = "G722"  # RFC 3551 §4.5.2: clocked at 8 kHz on the wire, 16 kHz in sound
_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkLimits:
    """The limits of a trunk: calls at once, and INVITEs in any window of one second. None means no limit."""

    max_calls: int | None = None
    calls_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """A configured trunk. ``provider`` is what records of plain calls show.

    Lower priorities are tried first. Among equal ones, each is first in proportion to its ``weight``. The next trunk is
    tried after a status of ``failover_on``, or when no response at all came within ``response_timeout_s``.
    """

    account: TrunkAccount
    provider: str
    callers: tuple[str, ...]
    """The numbers that may call through this trunk (``engine.sip.addressing.may_call_from``)."""
    priority: int
    weight: int
    limits: TrunkLimits
    failover_on: frozenset[int]
    response_timeout_s: float
    probe_failures: int

    @property
    def name(self) -> str:
        return self.account.name


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkState:
    """The current state of a trunk, with the number of its attempts and calls."""

    trunk: Trunk
    health: TrunkHealth
    calls: int


class Trunks(Protocol):
    """The trunks of one environment."""

    def route(self, caller: str) -> tuple[str, ...]:
        """The trunks that can take a call from that number, in the order to try them.

        Never empty: raises ``TrunkUnavailable``, or ``CallerNotAllowed`` when no trunk would ever take that caller.
        """
        ...

    def up(self, name: str) -> bool:
        """Whether the trunk can take a call now."""
        ...

    def get(self, name: str) -> Trunk:
        """The trunk's settings."""
        ...

    def account(self, name: str, slot: int) -> TrunkAccount:
        """The account with which the worker in ``slot`` dials through the trunk; raises ``TrunkUnavailable``."""
        ...

    def failed(self, name: str, outcome: Outcome) -> None:
        """An attempt through the trunk failed because of the trunk."""
        ...

    def health(self) -> Mapping[str, TrunkHealth]:
        """The health of each trunk by name; its text starts with ``up`` when the trunk can take calls."""
        ...


def offered_rate_hz(codecs: tuple[str, ...]) -> int:
    """The sample rate of the first codec offered, the codec that the trunk most probably answers with."""
    return 16_000 if codecs and codecs[0] == _WIDEBAND else 8_000


def order(trunks: Iterable[Trunk], rng: Callable[[], float]) -> list[Trunk]:
    """Sort by priority. Equal priorities are drawn at random by weight, without replacement (each sort key is the
    arrival time of an exponential)."""
    return sorted(trunks, key=lambda trunk: (trunk.priority, -(rng() ** (1 / trunk.weight))))


class ConfiguredTrunks:
    """The trunks of the configuration. A trunk that registers takes calls only while it is registered."""

    def __init__(
        self,
        trunks: Iterable[Trunk],
        *,
        rng: Callable[[], float] = random.random,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._rng = rng
        self._health = {
            name: TrunkHealth(registers=bool(trunk.account.registrar), probe_failures=trunk.probe_failures, now=now)
            for name, trunk in self._trunks.items()
        }

    def watched(self) -> tuple[TrunkAccount, ...]:
        """The trunks that are to be registered or probed."""
        accounts = (trunk.account for trunk in self._trunks.values())
        return tuple(account for account in accounts if account.registrar or account.probe_interval_s)

    def limits(self) -> Mapping[str, TrunkLimits]:
        """The limits of each trunk by name."""
        return {name: trunk.limits for name, trunk in self._trunks.items()}

    def note(self, event: Registration | Probed) -> bool:
        """Note a report of the registrar process; True when it is worth a log line."""
        health = self._health[event.trunk]
        return health.registration_changed(event) if isinstance(event, Registration) else health.probed(event)

    def registrations_lost(self) -> None:
        """The registrar process died: the state of every registration is unknown."""
        for health in self._health.values():
            health.registration_lost()

    def route(self, caller: str) -> tuple[str, ...]:
        allowed = [trunk for trunk in self._trunks.values() if may_call_from(trunk.callers, caller)]
        if route := tuple(trunk.name for trunk in order(allowed, self._rng) if self.up(trunk.name)):
            return route
        if self._trunks and not allowed:
            raise CallerNotAllowed(number for trunk in self._trunks.values() for number in trunk.callers)
        if not self._trunks:
            raise TrunkUnavailable(
                "No trunk is configured: a live key needs a [[trunks]] entry in trunkline.toml. "
                "A tk_test_ key works without one.",
                retry_after_s=60,
            )
        states = "; ".join(f"{name}: {health}" for name, health in self._health.items())
        raise TrunkUnavailable(f"No trunk can take the call ({states}).", retry_after_s=_RETRY_AFTER_S)

    def up(self, name: str) -> bool:
        return self._health[name].up

    def get(self, name: str) -> Trunk:
        return self._trunks[name]

    def account(self, name: str, slot: int) -> TrunkAccount:
        return self._trunks[name].account

    def failed(self, name: str, outcome: Outcome) -> None:
        if wait_s := pause_s(outcome):
            self._health[name].leave_alone(wait_s)

    def health(self) -> Mapping[str, TrunkHealth]:
        return self._health
