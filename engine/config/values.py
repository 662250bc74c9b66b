"""The parts of settings: sections, and kinds of value. Each kind reads its text, or says what it expected.

A reader raises ``ValueError`` with a sentence. The sentence does not repeat texts that may hold a password.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, PlainValidator, SecretStr

from engine.sip.uri import SipUri


class Section(BaseModel):
    """A table of the file. Frozen; an unknown key in it is an error, and so is a value of another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports from ``first`` to ``last``, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last


def _one_line(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().isprintable():
        raise ValueError("holds a line break or another control character")
    return value


def _ports(value: Any) -> PortRange:
    if isinstance(value, PortRange):
        return value
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'expected two ports such as "5062-5199", not {value!r}')
    ports = PortRange(int(match[1]), int(match[2]))
    if not 0 < ports.first <= ports.last < 65536:
        raise ValueError(f"expected a lower and a higher port between 1 and 65535, not {ports}")
    return ports


def _duration(value: Any) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", value) if isinstance(value, str) else None
    if match is None or not (seconds := float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]):
        raise ValueError(f'expected a time such as "60s", "2m" or "1h", not {value!r}')
    return seconds


def _address(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError(f"expected an IP address, not {value!r}") from None


def _label(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", value):
        raise ValueError(f"expected 1 to 40 letters, digits, dots, - and _, not {value!r}")
    return value


def _callers(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\+[1-9][0-9]{0,14}\*?", value):
        raise ValueError(f'expected a number such as "+14155550100" or "+1415555*", not {value!r}')
    return value


def _server_uri(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a SIP URI in quotes")
    uri = SipUri.parse(value)
    if uri.user:
        raise ValueError("expected a server's URI, without a user and @")
    for param in uri.params:
        name, _, transport = param.lower().partition("=")
        if name == "transport" and transport not in ("udp", "tcp", "tls"):
            raise ValueError(f"expected transport=udp, tcp or tls, not {transport!r}")
        if name == "transport" and transport != "tls" and uri.scheme == "sips":
            raise ValueError(f"sips: asks for TLS, transport={transport} for another")
    if uri.scheme == "sips":
        others = tuple(param for param in uri.params if not param.lower().startswith("transport="))
        uri = replace(uri, scheme="sip", params=(*others, "transport=tls"))
    return str(uri)


def _readable_file(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a path in quotes")
    if not value:
        return value
    path = Path(value).absolute()  # the processes that read the file must not depend on a working directory
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return str(path)


def check_key_pair(certificate: str, private_key: str) -> None:
    """Check that the PEM files belong together and that the key needs no passphrase. Raises ``ValueError`` with a
    sentence otherwise."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, private_key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or "it may ask for a passphrase"
        raise ValueError(
            f"is no key without passphrase for {certificate}: {str(reason).replace('_', ' ').lower()}"
        ) from None


def _web_url(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a URL in quotes")
    expected = "expected a URL such as https://api.ultravox.ai"
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        raise ValueError(expected) from None
    if url.scheme not in ("http", "https") or not host or not value.isprintable() or " " in value:
        raise ValueError(expected)
    if url.query or url.fragment or "@" in url.netloc:
        raise ValueError(f"{expected}, without a user, ? and #")
    if url.scheme == "http" and not _is_loopback(host):
        raise ValueError("expected https: with http the API key would cross the network in clear")
    return value.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


SecretText = Annotated[SecretStr, AfterValidator(_one_line), PlainSerializer(lambda secret: "***" if secret else "")]
"""Prints as stars. Call ``get_secret_value()`` only where the secret is used."""
Ports = Annotated[PortRange, PlainValidator(_ports), PlainSerializer(str)]
"""Written as ``"5062-5199"``."""
Duration = Annotated[float, PlainValidator(_duration), PlainSerializer(lambda seconds: f"{seconds:g}s")]
"""Seconds; written as ``"60s"``, ``"2m"`` or ``"1h"``."""


def _network(value: object) -> str:
    try:
        return str(ipaddress.ip_network(str(value), strict=False))
    except ValueError:
        raise ValueError(f'expected a network in CIDR such as "203.0.113.0/24", not {value!r}') from None


IpAddress = Annotated[str, PlainValidator(_address)]
Network = Annotated[str, PlainValidator(_network)]
OptionalIpAddress = Annotated[str, PlainValidator(lambda value: value if value == "" else _address(value))]
Label = Annotated[str, PlainValidator(_label)]
Callers = Annotated[str, PlainValidator(_callers)]
"""A number in E.164; with a final ``*``, every number with that beginning."""
ServerUri = Annotated[str, PlainValidator(_server_uri)]
"""A SIP URI of a host: no user, no headers. sips: is read as TLS to that host; no carrier keeps it end to end."""
OptionalServerUri = Annotated[str, PlainValidator(lambda value: value if value == "" else _server_uri(value))]
ReadableFile = Annotated[str, PlainValidator(_readable_file)]
"""An absolute path; empty means no file."""
WebUrl = Annotated[str, PlainValidator(_web_url)]
"""A URL without a final slash. Plain http is allowed only to this machine."""
