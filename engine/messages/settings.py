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
    """Where a process's SIP and RTP live. Port 0 takes any free one; ``public_address`` is advertised behind NAT.

    ``nameservers`` and ``hosts`` are what PJSIP resolves names with (``engine.environments.name_resolution``).
    ``dscp_…``: the DiffServ marks of what is sent (RFC 2474). ``rtp_source``: whose RTP is taken, that of the
    negotiated far end or anybody's (``engine.pjsip.rtp_source``).
    """

    bind: str
    sip_port: int = 0
    rtp_first: int = 0
    rtp_last: int = 0
    public_address: str = ""
    dscp_sip: int = 0
    dscp_rtp: int = 0
    rtp_source: RtpSourceRule = "negotiated"
    nameservers: tuple[str, ...] = ()
    hosts: Mapping[str, str] = field(default_factory=dict)
    edge: str = ""
    """The path at which the edge takes links in; empty: the process has SIP sockets itself (the sandbox)."""


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

    ``account``: how it speaks SIP. ``hello`` and ``sayings``: the PCM its callees say, by sample rate. ``recordings``:
    where to leave WAVs, or None.
    """

    log: LogSettings
    account: TrunkAccount
    hello: Mapping[int, bytes] = field(repr=False)
    sayings: Mapping[int, tuple[bytes, ...]] = field(repr=False)
    recordings: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierReady:
    """The sandbox carrier takes calls at ``sip_port`` of 127.0.0.1."""

    sip_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorSettings:
    """The sandbox's simulated Ultravox's."""

    log: LogSettings
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorReady:
    """The simulated Ultravox answers at ``base_url``."""

    base_url: str
