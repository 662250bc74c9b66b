"""The settings of a trunk: where it is, what it speaks, how much it takes, and how far it is trusted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from engine.config.addressing import AddressingConfig
from engine.config.values import (
    Duration,
    Label,
    OptionalServerUri,
    ReadableFile,
    Secret,
    SecretText,
    Section,
    ServerUri,
    check_key_pair,
)
from engine.sip.causes import CONCERNS_TRUNK
from engine.sip.uri import SipUri

_MIN_SESSION_EXPIRES_S = 90.0


class TlsConfig(Section):
    """TLS to a trunk. Files are PEM."""

    ca_file: ReadableFile = ""
    """Trust these authorities, in place of the system's."""
    certificate: ReadableFile = ""
    """Ours, for a trunk that asks for one."""
    private_key: ReadableFile = Field(default="", validate_default=True)
    verify: bool = True
    """False: anybody on the way can pose as the trunk."""

    @field_validator("private_key")
    @classmethod
    def _goes_with_the_certificate(cls, private_key: str, info: ValidationInfo) -> str:
        certificate = info.data.get("certificate", private_key)
        if bool(private_key) != bool(certificate):
            raise ValueError("certificate and private_key go together")
        if private_key:
            check_key_pair(certificate, private_key)
        return private_key


class TrunkConfig(AddressingConfig):
    """A way to the telephone network."""

    name: Label
    """Unique; for logs and records."""
    provider: Label = "sip"
    """Shown as ``provider`` of plain calls."""
    uri: ServerUri
    """Where INVITEs go, such as ``sip:sip.carrier.example;transport=udp``."""
    username: str = Field(default="", pattern=r"^(?:[A-Za-z0-9._~!*$&=+-]|%[0-9A-Fa-f]{2})*$")
    password: SecretText = Secret("")
    registrar: OptionalServerUri = ""
    """Set: register there."""
    outbound_proxy: tuple[ServerUri, ...] = ()
    """Route every request through these, in this order (RFC 3261 §8.1.2)."""
    codecs: tuple[Literal["PCMU", "PCMA", "G722"], ...] = ("PCMU", "PCMA", "G722")
    """Offered in this order."""
    dtmf: Literal["auto", "rfc4733", "info"] = "auto"
    """How keys are sent: RTP events (RFC 4733), SIP INFO, or events where the far end takes them, else INFO."""
    reliable_provisional: Literal["optional", "required"] = "optional"
    """18x acknowledged with PRACK (RFC 3262): when the far end asks for it, or always."""
    session_timer: Literal["off", "optional", "required", "always"] = "optional"
    """Session timers (RFC 4028): none; when the far end has them too; insist; refresh whether it has them or not."""
    session_expires_s: Duration = Field(default=1800.0, alias="session_expires")
    """The session interval we ask for; RFC 4028 §4 allows no less than 90 s."""
    redirects: Literal["refuse", "follow"] = "refuse"
    """What a 3xx does: end the call, or lead to the address it names at this trunk's own host."""
    priority: int | None = Field(default=None, ge=0)
    """Lower ones are tried first; by default the trunk's place in the file."""
    weight: int = Field(default=1, ge=1)
    """How often the trunk is first among those of the same priority."""
    max_calls: int | None = Field(default=None, ge=1)
    calls_per_second: int | None = Field(default=None, ge=1)
    """INVITEs in any window of one second."""
    failover_on: tuple[int, ...] = (408, 500, 502, 503, 504)
    """The statuses after which the next trunk is tried."""
    response_timeout_s: Duration = Field(default=4.0, alias="response_timeout")
    """Without any response for so long the next trunk is tried."""
    register_expires_s: Duration = Field(default=300.0, alias="register_expires")
    """How long a registration is asked to hold; it is renewed in time."""
    probe_interval_s: Duration | None = Field(default=None, alias="probe_interval")
    """Set: OPTIONS so often."""
    probe_failures: int = Field(default=2, ge=1)
    """So many probes without a good answer in a row, and the trunk gets no calls until one is answered."""

    tls: TlsConfig = TlsConfig()
    srtp_without_tls: bool = False
    """Allow ``srtp`` although its keys can be read on the way."""
    srtp: Literal["off", "optional", "required"] = "off"

    @property
    def first_hop(self) -> SipUri:
        """Where INVITEs leave to."""
        return SipUri.parse((*self.outbound_proxy, self.uri)[0])

    @field_validator("srtp")
    @classmethod
    def _keys_are_secret(cls, srtp: str, info: ValidationInfo) -> str:
        hops = (*info.data.get("outbound_proxy", ()), info.data.get("uri", ""))
        in_clear = hops[0] and SipUri.parse(hops[0]).transport != "tls"
        if srtp != "off" and in_clear and not info.data["srtp_without_tls"]:
            raise ValueError(
                "its keys would cross the network in clear: expected ;transport=tls in outbound_proxy or uri, "
                "or srtp_without_tls = true"
            )
        return srtp

    @field_validator("failover_on")
    @classmethod
    def _blames_the_trunk(cls, codes: tuple[int, ...]) -> tuple[int, ...]:
        if callees := [str(code) for code in codes if code not in CONCERNS_TRUNK]:
            raise ValueError(f"{', '.join(callees)}: no other trunk can help; expected 401, 402, 403, 407, 408 or 5xx")
        return codes

    @field_validator("registrar")
    @classmethod
    def _registers_as_somebody(cls, registrar: str, info: ValidationInfo) -> str:
        if registrar and info.data.get("username") == "":
            raise ValueError("registering needs a username beside it")
        return registrar

    @field_validator("session_expires_s")
    @classmethod
    def _session_is_not_refreshed_all_the_time(cls, session_expires_s: float) -> float:
        if session_expires_s < _MIN_SESSION_EXPIRES_S:
            raise ValueError(f"expected {_MIN_SESSION_EXPIRES_S:g}s or more (RFC 4028 §4), not {session_expires_s:g}s")
        return session_expires_s

    @field_validator("codecs")
    @classmethod
    def _each_codec_once(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        if not codecs:
            raise ValueError("expected at least one")
        if len(set(codecs)) < len(codecs):
            raise ValueError("a codec is named twice")
        return codecs
