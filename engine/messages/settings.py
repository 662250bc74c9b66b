"""What each kind of process is told at its birth: values that the control process can make without PJSIP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from engine.log import LogSettings
from engine.messages.commands import TrunkAccount

RtpSourceRule: TypeAlias = Literal["negotiated", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """How a process reaches its far ends: SIP through the edge, RTP by its own sockets.

    ``edge``: the path at which the edge takes links in. ``bind``: the address of the RTP sockets; port 0 takes any free
    one; ``public_address`` is advertised behind NAT. ``dscp_rtp``: the DiffServ mark of RTP (RFC 2474).
    ``rtp_source``: whose RTP is taken, that of the negotiated far end or anybody's (``engine.pjsip.rtp_source``).
    """

    bind: str
    rtp_first: int = 0
    rtp_last: int = 0
    public_address: str = ""
    dscp_rtp: int = 0
    rtp_source: RtpSourceRule = "negotiated"
    edge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrarSettings:
    """The registrar's."""

    stack: StackSettings
    log: LogSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """A worker's.

    ``lines``: how many calls a worker is to hold. ``real_time``: it asks for precedence (``engine.real_time``).
    ``phase_s``: its place in the machine's common tick (``engine.pjsip.clock``).
    ``rtp_timeout_s``: how long a far end may send nothing.
    """

    stack: StackSettings
    log: LogSettings
    lines: int
    real_time: bool
    phase_s: float
    rtp_timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierSettings:
    """A sandbox carrier's.

    ``link``: the path at which it takes its worker's link in. ``account``: how it speaks SIP. ``hello`` and
    ``sayings``: the PCM its callees say, by sample rate. ``recordings``: where to leave WAVs, or None.
    """

    link: str
    log: LogSettings
    account: TrunkAccount
    hello: Mapping[int, bytes] = field(repr=False)
    sayings: Mapping[int, tuple[bytes, ...]] = field(repr=False)
    recordings: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierReady:
    """The sandbox carrier takes its worker's link in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """The sandbox's simulated Ultravox's."""

    log: LogSettings
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorReady:
    """The simulated Ultravox answers at ``base_url``."""

    base_url: str
