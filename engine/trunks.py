"""The trunks and whether they can take a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.commands import TrunkAccount
from engine.errors import CallerNotAllowed, TrunkUnavailable
from engine.events import Registration
from engine.identity import may_call_from

_WIDEBAND = "G722"  # RFC 3551 §4.5.2: clocked at 8 kHz on the wire, 16 kHz in sound
_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """A configured trunk. ``provider`` is what records of plain calls show."""

    account: TrunkAccount
    provider: str
    callers: tuple[str, ...] = ()
    """The numbers that may call through it (``engine.identity.may_call_from``)."""


class Trunks(Protocol):
    """The trunks of one environment."""

    def pick(self, caller: str) -> Trunk:
        """The trunk for a call from that number; raises ``TrunkUnavailable``, ``CallerNotAllowed``."""
        ...

    def account(self, name: str, slot: int) -> TrunkAccount:
        """How the worker in ``slot`` dials through the trunk; raises ``TrunkUnavailable``."""
        ...

    def preferred_rate_hz(self, name: str) -> int:
        """The sample rate of the codec the trunk most likely answers with."""
        ...

    def states(self) -> Mapping[str, str]:
        """What each trunk says of itself; starts with ``up`` when it can take calls."""
        ...


def codec_rate_hz(codecs: tuple[str, ...]) -> int:
    """The sample rate of the first codec offered."""
    return 16_000 if codecs and codecs[0] == _WIDEBAND else 8_000


class ConfiguredTrunks:
    """The trunks of the configuration. One that registers takes calls while it is registered, any other always."""

    def __init__(self, trunks: Iterable[Trunk]) -> None:
        self._trunks = {trunk.account.name: trunk for trunk in trunks}
        self._registrations: dict[str, Registration] = {}

    def registering(self) -> tuple[TrunkAccount, ...]:
        """The trunks that want to be registered."""
        return tuple(trunk.account for trunk in self._trunks.values() if trunk.account.registrar)

    def registration_changed(self, event: Registration) -> bool:
        """Note what the registrar process told; True when the state changed."""
        before = self._registrations.get(event.trunk)
        self._registrations[event.trunk] = event
        return before is None or (before.registered, before.code) != (event.registered, event.code)

    def registrations_lost(self) -> None:
        """The registrar process died: nothing is known of any registration."""
        self._registrations.clear()

    def pick(self, caller: str) -> Trunk:
        allowed = [trunk for trunk in self._trunks.values() if may_call_from(trunk.callers, caller)]
        for trunk in allowed:
            if self._up(trunk):
                return trunk
        if self._trunks and not allowed:
            raise CallerNotAllowed(number for trunk in self._trunks.values() for number in trunk.callers)
        if not self._trunks:
            raise TrunkUnavailable(
                "No trunk is configured: a live key needs a [[trunks]] entry in trunkline.toml. "
                "A tk_test_ key works without one.",
                retry_after_s=60,
            )
        states = "; ".join(f"{name}: {state}" for name, state in self.states().items())
        raise TrunkUnavailable(f"No trunk can take the call ({states}).", retry_after_s=_RETRY_AFTER_S)

    def account(self, name: str, slot: int) -> TrunkAccount:
        return self._trunks[name].account

    def preferred_rate_hz(self, name: str) -> int:
        return codec_rate_hz(self._trunks[name].account.codecs)

    def states(self) -> Mapping[str, str]:
        return {name: self._state(trunk) for name, trunk in self._trunks.items()}

    def _up(self, trunk: Trunk) -> bool:
        return self._state(trunk).startswith("up")

    def _state(self, trunk: Trunk) -> str:
        if not trunk.account.registrar:
            return "up"
        known = self._registrations.get(trunk.account.name)
        if known is None:
            return "registering"
        return "up, registered" if known.registered else f"registration failed: {known.code} {known.reason}"
