"""The kinds of value that settings have: each reads its text, or says what it expected.

A reader raises ``ValueError`` with a sentence. Texts in which a password may stand are not repeated in it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import PlainSerializer, PlainValidator

from engine.sip_uri import SipUri


class Secret:
    """A text that prints as stars; ``reveal()`` where it is used, and nowhere else."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***" if self._text else ""


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

    def overlaps(self, other: PortRange) -> bool:
        return self.first <= other.last and other.first <= self.last


def _secret(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("expected a text in quotes")
    if not value.isprintable():
        raise ValueError("holds a line break or another control character")
    return Secret(value)


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


def _server_uri(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a SIP URI in quotes")
    uri = SipUri.parse(value)
    if uri.user:
        raise ValueError("expected a server's URI, without a user and @")
    for param in uri.params:
        name, _, transport = param.lower().partition("=")
        if name == "transport" and transport not in ("udp", "tcp"):
            raise ValueError(f"expected transport=udp or tcp (TLS is not supported yet), not {transport!r}")
    if uri.scheme == "sips":
        raise ValueError("expected sip: (sips: asks for TLS, which is not supported yet)")
    return str(uri)


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


SecretText = Annotated[Secret, PlainValidator(_secret), PlainSerializer(repr)]
Ports = Annotated[PortRange, PlainValidator(_ports), PlainSerializer(str)]
"""Written as ``"5062-5199"``."""
Duration = Annotated[float, PlainValidator(_duration), PlainSerializer(lambda seconds: f"{seconds:g}s")]
"""Seconds; written as ``"60s"``, ``"2m"`` or ``"1h"``."""
IpAddress = Annotated[str, PlainValidator(_address)]
OptionalIpAddress = Annotated[str, PlainValidator(lambda value: value if value == "" else _address(value))]
Label = Annotated[str, PlainValidator(_label)]
ServerUri = Annotated[str, PlainValidator(_server_uri)]
"""A SIP URI of a host: no user, no headers."""
OptionalServerUri = Annotated[str, PlainValidator(lambda value: value if value == "" else _server_uri(value))]
WebUrl = Annotated[str, PlainValidator(_web_url)]
"""Without a final slash. Plain http only to this machine."""
