"""What a worker knows of names before it starts: it must not look them up by ``getaddrinfo``, which blocks."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path


def nameservers(resolv_conf: Path) -> tuple[str, ...]:
    """The machine's name servers with an IPv4 address, for PJSIP's own resolver (RFC 3263: SRV and A).

    Never empty: without any, names must fail rather than block.
    """
    servers = [words[1] for words in _lines(resolv_conf) if words[0] == "nameserver" and len(words) > 1]
    return tuple(server for server in servers if _is_ipv4(server)) or ("127.0.0.1",)


def static_hosts(hosts: Path) -> Mapping[str, str]:
    """The IPv4 addresses of the machine's hosts file by lower-case name; the first line that names a host counts."""
    addresses: dict[str, str] = {}
    for address, *names in _lines(hosts):
        if _is_ipv4(address):
            for name in names:
                addresses.setdefault(name.lower(), address)
    return addresses


def _lines(file: Path) -> list[list[str]]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return [words for words in lines if words]


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False  # PJSIP's stock build speaks no IPv6
    return True
