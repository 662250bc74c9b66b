"""What the control process asks of a worker: frozen values that cross the socket pair.

A join URL and a trunk password pass through here and must not be printed: both are ``repr=False``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from engine.outcome import Outcome
from engine.records import AttemptId
from engine.sip.addressing import Addressing

Dtmf = Literal["auto", "rfc4733", "info"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """How a TLS connection to a trunk is made: whom we trust, and who we are. Paths of PEM files; empty: none."""

    ca_file: str
    certificate: str
    private_key: str
    verify: bool
    wildcard: bool
    """Whether a certificate may name the host by a wildcard (RFC 5922 §7.2 forbids it, carriers use it)."""
    min_version: str
    ciphers: str
    """For TLS 1.2, in OpenSSL's notation; empty takes the system's."""


class Srtp(StrEnum):
    """Whether a trunk's audio is encrypted, with keys in SDP (RFC 3711, RFC 4568)."""

    OFF = "off"
    OPTIONAL = "optional"
    """Offered as RTP/AVP with a=crypto: encrypted when the far end answers so."""
    REQUIRED = "required"
    """Offered as RTP/SAVP: no audio without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrunkAccount:
    """What a worker needs to dial through a trunk (made by ``engine.config.trunk``, where the defaults are)."""

    name: str
    uri: str
    """Where INVITEs go: the host part and parameters of the Request-URI (``sip:carrier.example;transport=udp``)."""
    codecs: tuple[str, ...]
    """Encoding names in the order they are offered (RFC 3264 §5.1)."""
    username: str
    password: str = field(repr=False)
    registrar: str
    outbound_proxy: tuple[str, ...]
    dtmf: Dtmf
    """How keys are sent; ``auto``: as RTP events when the far end's SDP takes them, else by INFO."""
    register_expires_s: int
    probe_interval_s: float | None
    """Set: how often the trunk is sent OPTIONS (RFC 3261 §11)."""
    tls: TlsSettings
    srtp: Srtp
    addressing: Addressing
    reliable_provisional: str
    session_timer: str
    session_expires_s: float
    follow_redirects: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Dial:
    """Send an INVITE. The worker answers with ``Progress`` events and exactly one ``AttemptEnded``."""

    attempt_id: AttemptId
    sip_call_id: str
    trunk: TrunkAccount
    from_number: str
    to_number: str
    with_agent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinAgent:
    """Join this agent session as soon as the callee has answered, not before.

    ``sample_rate_hz`` was agreed with the agent service for both directions.
    """

    attempt_id: AttemptId
    join_url: str = field(repr=False)
    sample_rate_hz: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """End the attempt whatever its state (CANCEL, or BYE) and report ``outcome`` unless the far end was first."""

    attempt_id: AttemptId
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Keep those of these trunks registered that have a registrar, and probe those that are to be probed (registrar
    process only)."""

    trunks: tuple[TrunkAccount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Hang up what is left, un-register, and exit."""


Command = Dial | JoinAgent | HangUp | Register | Stop
