"""The RTP and RTCP sockets of a call (RFC 3550 §11). We make them so that the kernel drops packets of strangers."""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import random
import socket
import struct
from collections import deque
from collections.abc import Iterable

from engine import source_filter
from engine.errors import SipError
from engine.pjsip.library import pjlib
from engine.pjsip.structures import MEDIA_DESTROY, ON_TRANSPORT, MediaTransport, socket_address

Endpoint = tuple[str, int]

_RECEIVE_BUFFER = 1 << 16
"""About two seconds of 20 ms packets: a packet that waits longer is useless to a call."""
_ANY_PORT_TRIES = 100
_SHUFFLE = random.SystemRandom()
_SRTP_FIELDS = 1 << 14
"""The bytes of ``transport_srtp`` in which its member transport is searched: it comes after buffers of packets."""

pjlib.pjsua_get_pjmedia_endpt.restype = ctypes.c_void_p
pjlib.pjmedia_transport_udp_attach.argtypes = (
    *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p),
    *(ctypes.c_uint, ctypes.c_void_p),
)
pjlib.pjmedia_transport_srtp_get_member.argtypes = (ctypes.c_void_p,)
pjlib.pjmedia_transport_srtp_get_member.restype = ctypes.c_void_p


class RtpPorts:
    """The even ports of a range, each with the odd port above it, for one PJSIP instance.

    A port that is given back is reused only after all others, so that late packets of a far end reach no other call. A
    range from 0 means any free ports.
    """

    def __init__(self, bind: str, first: int, last: int, *, public_address: str = "", dscp: int = 0) -> None:
        self._bind = bind
        self._public_address = public_address
        self._dscp = dscp
        ports = list(range(first + first % 2, last, 2)) if first else []
        _SHUFFLE.shuffle(ports)
        self._free = deque(ports)
        self._any = not first

    def pair(self) -> RtpPair:
        """Two bound sockets that accept nothing yet. Raises ``SipError`` when other programs hold every port."""
        if self._any:
            return self._of_any_port()
        for _ in range(len(self._free)):
            port = self._free.popleft()
            with contextlib.suppress(OSError):
                return self._made(port)
            self._free.append(port)
        raise SipError("other programs hold every RTP port of this worker's share of sip.rtp_ports")

    def give_back(self, port: int) -> None:
        if not self._any:
            self._free.append(port)

    def _of_any_port(self) -> RtpPair:
        for _ in range(_ANY_PORT_TRIES):
            with self._socket(0) as probe:
                port: int = probe.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                return self._made(port - port % 2)
        raise SipError("no two neighbouring UDP ports are free for RTP")

    def _made(self, port: int) -> RtpPair:
        rtp = self._socket(port)
        try:
            rtcp = self._socket(port + 1)
        except OSError:
            rtp.close()
            raise
        return RtpPair(self, rtp, rtcp, self._public_address or self._bind)

    def _socket(self, port: int) -> socket.socket:
        ipv6 = ":" in self._bind
        made = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            source_filter.drop_all(made)  # before it is bound, so that nothing is queued in it
            if ipv6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, self._dscp << 2)
            else:
                made.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, self._dscp << 2)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            made.setblocking(False)
            made.bind((self._bind, port))
        except OSError:
            made.close()
            raise
        return made


class RtpPair:
    """The sockets of one call, until ``close``. They accept nothing at first.

    ``advertised`` is the address in our SDP; the unspecified address stands for the machine's address.
    """

    def __init__(self, ports: RtpPorts, rtp: socket.socket, rtcp: socket.socket, advertised: str) -> None:
        self._ports, self._rtp, self._rtcp = ports, rtp, rtcp
        self._advertised = advertised
        self.port: int = rtp.getsockname()[1]

    def only_from(self, ip: str, port: int | None) -> None:
        """Accept RTP only from this address and port (None: any port), and RTCP only from this address."""
        if port is None:
            self.only_from_any([ip])
            return
        source_filter.accept_endpoint(self._rtp, ipaddress.ip_address(ip), port)
        source_filter.accept(self._rtcp, [ipaddress.ip_network(ip)])

    def only_from_any(self, ips: Iterable[str]) -> None:
        """Accept RTP and RTCP only from these addresses."""
        networks = [ipaddress.ip_network(ip) for ip in ips]
        source_filter.accept(self._rtp, networks)
        source_filter.accept(self._rtcp, networks)

    def drop_all(self) -> None:
        """Accept nothing."""
        source_filter.drop_all(self._rtp)
        source_filter.drop_all(self._rtcp)

    def open(self) -> None:
        """Accept packets from any sender."""
        source_filter.clear(self._rtp)
        source_filter.clear(self._rtcp)

    def sender(self) -> Endpoint | None:
        """The sender of the RTP packet that PJMEDIA will read next; None when no packet waits."""
        try:
            address = self._rtp.recvfrom(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)[1]
        except OSError:  # nothing waits, or the far end refused a packet of ours
            return None
        return address[0], address[1]

    def close(self) -> None:
        """Give the port back. PJMEDIA closes its own handles of the sockets with its transport."""
        if self._rtp.fileno() < 0:
            return
        self._rtp.close()
        self._rtcp.close()
        self._ports.give_back(self.port)

    def carry(self, transport: int) -> int:
        """Replace the sockets that PJSUA made for ``transport`` (``pjmedia_transport``) by these. Returns the transport
        to use. Raises ``SipError``; then ``transport`` is unchanged."""
        ours = self.attached()
        if _operations(transport) == _operations(ours):
            destroy_media_transport(transport)
            return ours
        theirs = pjlib.pjmedia_transport_srtp_get_member(transport)
        if not _exchange_member(transport, theirs, ours):
            destroy_media_transport(ours)
            raise SipError("This build of PJSIP keeps the transport under SRTP in an unknown place.")
        destroy_media_transport(theirs)
        return transport

    def attached(self) -> int:
        """A new PJMEDIA transport with its own handles of the sockets."""
        handles = [os.dup(one.fileno()) for one in (self._rtp, self._rtcp)]
        info = b"".join(
            struct.pack("=q28s4x", handle, socket_address(self._advertised, self.port + place))
            for place, handle in enumerate(handles)
        )
        made = ctypes.c_void_p()
        # PJMEDIA still follows the source, but the filter leaves at most one (`engine.pjsip.rtp_source`).
        endpoint = ctypes.c_void_p(pjlib.pjsua_get_pjmedia_endpt())
        status = pjlib.pjmedia_transport_udp_attach(endpoint, b"rtp", info, 0, ctypes.addressof(made))
        if status != 0 or not made.value:  # PJMEDIA has closed the handles
            raise SipError(f"PJMEDIA refused the RTP sockets (status {status}).")
        return made.value


def _operations(transport: int) -> int | None:
    """The table of functions. It shows the kind of transport: SRTP has the ``type`` of the transport below it."""
    return ctypes.cast(MediaTransport.from_address(transport).op, ctypes.c_void_p).value


def _exchange_member(srtp: int, theirs: int, ours: int) -> bool:
    """Have the SRTP transport send and receive through ``ours`` instead of ``theirs``."""
    for offset in range(ctypes.sizeof(MediaTransport), _SRTP_FIELDS, 8):
        field = ctypes.c_void_p.from_address(srtp + offset)
        if field.value == theirs:
            field.value = ours
            if pjlib.pjmedia_transport_srtp_get_member(srtp) == ours:
                return True
            field.value = theirs
    return False


def destroy_media_transport(transport: int) -> int:
    """``pjmedia_transport_close``, which the library has only inline."""
    destroy = MediaTransport.from_address(transport).op[MEDIA_DESTROY]
    return int(ON_TRANSPORT(destroy or 0)(transport))
