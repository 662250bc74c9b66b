"""Every setting, its meaning and its check. A trunk's settings are in ``engine.config.trunk``, the guard's in
``engine.config.guard``."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from engine.config.guard import GuardConfig
from engine.config.trunk import TrunkConfig
from engine.config.values import (
    Duration,
    IpAddress,
    Network,
    OptionalIpAddress,
    PortRange,
    Ports,
    SecretText,
    Section,
    WebUrl,
)
from engine.pjsip_limits import LINES_PER_INSTANCE, MAX_ACCOUNTS

SPARE_WORKERS = 2
"""Processes beyond those that ``max_calls`` needs: for the spare lines, and for a process that is still ending."""


class HttpConfig(Section):
    """Where the API listens. It speaks plain HTTP: put a TLS proxy in front before clients on other machines use it."""

    host: str = "127.0.0.1"
    """The address to listen on; ``0.0.0.0`` listens on every interface."""
    port: int = Field(default=8080, ge=0, le=65535)
    """The TCP port; 0 picks a free one."""


class StoreConfig(Section):
    """Where calls, API keys and webhooks are kept."""

    url: str = "sqlite:///trunkline.db"
    """``sqlite:///`` and the path of the database file. A relative path starts at the working directory, an absolute
    one has four slashes. The file has mode 0600, because it holds transcripts and prompts. One engine uses it at a
    time."""

    @field_validator("url")
    @classmethod
    def _names_a_file(cls, url: str) -> str:
        if not re.fullmatch(r"sqlite:///(?!:memory:|file:)[^?#]+", url):
            raise ValueError("expected sqlite:/// and the path of a file, such as sqlite:///trunkline.db")
        return url


class SipConfig(Section):
    """Addresses, ports, capacity and time limits that hold for every call."""

    bind: IpAddress = "0.0.0.0"
    """The address that SIP and RTP use. An IPv6 address makes both use IPv6."""
    port: int = Field(default=5060, ge=1, le=65535)
    """The one port of all SIP to and from the trunks: for UDP, and for TCP where a trunk uses it."""
    allow_from: tuple[Network, ...] = ()
    """Networks in CIDR that may send SIP beside the trunks' own addresses, such as a carrier's other gateways. SIP from
    anywhere else is dropped unread."""
    max_calls: int = Field(default=32, ge=1)
    """Concurrent calls of any kind. A request beyond that is refused with 503 ``no-capacity``."""
    lines_per_worker: int = Field(default=16, ge=LINES_PER_INSTANCE)
    """The most calls that one worker process carries, in steps of four. They are lost together when it dies, so a
    worker never carries more than a sixth of ``max_calls`` (but always four)."""
    rtp_ports: Ports = Field(default=PortRange(16000, 17999), validate_default=True)
    """RTP on the even ports, RTCP on the odd ones (RFC 3550 §11), divided among the workers. Four for each call at
    least: half of them are spare."""
    public_address: OptionalIpAddress = ""
    """Behind NAT: the IP address to advertise in Contact and SDP. Forward the ports to this machine unchanged."""
    real_time: bool = True
    """Run workers before ordinary programs (SCHED_RR) where the system permits it: as root, or with an RLIMIT_RTPRIO
    of 1 (``LimitRTPRIO=1`` in a systemd unit)."""
    ring_timeout_s: Duration = Field(default=60.0, alias="ring_timeout")
    """How long a call may take from INVITE to answer. Then it is cancelled: cause ``no-answer``, or ``trunk-timeout``
    when the phone never rang."""
    drain_timeout_s: Duration = Field(default=30.0, alias="drain_timeout")
    """After SIGTERM: how long the live calls may go on before they are ended."""
    queue_timeout_s: Duration = Field(default=10.0, alias="queue_timeout")
    """How long a call waits for a free line, for room under the trunks' limits and for Ultravox. Then it fails with
    the cause ``no-capacity``, and its ``detail`` names the limits that held it."""
    dscp_sip: int = Field(default=24, ge=0, le=63)
    """The DiffServ code point (RFC 2474) of SIP packets; 24 is CS3."""
    dscp_rtp: int = Field(default=46, ge=0, le=63)
    """The DiffServ code point of RTP and RTCP packets; 46 is EF (RFC 3246)."""
    rtp_source: Literal["negotiated", "any"] = "negotiated"
    """Whose RTP a call takes: ``negotiated`` is one sender, at the address that was negotiated or, behind NAT, at the
    address that its SIP comes from; ``any`` is everybody, and our audio follows whoever sends."""
    rtp_timeout_s: Duration = Field(default=30.0, alias="rtp_timeout")
    """End an answered call whose far end has sent neither RTCP nor RTP that can be decoded for this long (cause
    ``rtp-timeout``). Time on hold does not count."""

    @field_validator("rtp_ports")
    @classmethod
    def _every_call_has_ports(cls, ports: PortRange, info: ValidationInfo) -> PortRange:
        if ports.first % 2 or not ports.last % 2:
            raise ValueError(f"expected an even first and an odd last port (RTP with its RTCP), not {ports}")
        # A pair for each call, and as many again: ports just closed or held by another program are skipped.
        if len(ports) < (needed := 4 * info.data.get("max_calls", 1)):
            raise ValueError(f"{len(ports)} ports are too few: max_calls needs {needed}, four for each call")
        if info.data.get("port") in ports:
            raise ValueError(f"{ports} includes sip.port {info.data['port']}")
        return ports


class UltravoxConfig(Section):
    """The Ultravox account that live AI calls use. Sandbox calls never use it."""

    api_key: SecretText = SecretStr("")
    """The account's API key. Without one, only plain calls can be placed."""
    base_url: WebUrl = "https://api.ultravox.ai"
    """Where Ultravox's REST API is. Plain ``http`` is accepted only for this machine. REST and WebSocket both connect
    directly: proxies of the environment (``HTTPS_PROXY``) are not used."""
    creations_per_second: int | None = Field(default=None, ge=1)
    """The AI calls that may begin in any window of one second, as your Ultravox plan allows. With or without this
    limit, a 429 or 503 from Ultravox holds back further AI calls for its Retry-After."""
    sample_rate: Literal["auto", 8000, 16000, 24000, 48000] = "auto"
    """The audio rate to and from Ultravox in Hz. ``auto`` is the codec's own rate, 8000 (G.711) or 16000 (G.722), so
    that nothing is resampled; while the phone rings without an SDP answer, it is the rate of the trunk's first
    codec."""
    press_keys: bool = True
    """Offer the agent of every live call the tool ``pressKeys``, which presses telephone keys."""
    hang_up_unjoined: bool = False
    """When a phone rang and was not answered, join its Ultravox session and hang up at once. Otherwise the session
    ends at its ``joinTimeout``; until then Ultravox may count it as one of the account's concurrent calls. Ultravox
    may bill the join (6 s)."""


class WebhooksConfig(Section):
    """Which addresses webhooks may reach."""

    allow_private: bool = False
    """Let webhooks reach loopback, private and link-local addresses too, and use plain http."""


class RetentionConfig(Section):
    """How long personal data is kept. Call records without their transcript are never deleted."""

    transcripts_days: int = Field(default=0, ge=0)
    """Days after a call's end until its transcript, prompt and tools are deleted. 0 keeps them."""
    deliveries_days: int = Field(default=30, ge=1)
    """Days until an entry of the webhook delivery log is deleted."""


class Config(Section):
    """The whole configuration. Without a trunk there is only the sandbox."""

    http: HttpConfig = HttpConfig()
    store: StoreConfig = StoreConfig()
    sip: SipConfig = SipConfig()
    trunks: tuple[TrunkConfig, ...] = ()
    ultravox: UltravoxConfig = UltravoxConfig()
    webhooks: WebhooksConfig = WebhooksConfig()
    retention: RetentionConfig = RetentionConfig()
    guard: GuardConfig = GuardConfig()

    @field_validator("trunks")
    @classmethod
    def _trunks_can_be_told_apart_and_watched(cls, trunks: tuple[TrunkConfig, ...]) -> tuple[TrunkConfig, ...]:
        names = [trunk.name for trunk in trunks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"every trunk needs its own name; {', '.join(map(repr, twice))} is used twice")
        watched = [trunk.name for trunk in trunks if trunk.registrar or trunk.probe_interval_s]
        if len(watched) > MAX_ACCOUNTS:  # one process registers and probes them all
            raise ValueError(
                f"{len(watched)} trunks have a registrar or a probe_interval; PJSIP has accounts for {MAX_ACCOUNTS}"
            )
        return trunks

    def redacted(self) -> dict[str, Any]:
        """Every setting with its value or default, under the file's names, with stars for every secret."""
        return self.model_dump(by_alias=True, exclude_none=True)
