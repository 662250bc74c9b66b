"""``/api/trunks``: the trunks of the key's environment, and whether each accepts calls."""

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
    expires_at: Timestamp | None = Field(default=None, description="when it ends unless Trunkline renews it")
    sip: SipView | None = Field(
        default=None, description="the registrar's last response; absent if the request could not be sent"
    )
    hint: str | None = Field(default=None, description="what to check if it failed")

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
    """The last OPTIONS request to the trunk."""

    at: Timestamp
    sip: SipView | None = Field(
        default=None, description="the response; 408 if there was none; absent if the request could not be sent"
    )
    failures: int = Field(description="consecutive failed probes")

    @classmethod
    def of(cls, state: ProbeState) -> ProbeView:
        sip = SipView(code=state.code, reason=state.reason) if state.code is not None else None
        return cls(at=state.at, sip=sip, failures=state.failures)


class TrunkView(View):
    """A trunk. ``maxCalls`` and ``callsPerSecond`` are present if it has such a limit."""

    name: str
    provider: str
    priority: int = Field(description="lower ones are tried first")
    weight: int = Field(description="how often it is tried first among trunks of the same priority")
    up: bool = Field(description="whether it accepts calls")
    state: str = Field(description="`up`, or why it is not")
    calls: int = Field(description="its present calls and attempts")
    max_calls: int | None = None
    calls_per_second: int | None = None
    registration: RegistrationView | None = Field(default=None, description="for a trunk with a registrar")
    probe: ProbeView | None = Field(default=None, description="for a trunk that is probed")
    out_until: Timestamp | None = Field(default=None, description="when the Retry-After that it sent ends")

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
    """The trunks, in the order of the configuration."""

    trunks: list[TrunkView]

    @classmethod
    def of(cls, states: Iterable[TrunkState]) -> TrunkList:
        return cls(trunks=[TrunkView.of(state) for state in states])


async def list_trunks(engine: Engine, _: Request, key: ApiKey) -> Response:
    """List the trunks and whether each accepts calls.

    A live key gets the configured trunks, a test key those of the sandbox.
    """
    return answer(TrunkList.of(engine.trunks(key.environment)))
