"""Who may send SIP to us: the addresses that belong to trunks, and the networks that the operator allows."""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from engine import source_filter

log = logging.getLogger("trunkline.edge")

_REPORT_S: Final = 60.0
_TRUNK_FOR_S: Final = 7 * 86_400.0
_HOP_FOR_S: Final = 86_400.0
"""As long as a call without any SIP inside may last."""
_MOST_OF_TRUNKS: Final = 1024
_MOST_HOPS: Final = 512


class Admission:
    """The one set of sources. What comes from elsewhere is dropped, by the kernel where it can, and counted.

    A trunk's address stays for a week after its name led there last. A hop that a far end named (Contact, Record-Route)
    stays for a day after it was used last, and the least recently used one makes room: a far end can name as many
    as it likes, and takes no trunk's place.
    """

    def __init__(self, allow_from: Iterable[str], now_s: Callable[[], float] = time.monotonic) -> None:
        self._networks = [ipaddress.ip_network(network, strict=False) for network in allow_from]
        self._of_trunks: OrderedDict[str, float] = OrderedDict()
        self._hops: OrderedDict[str, float] = OrderedDict()
        self._sockets: dict[socket.socket, int] = {}
        self._now_s = now_s
        self._reported_s = now_s()
        self._dropped = 0
        self._filters = True
        self._strangers: set[str] = set()

    def guard(self, sock: socket.socket) -> None:
        """Have the kernel drop what is not admitted on this socket, from now on."""
        self._sockets[sock] = source_filter.dropped(sock)
        self._filter()

    def admit(self, address: str) -> None:
        """An address that a trunk's name leads to."""
        self._add(self._of_trunks, address, _MOST_OF_TRUNKS)

    def admit_hop(self, address: str) -> None:
        """An address that we send to."""
        if address in self._of_trunks:
            return
        self._add(self._hops, address, _MOST_HOPS)

    def admits(self, address: str) -> bool:
        """Whether what came from there is to be read; what is not is counted."""
        if address in self._of_trunks:
            return True
        if address in self._hops:
            self._add(self._hops, address, _MOST_HOPS)
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
        """Forget addresses that are no longer used, and report once a minute how much was dropped; to be called now and
        then."""
        now_s = self._now_s()
        if now_s - self._reported_s < _REPORT_S:
            return
        self._reported_s = now_s
        old = [one for one, seen_s in self._of_trunks.items() if now_s - seen_s > _TRUNK_FOR_S]
        old_hops = [one for one, seen_s in self._hops.items() if now_s - seen_s > _HOP_FOR_S]
        for address in old:
            del self._of_trunks[address]
        for address in old_hops:
            del self._hops[address]
        if old or old_hops:
            self._filter()
        in_kernel = self._dropped_by_kernel()
        if self._dropped or in_kernel:
            log.warning(
                "SIP from addresses that belong to no trunk was dropped",
                extra={"messages": self._dropped + in_kernel, "sources": len(self._strangers), "inKernel": in_kernel},
            )
            self._dropped = 0
            self._strangers.clear()

    def _add(self, addresses: OrderedDict[str, float], address: str, most: int) -> None:
        known = address in addresses
        addresses[address] = self._now_s()
        addresses.move_to_end(address)
        if not known:
            if len(addresses) > most:
                addresses.popitem(last=False)
            self._filter()

    def _dropped_by_kernel(self) -> int:
        """What the filters dropped since the last report, and what found a socket's buffer full."""
        count = 0
        for sock, before in self._sockets.items():
            self._sockets[sock] = source_filter.dropped(sock)
            count += (self._sockets[sock] - before) % 2**32
        return count

    def _filter(self) -> None:
        addresses = (ipaddress.ip_network(address.partition("%")[0]) for address in (*self._of_trunks, *self._hops))
        networks = [*self._networks, *addresses]
        for sock in self._sockets:
            try:
                source_filter.accept(sock, networks)
                self._filters = True
            except (OSError, ValueError) as error:
                source_filter.clear(sock)
                if self._filters:
                    log.warning("the kernel does not filter SIP for us, the edge does: %s", error)
                self._filters = False
