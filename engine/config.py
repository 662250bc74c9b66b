"""Every setting, its meaning, its check, and the one loader.

The file is TOML; ``${NAME}`` inside a string is read from the environment (``$${`` writes a plain ``${``); unknown keys
are errors. The whole file is checked before anything is reported, and then every mistake is reported at once
(``ConfigError``).
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from engine.config_values import (
    Duration,
    IpAddress,
    Label,
    OptionalIpAddress,
    OptionalServerUri,
    PortRange,
    Ports,
    ReadableFile,
    Secret,
    SecretText,
    ServerUri,
    WebUrl,
    check_key_pair,
)
from engine.errors import ConfigError
from engine.guard_config import GuardConfig
from engine.identity_config import IdentityConfig
from engine.outcome import CONCERNS_TRUNK
from engine.sip_uri import SipUri

LINES_PER_WORKER = 4
"""Calls a worker holds in the stock PJSIP build: what ``worker_ports`` is checked against before any worker runs."""
SPARE_WORKERS = 2
MIN_SESSION_EXPIRES_S = 90.0


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class HttpConfig(_Section):
    """Where the API listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    """0: any free one."""


class StoreConfig(_Section):
    """Where calls and keys are remembered."""

    url: str = "sqlite:///trunkline.db"
    """``sqlite:///`` and a path; a relative one starts at the working directory."""

    @field_validator("url")
    @classmethod
    def _names_a_file(cls, url: str) -> str:
        if not re.fullmatch(r"sqlite:///(?!:memory:|file:)[^?#]+", url):
            raise ValueError("expected sqlite:/// and the path of a file, such as sqlite:///trunkline.db")
        return url


class SipConfig(_Section):
    """The SIP user agent."""

    bind: IpAddress = "0.0.0.0"
    port: int = Field(default=5060, ge=1, le=65535)
    """The registrar process."""
    max_calls: int = Field(default=32, ge=1)
    """Concurrent calls, whatever their kind."""
    worker_ports: Ports = Field(default=PortRange(5062, 5199), validate_default=True)
    """One SIP port a worker."""
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
        workers = math.ceil(info.data.get("max_calls", 1) / LINES_PER_WORKER) + SPARE_WORKERS
        if len(ports) < workers:
            raise ValueError(f"{len(ports)} ports are too few: max_calls needs {workers}, one for each worker")
        return ports

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


class TlsConfig(_Section):
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


class TrunkConfig(IdentityConfig):
    """A way to the telephone network."""

    name: Label
    """Unique; for logs and records."""
    provider: Label = "sip"
    """Shown as ``provider`` of plain calls."""
    uri: ServerUri
    """Where INVITEs go, such as ``sip:sip.carrier.example;transport=udp``."""
    username: str = Field(default="", pattern=r"^[A-Za-z0-9._~!*$&=+%-]*$")
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
        if session_expires_s < MIN_SESSION_EXPIRES_S:
            raise ValueError(f"expected {MIN_SESSION_EXPIRES_S:g}s or more (RFC 4028 §4), not {session_expires_s:g}s")
        return session_expires_s

    @field_validator("codecs")
    @classmethod
    def _each_codec_once(cls, codecs: tuple[str, ...]) -> tuple[str, ...]:
        if not codecs:
            raise ValueError("expected at least one")
        if len(set(codecs)) < len(codecs):
            raise ValueError("a codec is named twice")
        return codecs


class UltravoxConfig(_Section):
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


class WebhooksConfig(_Section):
    """Where clients' webhooks may lead."""

    allow_private: bool = False
    """Also to loopback, private and link-local addresses, and by plain http."""


class RetentionConfig(_Section):
    """How long what is personal is kept."""

    transcripts_days: int = Field(default=0, ge=0)
    """Days after a call's end: then its transcript, prompt and tools are deleted. 0 keeps them."""
    deliveries_days: int = Field(default=30, ge=1)
    """The log of webhook deliveries."""


class Config(_Section):
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
    def _trunk_names_are_unique(cls, trunks: tuple[TrunkConfig, ...]) -> tuple[TrunkConfig, ...]:
        names = [trunk.name for trunk in trunks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"every trunk needs a name of its own; {', '.join(map(repr, twice))} is used twice")
        return trunks

    def redacted(self) -> dict[str, Any]:
        """The settings under the names of the file, with stars for every secret that is set."""
        return self.model_dump(by_alias=True)


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: ``path``, else ``TRUNKLINE_CONFIG``, else ``./trunkline.toml`` when there is one, else None."""
    if path is not None:
        return path
    if named := environ.get("TRUNKLINE_CONFIG"):
        return Path(named)
    return default if (default := Path("trunkline.toml")).exists() else None


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read and check the file that ``find_config`` finds; the defaults when there is none.

    Raises ``ConfigError`` with every mistake of the file; no password or API key is in it.
    """
    found = find_config(path, environ)
    if found is None:
        return Config()
    source = str(found)
    unset: dict[str, str] = {}
    document = _expand(_parse(found), "", environ, unset)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        found_mistakes = [(_dotted(detail["loc"]), _explain(detail)) for detail in error.errors(include_url=False)]
        mistakes = [*unset.items(), *((key, text) for key, text in found_mistakes if key not in unset)]
        raise ConfigError(source, mistakes) from None
    if unset:
        raise ConfigError(source, list(unset.items()))
    return config


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [("file", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [("file", f"is not UTF-8 text (byte {error.start})")]) from None
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).removesuffix(")").rpartition(" (at ")
        raise ConfigError(str(path), [(where, f"not TOML: {what[:1].lower()}{what[1:]}")]) from None


_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")


def _expand(value: Any, key: str, environ: Mapping[str, str], unset: dict[str, str]) -> Any:
    """``value`` with its ``${NAME}`` replaced and its lists as tuples; ``unset`` gets a message for each bad one."""
    if isinstance(value, dict):
        return {name: _expand(item, f"{key}.{name}".lstrip("."), environ, unset) for name, item in value.items()}
    if isinstance(value, list):
        return tuple(_expand(item, f"{key}[{index}]", environ, unset) for index, item in enumerate(value))
    if not isinstance(value, str):
        return value

    def read(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match[1]
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not match[0].endswith("}"):
            unset[key] = "${ starts the name of an environment variable, as in ${NAME}; write $${ for a plain ${"
        elif name not in environ:
            unset[key] = f"the environment variable {name} is not set"
        return environ.get(name, "")

    return _REFERENCE.sub(read, value)


def _dotted(location: tuple[int | str, ...]) -> str:
    """``trunks[0].codecs[1]``: the key as one would look for it in the file."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")


_EXPECTED = {
    "missing": "is missing",
    "string_type": "expected a text in quotes",
    "int_type": "expected a whole number",
    "bool_type": "expected true or false",
    "tuple_type": "expected a list in brackets",
    "model_type": "expected a table of settings",
    "string_pattern_mismatch": "has characters that cannot stand there",
}


def _explain(detail: ErrorDetails) -> str:
    """One mistake in plain words."""
    match detail["type"]:
        case "value_error":
            return str(detail["ctx"]["error"])
        case "extra_forbidden":
            return _unknown_key(detail["loc"])
        case "literal_error":
            return f"expected {detail['ctx']['expected']}, not {detail['input']!r}"
        case "greater_than_equal":
            return f"expected {detail['ctx']['ge']} or more, not {detail['input']}"
        case "less_than_equal":
            return f"expected {detail['ctx']['le']} or less, not {detail['input']}"
        case kind:
            return _EXPECTED.get(kind, detail["msg"])


def _unknown_key(location: tuple[int | str, ...]) -> str:
    section: type[BaseModel] = Config
    for step in location[:-1]:
        if isinstance(step, str):
            annotation = section.model_fields[step].annotation
            section = (get_args(annotation) or (annotation,))[0]
    known = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"is no setting; did you mean {near[0]}?" if near else f"is no setting; there are {', '.join(known)}"
