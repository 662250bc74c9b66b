"""The machine's own files about names: hosts(5) and resolv.conf(5), read again when they change."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

_T = TypeVar("_T")

MAX_FILE_BYTES = 1_000_000
MAX_NAMESERVERS = 3
"""As many as the C library asks (MAXNS)."""

DNS_PORT = 53


class MachineNames:
    """The two files, each looked at whenever it is asked for. A file that cannot be read is empty."""

    def __init__(self, hosts: Path = Path("/etc/hosts"), resolv_conf: Path = Path("/etc/resolv.conf")) -> None:
        self._hosts = _Parsed(hosts, parse_hosts)
        self._nameservers = _Parsed(resolv_conf, parse_nameservers)

    def hosts(self) -> Mapping[str, tuple[str, ...]]:
        """Addresses by lower-case name, in the order of the file."""
        return self._hosts.value()

    def nameservers(self) -> tuple[tuple[str, int], ...]:
        """Address and port of each name server; the local one where the file names none, as the C library does."""
        return self._nameservers.value()


def parse_hosts(text: str) -> Mapping[str, tuple[str, ...]]:
    """The addresses of each lower-case name. ``localhost`` is the loopback address at least (RFC 6761 §6.3)."""
    addresses: dict[str, tuple[str, ...]] = {}
    for words in _lines(text):
        if _is_address(words[0]):
            for name in words[1:]:
                key = name.lower()
                if words[0] not in addresses.get(key, ()):
                    addresses[key] = (*addresses.get(key, ()), words[0])
    addresses.setdefault("localhost", ("127.0.0.1", "::1"))
    return addresses


def parse_nameservers(text: str) -> tuple[tuple[str, int], ...]:
    """Address and port of the first ``MAX_NAMESERVERS`` name servers."""
    named = [words[1] for words in _lines(text) if words[0] == "nameserver" and len(words) > 1]
    addresses = [address for address in named if _is_address(address)] or ["127.0.0.1"]
    return tuple((address, DNS_PORT) for address in addresses[:MAX_NAMESERVERS])


class _Parsed(Generic[_T]):
    """A file as its parser reads it, parsed again when the file was changed or replaced."""

    def __init__(self, path: Path, parse: Callable[[str], _T]) -> None:
        self._path, self._parse = path, parse
        self._version: object = ()
        self._value: _T | None = None

    def value(self) -> _T:
        version = self._stat()
        if self._value is None or version != self._version:
            self._value, self._version = self._parse(self._text()), version
        return self._value

    def _stat(self) -> object:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _text(self) -> str:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""


def _lines(text: str) -> list[list[str]]:
    lines = (line.partition("#")[0].partition(";")[0].split() for line in text.splitlines())
    return [words for words in lines if words]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
