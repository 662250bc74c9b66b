"""``/api/trunks``: the trunks of the key's environment, and whether each can take calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from api.models import SipView, Timestamp, View, answer
from api.ports import Engine
from engine.keys.key import ApiKey
from engine.trunks.health import ProbeState, RegistrationState
from engine.trunks.trunks import TrunkState


class RegistrationView(View):
    """A registration at the trunk's registrar (RFC 3261 §10)."""

    state: Literal["registered", "registering", "failed"]
    since: Timestamp
    expires_at: Timestamp | None = Field(default=None, description="when it ends unless it is renewed, which it is")
    sip: SipView | None = Field(default=None, description="the registrar's last word")
    hint: str | None = Field(default=None, description="what to look at when it failed")

    @classmethod
    def of(cls, state: RegistrationState) -> RegistrationView:
        return cls(
            state=state.state,
            since=state.since,
            expires_at=state.expires_at,
            sip=SipView(code=state.code, reason=state.reason) if state.code is not None else None,
            hint=state.hint or None,
        )


class ProbeView(View):
    """The last OPTIONS that the trunk was sent."""

    at: Timestamp
    sip: SipView = Field(description="the answer; 408 when none came")
    failures: int = Field(description="failed probes in a row")

    @classmethod
    def of(cls, state: ProbeState) -> ProbeView:
        return cls(at=state.at, sip=SipView(code=state.code, reason=state.reason), failures=state.failures)


class TrunkView(View):
    """A trunk. ``maxCalls`` and ``callsPerSecond`` when there is such a limit."""

    name: str
    provider: str
    priority: int = Field(description="lower ones are tried first")
    weight: int = Field(description="how often it is first among those of the same priority")
    up: bool = Field(description="it takes calls")
    state: str = Field(description="`up`, or why it is not")
    calls: int = Field(description="calls and attempts it has now")
    max_calls: int | None = None
    calls_per_second: int | None = None
    registration: RegistrationView | None = Field(default=None, description="for a trunk with a registrar")
    probe: ProbeView | None = Field(default=None, description="for a trunk that is probed")
    out_until: Timestamp | None = Field(default=None, description="the end of a Retry-After of the trunk's")

    @classmethod
    def of(cls, state: TrunkState) -> TrunkView:
        trunk, health = state.trunk, state.health
        return cls(
            name=trunk.name,
            provider=trunk.provider,
            priority=trunk.priority,
            weight=trunk.weight,
            up=health.up,
            state=str(health),
            calls=state.calls,
            max_calls=trunk.limits.max_calls,
            calls_per_second=trunk.limits.calls_per_second,
            registration=RegistrationView.of(health.registration) if health.registration else None,
            probe=ProbeView.of(health.probe) if health.probe else None,
            out_until=health.out_until,
        )


class TrunkList(View):
    """The trunks in the order of the configuration."""

    trunks: list[TrunkView]

    @classmethod
    def of(cls, states: Iterable[TrunkState]) -> TrunkList:
        return cls(trunks=[TrunkView.of(state) for state in states])


async def list_trunks(engine: Engine, _: Request, key: ApiKey) -> Response:
    """The trunks and whether each takes calls: the real ones for a live key, the sandbox's for a test key."""
    return answer(TrunkList.of(engine.trunks(key.environment)))
