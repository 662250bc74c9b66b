"""The socket addresses that PJLIB is given."""

from __future__ import annotations

import socket

from engine.pjsip.structures import SOCKET_ADDRESS_SIZE, socket_address


def test_ipv4_address_is_laid_out_as_the_kernels() -> None:
    address = socket_address("192.0.2.1", 0x1234)
    assert address[:2] == socket.AF_INET.to_bytes(2, "little")
    assert address[2:8] == b"\x12\x34\xc0\x00\x02\x01"
    assert len(address) == SOCKET_ADDRESS_SIZE


def test_ipv6_address_is_laid_out_as_the_kernels() -> None:
    address = socket_address("2001:db8::1", 0x1234)
    assert address[:2] == socket.AF_INET6.to_bytes(2, "little")
    assert address[2:8] == b"\x12\x34\x00\x00\x00\x00"
    assert address[8:24] == socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    assert len(address) == SOCKET_ADDRESS_SIZE
