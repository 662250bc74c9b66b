"""Admission by source address in the kernel: a UDP socket that queues only the datagrams of known senders.

The filter is a classic BPF program on the socket (SO_ATTACH_FILTER, socket(7)), which needs no privilege. A datagram
that it drops never reaches the receive buffer, so a flood from elsewhere cannot push out a trunk's datagrams.

Offsets in the program: on a UDP socket the kernel runs it with offset 0 at the UDP header, behind every IPv4 option and
IPv6 extension header. So the source port is at 0, and no header length has to be computed. The IP header lies before
that, at ``SKF_NET_OFF``. An IPv6 socket that receives IPv4 as well gets those packets with their IPv4 header, so
each program looks at the version first and then at the addresses of that version.

Attaching replaces the former program in one step: each datagram is judged by the former or by the new program. A
datagram that the former program admitted may still be queued a moment later, and stays queued; see ``drain``.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses

MAX_INSTRUCTIONS = 4096
"""The kernel's limit (BPF_MAXINSNS): about 2,000 IPv4 networks or 450 IPv6 addresses."""

Source = IPv4Network | IPv6Network

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_MEMINFO = 55
_SK_MEMINFO_DROPS = 8
_SK_MEMINFO_VARS = 9

_NET = 0xFFF00000  # SKF_NET_OFF: offsets from here on are into the IP header
_IPV4_SOURCE = _NET + 12
_IPV6_SOURCE = _NET + 8
_SOURCE_PORT = 0  # in the UDP header

# Instructions (linux/filter.h): code, steps to skip if true, steps to skip if false, operand
_Instruction = tuple[int, int, int, int]
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_SHIFT_RIGHT, _AND = 0x74, 0x54
_JUMP, _JUMP_EQUAL = 0x05, 0x15
_ACCEPT: _Instruction = (0x06, 0, 0, 0xFFFFFFFF)
_DROP: _Instruction = (0x06, 0, 0, 0)


class FilterTooLarge(ValueError):
    """The sources need a longer program than the kernel takes. The socket keeps its former filter."""

    def __init__(self, sources: int) -> None:
        super().__init__(
            f"{sources} sources are too many for a filter in the kernel; compare addresses in the program."
        )


def accept(sock: socket.socket, sources: Collection[Source]) -> None:
    """From now on, queue only datagrams from ``sources``; none at all when that is empty.

    IPv4 networks written as IPv6 (``::ffff:192.0.2.0/120``) count as IPv4. Raises ``FilterTooLarge`` and ``OSError``.
    """
    _attach(sock, _program(sources), len(sources))


def accept_endpoint(sock: socket.socket, address: IPv4Address | IPv6Address, port: int) -> None:
    """From now on, queue only datagrams from one address and UDP port. Raises ``OSError``."""
    _attach(sock, _program([_host(address)], port), 1)


def drop_all(sock: socket.socket) -> None:
    """From now on queue nothing. Raises ``OSError``."""
    _attach(sock, [_DROP], 0)


def clear(sock: socket.socket) -> None:
    """From now on queue everything, as a socket without a filter does."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except FileNotFoundError:  # there was no filter
        return


def drain(sock: socket.socket, *, limit: int = 65536) -> int:
    """Drop at most ``limit`` queued datagrams; returns their number. Never blocks.

    For a socket that was open to everyone before: ``drop_all``, ``drain``, then ``accept``. A datagram that was being
    judged while the filter changed can still be queued afterwards, so the reader must check the source again.
    """
    for count in range(limit):
        try:
            sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
        except BlockingIOError:
            return count
        except ConnectionRefusedError:  # an ICMP error that waited on a connected socket
            continue
    return limit


def dropped(sock: socket.socket) -> int:
    """The number of datagrams that the socket lost since it was made, modulo 2³².

    The kernel keeps one count for the drops of a filter, of a full buffer and of bad checksums. SO_RXQ_OVFL delivers
    the same count beside a datagram.
    """
    values = struct.unpack(
        f"{_SK_MEMINFO_VARS}I", sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _SK_MEMINFO_VARS)
    )
    return int(values[_SK_MEMINFO_DROPS])


def _attach(sock: socket.socket, program: list[_Instruction], sources: int) -> None:
    if len(program) > MAX_INSTRUCTIONS:
        raise FilterTooLarge(sources)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    try:
        # struct sock_fprog: the number of instructions and where they are; the kernel copies them
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code)))
    except OSError as error:
        if error.errno == errno.ENOMEM:  # net.core.optmem_max is 20 kB on kernels before 6.7
            raise FilterTooLarge(sources) from error
        raise


def _program(sources: Iterable[Source], port: int | None = None) -> list[_Instruction]:
    plain = [_unmapped(source) for source in sources]
    ipv4 = _section(collapse_addresses(source for source in plain if isinstance(source, IPv4Network)), _IPV4_SOURCE)
    ipv6 = _section(collapse_addresses(source for source in plain if isinstance(source, IPv6Network)), _IPV6_SOURCE)
    from_port = [] if port is None else [(_LOAD_HALF, 0, 0, _SOURCE_PORT), (_JUMP_EQUAL, 1, 0, port), _DROP]
    return [
        *from_port,
        (_LOAD_BYTE, 0, 0, _NET),
        (_SHIFT_RIGHT, 0, 0, 4),
        (_JUMP_EQUAL, 0, 1, 4),
        (_JUMP, 0, 0, 2),  # to the IPv4 section; a conditional jump reaches 255 instructions only
        (_JUMP_EQUAL, 0, 1, 6),
        (_JUMP, 0, 0, len(ipv4)),  # to the IPv6 section
        *ipv4,
        *ipv6,
    ]


def _section(networks: Iterable[Source], at: int) -> list[_Instruction]:
    """Accept a packet whose source address, ``at`` that offset, is in one of the networks; drop every other."""
    return [*(step for network in networks for step in _compare(network, at)), _DROP]


def _compare(network: Source, at: int) -> list[_Instruction]:
    """Accept a packet of the network; continue behind these instructions for every other."""
    words = struct.unpack(f"!{network.max_prefixlen // 32}I", network.network_address.packed)
    masks = struct.unpack(f"!{network.max_prefixlen // 32}I", network.netmask.packed)
    steps: list[_Instruction] = []
    for number, (word, mask) in enumerate(zip(words, masks, strict=True)):
        if mask:
            steps.append((_LOAD_WORD, 0, 0, at + 4 * number))
            if mask != 0xFFFFFFFF:
                steps.append((_AND, 0, 0, mask))
            steps.append((_JUMP_EQUAL, 0, 0, word))
    steps.append(_ACCEPT)
    behind = len(steps)
    return [
        (code, 0, behind - index - 1, operand) if code == _JUMP_EQUAL else (code, yes, no, operand)
        for index, (code, yes, no, operand) in enumerate(steps)
    ]


def _host(address: IPv4Address | IPv6Address) -> Source:
    return IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(int(address))  # without its zone


def _unmapped(source: Source) -> Source:
    mapped = source.network_address.ipv4_mapped if isinstance(source, IPv6Network) else None
    return IPv4Network((mapped, source.prefixlen - 96)) if mapped and source.prefixlen >= 96 else source
