"""The settings of a trunk: its address, its protocol options, its limits, and how far it is trusted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from engine.config.addressing import AddressingConfig
from engine.config.values import (
    Duration,
    Label,
    OptionalServerUri,
    ReadableFile,
    SecretText,
    Section,
    ServerUri,
    check_key_pair,
)
from engine.messages.commands import Srtp, TlsSettings, TrunkAccount
from engine.sip.causes import CONCERNS_TRUNK
from engine.sip.uri import SipUri
from engine.trunks.trunks import Trunk, TrunkLimits

_MIN_SESSION_EXPIRES_S = 90.0


class TlsConfig(Section):
    """TLS to a trunk. Files are PEM."""

    ca_file: ReadableFile = ""
    """Trust these authorities in place of the system's."""
    certificate: ReadableFile = ""
    """Our own certificate, for a trunk that asks for one. Needs ``private_key``."""
    private_key: ReadableFile = Field(default="", validate_default=True)
    """The key of ``certificate``, without a passphrase."""
    verify: bool = True
    """Verify the trunk's certificate. With ``false``, anybody on the network path can pose as the trunk, and each start
    logs a warning."""

    wildcard: bool = True
    """Accept a certificate that names the host by a wildcard, as many carriers' certificates do. RFC 5922 §7.2 forbids
    it."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version of TLS to speak."""
    ciphers: str = ""
    """The cipher suites for TLS 1.2 in OpenSSL's notation; empty takes the system's."""

    @field_validator("private_key")
    @classmethod
    def _goes_with_the_certificate(cls, private_key: str, info: ValidationInfo) -> str:
        certificate = info.data.get("certificate", private_key)
        if bool(private_key) != bool(certificate):
            raise ValueError("certificate and private_key go together")
        if private_key:
            check_key_pair(certificate, private_key)
        return private_key

    def settings(self) -> TlsSettings:
        """The settings as the edge takes them."""
        return TlsSettings(
            ca_file=self.ca_file,
            certificate=self.certificate,
            private_key=self.private_key,
            verify=self.verify,
            wildcard=self.wildcard,
            min_version=self.min_version,
            ciphers=self.ciphers,
        )


class TrunkConfig(AddressingConfig):
    """A connection to the telephone network. Repeat the section for each trunk."""

    name: Label
    """Unique; shown in logs, records and metrics."""
    provider: Label = "sip"
    """Shown as ``provider`` of plain calls."""
    uri: ServerUri
    """Where INVITEs go, such as ``sip:sip.carrier.example;transport=udp``. The transport is ``udp``, ``tcp`` or
    ``tls``; ``sips:`` is read as TLS."""
    username: str = Field(default="", pattern=r"^(?:[A-Za-z0-9._~!*$&=+-]|%[0-9A-Fa-f]{2})*$")
    """The digest account (RFC 7616), for 401 and 407. Required beside ``registrar``."""
    password: SecretText = SecretStr("")
    """The account's password. Write ``"${TRUNK_PASSWORD}"`` to keep it out of the file."""
    registrar: OptionalServerUri = ""
    """Register there, such as ``sip:sip.carrier.example``. Calls are refused (503 ``trunk-unavailable``) until the
    trunk is registered. Leave it out for a trunk that knows you by your address."""
    outbound_proxy: tuple[ServerUri, ...] = ()
    """Send every request through these proxies, in this order (RFC 3261 §8.1.2)."""
    codecs: tuple[Literal["PCMU", "PCMA", "G722"], ...] = ("PCMU", "PCMA", "G722")
    """The codecs, offered in this order."""
    dtmf: Literal["auto", "rfc4733", "info"] = "auto"
    """How the agent's telephone keys are sent: ``rfc4733`` as RTP events, ``info`` as SIP INFO, ``auto`` as events
    where the far end's SDP accepts them and as INFO elsewhere."""
    reliable_provisional: Literal["optional", "required"] = "optional"
    """PRACK for 18x responses (RFC 3262): ``optional`` when the far end asks for it, ``required`` always."""
    session_timer: Literal["off", "optional", "required", "always"] = "optional"
    """Session timers (RFC 4028): ``off``, ``optional`` when the far end supports them, ``required`` of the far end, or
    ``always``, which refreshes the session even where the far end has no timers."""
    session_expires_s: Duration = Field(default=1800.0, alias="session_expires")
    """The session interval to ask for; 90 s at least (RFC 4028 §4)."""
    redirects: Literal["refuse", "follow"] = "refuse"
    """What a 3xx response does: ``refuse`` ends the call; ``follow`` tries the address that the response names, only at
    this trunk's own host and five times at most. A redirect may come from the callee's own phone and name a premium
    number, so follow only when the carrier says that it redirects."""
    priority: int | None = Field(default=None, ge=0)
    """Trunks with a lower number are tried first. By default the trunk's place in the file."""
    weight: int = Field(default=1, ge=1)
    """How often this trunk comes first among those with the same priority."""
    max_calls: int | None = Field(default=None, ge=1)
    """Concurrent calls through this trunk. By default only ``sip.max_calls`` limits them."""
    calls_per_second: int | None = Field(default=None, ge=1)
    """INVITEs in any window of one second. By default there is no limit."""
    failover_on: tuple[int, ...] = (408, 500, 502, 503, 504)
    """The SIP statuses after which the next trunk is tried; 401, 402, 403, 407 and other 5xx may be added."""
    response_timeout_s: Duration = Field(default=4.0, alias="response_timeout")
    """Try the next trunk when no response at all has come for this long."""
    register_expires_s: Duration = Field(default=300.0, alias="register_expires")
    """How long a registration is asked to hold. It is renewed after half of the time that the registrar granted."""
    probe_interval_s: Duration | None = Field(default=None, alias="probe_interval")
    """Send OPTIONS this often. By default the trunk is not probed, and only failed calls show that it is down."""
    probe_failures: int = Field(default=2, ge=1)
    """After this many probes in a row without a good answer the trunk gets no calls until a probe is answered."""

    tls: TlsConfig = TlsConfig()
    """TLS to this trunk, as an inline table: ``tls = { ca_file = "/etc/trunkline/ca.pem" }``."""
    srtp_without_tls: bool = False
    """Allow ``srtp`` without TLS to the first hop, although its keys can then be read on the way."""
    srtp: Literal["off", "optional", "required"] = "off"
    """Encrypted audio with keys in SDP (SDES). ``required`` offers RTP/SAVP and sends no audio without it (cause
    ``srtp-refused``); ``optional`` offers RTP/AVP with ``a=crypto``, and encrypts if the trunk answers so. Needs TLS to
    the first hop, because the keys are in SDP."""

    @property
    def first_hop(self) -> SipUri:
        """The URI to which INVITEs are sent first."""
        return SipUri.parse((*self.outbound_proxy, self.uri)[0])

    def trunk(self, place: int) -> Trunk:
        """The trunk of this section, which is the ``place``-th in the file."""
        return Trunk(
            account=self._account(),
            provider=self.provider,
            callers=self.callers,
            priority=place if self.priority is None else self.priority,
            weight=self.weight,
            limits=TrunkLimits(max_calls=self.max_calls, calls_per_second=self.calls_per_second),
            failover_on=frozenset(self.failover_on),
            response_timeout_s=self.response_timeout_s,
            probe_failures=self.probe_failures,
        )

    def _account(self) -> TrunkAccount:
        return TrunkAccount(
            name=self.name,
            uri=self.uri,
            codecs=self.codecs,
            username=self.username,
            password=self.password.get_secret_value(),
            registrar=self.registrar,
            outbound_proxy=self.outbound_proxy,
            dtmf=self.dtmf,
            register_expires_s=round(self.register_expires_s),
            probe_interval_s=self.probe_interval_s,
            tls=self.tls.settings(),
            srtp=Srtp(self.srtp),
            addressing=self.addressing(),
            reliable_provisional=self.reliable_provisional,
            session_timer=self.session_timer,
            session_expires_s=self.session_expires_s,
            follow_redirects=self.redirects == "follow",
        )

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
