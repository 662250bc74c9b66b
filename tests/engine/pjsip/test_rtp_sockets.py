"""Which ports calls get, and how their sockets are marked: on loopback, without a call."""

from __future__ import annotations

import socket

import pytest

from engine.errors import SipError
from engine.pjsip.rtp_sockets import RtpPorts


def test_a_pair_is_an_even_port_and_the_odd_one_above_inside_the_range() -> None:
    ports = RtpPorts("127.0.0.1", 22001, 22008)
    pairs = [ports.pair() for _ in range(3)]
    assert sorted(pair.port for pair in pairs) == [22002, 22004, 22006]
    with pytest.raises(SipError, match=r"sip\.rtp_ports"):
        ports.pair()
    for pair in pairs:
        pair.close()


def test_a_port_that_was_freed_is_the_last_to_be_taken_again() -> None:
    ports = RtpPorts("127.0.0.1", 22100, 22119)
    used = []
    for _ in range(20):
        pair = ports.pair()
        used.append(pair.port)
        pair.close()
    assert len(set(used[:10])) == 10
    assert used[10:] == used[:10]


def test_a_port_that_another_program_holds_is_passed_over() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 22203))
        ports = RtpPorts("127.0.0.1", 22200, 22205)
        pairs = [ports.pair(), ports.pair()]
        assert sorted(pair.port for pair in pairs) == [22200, 22204]
        for pair in pairs:
            pair.close()


def test_packets_carry_the_diffserv_mark() -> None:
    for bind, level, option in (
        ("127.0.0.1", socket.IPPROTO_IP, socket.IP_TOS),
        ("::1", socket.IPPROTO_IPV6, socket.IPV6_TCLASS),
    ):
        pair = RtpPorts(bind, 0, 0, dscp=46).pair()
        assert pair._rtp.getsockopt(level, option) >> 2 == pair._rtcp.getsockopt(level, option) >> 2 == 46
        pair.close()
