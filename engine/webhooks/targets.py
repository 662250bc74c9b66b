"""The allowed targets of webhooks: public addresses only, checked after the name is resolved, so that no webhook
reaches an internal host."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpx

from engine.errors import TargetRefused

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_RESOLVERS = 16
_SCHEMES = ("http", "https")
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_NAME = re.compile(rf"(?=.{{1,253}}\.?$)({_LABEL}\.)*(?![0-9]+\.?$){_LABEL}\.?")
"""A host name (RFC 1123 §2.1). A name that ends in digits was meant as an address."""

GetAddrInfo = Callable[..., list[Any]]


def is_public(address: str) -> bool:
    """Whether an IP address is public. The IPv4 address inside an IPv6 address is checked too."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip.is_global and not (ip.is_multicast or ip.is_reserved)
    if inner := ip.ipv4_mapped or _behind_nat64(ip):
        return is_public(str(inner))
    return ip in _GLOBAL_UNICAST and ip.is_global and not (ip.sixtofour or ip.teredo)


def check_url(url: str, *, allow_private: bool) -> httpx.URL:
    """Parse and check ``url``. Its name is not looked up here. Raises ``TargetRefused``."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        raise TargetRefused("Expected a URL such as https://example.com/hook.") from None
    host = target.raw_host.decode("ascii")
    address = _address(host)
    reachable = (address or _NAME.fullmatch(host)) and (target.port is None or 0 < target.port < 65_536)
    if target.scheme not in _SCHEMES or not reachable or target.userinfo:
        raise TargetRefused("Expected a URL such as https://example.com/hook, without a user before the host.")
    if allow_private:
        return target
    if target.scheme != "https":
        raise TargetRefused("Expected https:// (the operator can allow http:// by webhooks.allow_private).")
    loopback = host.rstrip(".").rpartition(".")[2] == "localhost"  # RFC 6761 §6.3
    if loopback or (address and not is_public(address)):
        raise _private()
    return target


class Resolver:
    """Resolves names to allowed addresses. Each name takes at most one thread, and it shares no thread pool."""

    def __init__(self, *, allow_private: bool, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> None:
        self._allow_private = allow_private
        self._getaddrinfo = getaddrinfo
        self._threads = ThreadPoolExecutor(_RESOLVERS, "webhook-dns")
        self._asked: dict[str, asyncio.Future[list[Any]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """The host's addresses, in the system's order. Raises ``TargetRefused`` when it has only private ones, and
        ``OSError`` when it has none."""
        if address := _address(host):
            found = [address]
        else:
            if (asked := self._asked.get(host)) is None:
                ask = partial(self._getaddrinfo, host, None, type=socket.SOCK_STREAM)
                asked = asyncio.get_running_loop().run_in_executor(self._threads, ask)
                self._asked[host] = asked
                asked.add_done_callback(lambda answer: self._forget(host, answer))
            found = [str(entry[4][0]) for entry in await asyncio.shield(asked)]
        allowed = [address for address in found if self._allow_private or is_public(address)]
        if not allowed:
            raise _private()
        return allowed

    def close(self) -> None:
        """Stop looking up names; does not wait."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget(self, host: str, answer: asyncio.Future[list[Any]]) -> None:
        self._asked.pop(host, None)
        if not answer.cancelled():
            answer.exception()  # the caller may have given up


def _behind_nat64(ip: IPv6Address) -> IPv4Address | None:
    # RFC 6052 §2.1: the last 32 bits are the IPv4 address that the gateway connects to.
    return IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None


def _address(host: str) -> str | None:
    """The address that ``host`` denotes, also in the C library's spellings (``127.1``, ``0x7f000001``)."""
    try:
        return str(ip_address(host))
    except ValueError:
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            return None


def _private() -> TargetRefused:
    return TargetRefused("Expected a public host (the operator can allow others by webhooks.allow_private).")
