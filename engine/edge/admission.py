"""Who may send SIP to us: the addresses that belong to trunks, and the networks that the operator allows."""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Iterable
from typing import Final

from engine import source_filter

log = logging.getLogger("trunkline.edge")

_REPORT_S: Final = 60.0
_MOST: Final = 2048


class Admission:
    """The one set of sources. What comes from elsewhere is dropped, by the kernel where it can, and counted."""

    def __init__(self, allow_from: Iterable[str], now_s: Callable[[], float] = time.monotonic) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in allow_from]
        self._addresses: dict[str, None] = {}
        self._sockets: list[socket.socket] = []
        self._now_s = now_s
        self._reported_s = now_s()
        self._dropped = 0
        self._strangers: set[str] = set()

    def guard(self, sock: socket.socket) -> None:
        """Have the kernel drop what is not admitted on this socket, from now on."""
        self._sockets.append(sock)
        self._filter()

    def admit(self, address: str) -> None:
        """An address of a trunk, or of a hop that a trunk named."""
        if address not in self._addresses and len(self._addresses) < _MOST:
            self._addresses[address] = None
            self._filter()

    def admits(self, address: str, size: int) -> bool:
        """Whether what came from there is to be read; what is not is counted."""
        if address in self._addresses:
            return True
        if self._networks:
            ip = ipaddress.ip_address(address.partition("%")[0])
            if any(ip in network for network in self._networks if network.version == ip.version):
                return True
        self._dropped += 1
        if len(self._strangers) < 100:
            self._strangers.add(address)
        return False

    def report(self) -> None:
        """Say once a minute how much was dropped; to be called now and then."""
        now_s = self._now_s()
        if self._dropped and now_s - self._reported_s >= _REPORT_S:
            log.warning(
                "SIP from addresses that belong to no trunk was dropped",
                extra={"messages": self._dropped, "sources": len(self._strangers)},
            )
            self._reported_s, self._dropped = now_s, 0
            self._strangers.clear()

    def _filter(self) -> None:
        networks = [*self._networks, *(ipaddress.ip_network(address) for address in self._addresses)]
        for sock in self._sockets:
            try:
                source_filter.accept(sock, networks)
            except (OSError, ValueError) as error:
                source_filter.clear(sock)
                log.info("the kernel does not filter SIP for us, the edge does: %s", error)
