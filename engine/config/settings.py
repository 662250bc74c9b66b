"""Every setting, its meaning and its check; those of a trunk are in ``engine.config.trunk``, the guard's in
``engine.config.guard``."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from engine.config.guard import GuardConfig
from engine.config.trunk import TrunkConfig
from engine.config.values import (
    Duration,
    IpAddress,
    OptionalIpAddress,
    PortRange,
    Ports,
    Secret,
    SecretText,
    Section,
    WebUrl,
)
from engine.pjsip_limits import LINES_PER_INSTANCE, MAX_ACCOUNTS

SPARE_WORKERS = 2
"""Beyond what ``max_calls`` needs: for the spare lines, and for a process that is still ending."""
_LARGEST_LOSS = 1 / 6
"""Of ``max_calls``: what goes with one worker."""


class HttpConfig(Section):
    """Where the API listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    """0: any free one."""


class StoreConfig(Section):
    """Where calls and keys are remembered."""

    url: str = "sqlite:///trunkline.db"
    """``sqlite:///`` and a path; a relative one starts at the working directory."""

    @field_validator("url")
    @classmethod
    def _names_a_file(cls, url: str) -> str:
        if not re.fullmatch(r"sqlite:///(?!:memory:|file:)[^?#]+", url):
            raise ValueError("expected sqlite:/// and the path of a file, such as sqlite:///trunkline.db")
        return url


class SipConfig(Section):
    """The SIP user agent."""

    bind: IpAddress = "0.0.0.0"
    port: int = Field(default=5060, ge=1, le=65535)
    """The registrar process."""
    max_calls: int = Field(default=32, ge=1)
    """Concurrent calls, whatever their kind."""
    lines_per_worker: int = Field(default=16, ge=LINES_PER_INSTANCE)
    """Calls in one worker process, at most; and at most a sixth of ``max_calls``, or four."""
    worker_ports: Ports = Field(default=PortRange(5062, 5199), validate_default=True)
    """One SIP port for each four calls."""
    rtp_ports: Ports = Field(default=PortRange(16000, 17999), validate_default=True)
    """RTP on the even ports, RTCP on the odd ones (RFC 3550 §11)."""
    public_address: OptionalIpAddress = ""
    """The IP address to advertise behind NAT."""
    real_time: bool = True
    """Workers run before ordinary programs where the system permits it (SCHED_RR; RLIMIT_RTPRIO of 1)."""
    ring_timeout_s: Duration = Field(default=60.0, alias="ring_timeout")
    """How long a phone rings before the call is given up as not answered."""
    drain_timeout_s: Duration = Field(default=30.0, alias="drain_timeout")
    """How long a shutdown lets the live calls go on before it ends them."""
    queue_timeout_s: Duration = Field(default=10.0, alias="queue_timeout")
    """How long a call waits for its turn: a free line, the trunks' limits, the agent service's."""
    dscp_sip: int = Field(default=24, ge=0, le=63)
    """DiffServ code point (RFC 2474) of SIP; 24 is CS3."""
    dscp_rtp: int = Field(default=46, ge=0, le=63)
    """Of RTP and RTCP; 46 is EF (RFC 3246)."""
    rtp_timeout_s: Duration = Field(default=30.0, alias="rtp_timeout")
    """A call whose far end sends neither RTP nor RTCP for so long is ended; a call on hold is not."""

    @field_validator("worker_ports")
    @classmethod
    def _every_worker_has_a_port(cls, ports: PortRange, info: ValidationInfo) -> PortRange:
        if info.data.get("port") in ports:
            raise ValueError(f"{ports} includes sip.port {info.data['port']}, which is the registrar's own")
        needed = math.ceil(info.data.get("max_calls", 1) / LINES_PER_INSTANCE) + SPARE_WORKERS
        if len(ports) < needed:
            raise ValueError(f"{len(ports)} ports are too few: max_calls needs {needed}, one for each four, and two")
        return ports

    @property
    def instances(self) -> int:
        """How many PJSIPs a worker holds (``engine.pjsip.instances``), each with a SIP port of its own."""
        most = min(self.lines_per_worker, int(self.max_calls * _LARGEST_LOSS)) // LINES_PER_INSTANCE
        return next((n for n in range(most, 1, -1) if n * self._workers(n) <= len(self.worker_ports)), 1)

    @property
    def worker_lines(self) -> int:
        """How many calls a worker holds."""
        return self.instances * LINES_PER_INSTANCE

    @property
    def workers(self) -> int:
        """How many processes ``max_calls`` takes, with the spare ones."""
        return self._workers(self.instances)

    def _workers(self, instances: int) -> int:
        return math.ceil(self.max_calls / (instances * LINES_PER_INSTANCE)) + SPARE_WORKERS

    @field_validator("rtp_ports")
    @classmethod
    def _every_call_has_ports(cls, ports: PortRange, info: ValidationInfo) -> PortRange:
        if ports.first % 2 or not ports.last % 2:
            raise ValueError(f"expected an even first and an odd last port (RTP with its RTCP), not {ports}")
        # A pair a call, and as many again: a port that was just closed, or is taken by another program, is passed over.
        if len(ports) < (needed := 4 * info.data.get("max_calls", 1)):
            raise ValueError(f"{len(ports)} ports are too few: max_calls needs {needed}, four for each call")
        if "worker_ports" in info.data and ports.overlaps(info.data["worker_ports"]):
            raise ValueError(f"{ports} overlaps sip.worker_ports {info.data['worker_ports']}")
        if info.data.get("port") in ports:
            raise ValueError(f"{ports} includes sip.port {info.data['port']}")
        return ports


class UltravoxConfig(Section):
    """The account that AI calls run on."""

    api_key: SecretText = Secret("")
    """Empty: plain calls only."""
    base_url: WebUrl = "https://api.ultravox.ai"
    creations_per_second: int | None = Field(default=None, ge=1)
    """AI calls begun in any window of one second."""
    sample_rate: Literal["auto", 8000, 16000, 24000, 48000] = "auto"
    """Hz between here and Ultravox, both ways; ``auto`` is the codec's own rate, so that nothing is resampled."""
    press_keys: bool = True
    """Offer the model a tool that presses telephone keys."""
    hang_up_unjoined: bool = False
    """Join and hang up the session of a phone that was not answered."""


class WebhooksConfig(Section):
    """Where clients' webhooks may lead."""

    allow_private: bool = False
    """Also to loopback, private and link-local addresses, and by plain http."""


class RetentionConfig(Section):
    """How long what is personal is kept."""

    transcripts_days: int = Field(default=0, ge=0)
    """Days after a call's end: then its transcript, prompt and tools are deleted. 0 keeps them."""
    deliveries_days: int = Field(default=30, ge=1)
    """The log of webhook deliveries."""


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
            raise ValueError(f"every trunk needs a name of its own; {', '.join(map(repr, twice))} is used twice")
        watched = [trunk.name for trunk in trunks if trunk.registrar or trunk.probe_interval_s]
        if len(watched) > MAX_ACCOUNTS:  # one process registers and probes them all
            raise ValueError(
                f"{len(watched)} trunks have a registrar or a probe_interval; PJSIP has accounts for {MAX_ACCOUNTS}"
            )
        return trunks

    def redacted(self) -> dict[str, Any]:
        """The settings under the names of the file, with stars for every secret that is set."""
        return self.model_dump(by_alias=True)
