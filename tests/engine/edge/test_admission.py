"""Who is let in, for how long, and what the kernel drops before us."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from engine import source_filter
from engine.edge import admission as module
from engine.edge.admission import Admission

STRANGER, TRUNK, CALLEE = "127.0.0.8", "127.0.0.5", "127.0.0.6"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.2)
        yield sock


def send(server: socket.socket, address: str, count: int = 1) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((address, 0))
        for _ in range(count):
            sender.sendto(b"x", server.getsockname())


def test_the_kernel_drops_strangers_also_after_the_set_has_grown(server: socket.socket) -> None:
    admission = Admission(())
    admission.admit(TRUNK)
    admission.guard(server)
    send(server, STRANGER, 1000)
    assert source_filter.dropped(server) >= 1000
    send(server, CALLEE)
    admission.admit_hop(CALLEE)
    send(server, STRANGER, 1000)
    assert source_filter.dropped(server) >= 2001
    send(server, TRUNK)
    send(server, CALLEE)
    assert [server.recvfrom(10)[1][0] for _ in range(2)] == [TRUNK, CALLEE]
    with pytest.raises(TimeoutError):
        server.recv(10)


def test_what_the_kernel_dropped_is_reported_once_a_minute(
    server: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    clock = Clock()
    admission = Admission((), clock)
    admission.guard(server)
    send(server, STRANGER, 30)
    assert not admission.admits(STRANGER)
    for _ in range(3):
        admission.report()
    assert not caplog.records
    clock.now += 60
    admission.report()
    admission.report()
    (line,) = caplog.records
    fields: Any = line
    assert (fields.messages, fields.inKernel, fields.sources) == (31, 30, 1)


def test_hops_that_far_ends_name_take_no_trunks_place() -> None:
    admission = Admission(())
    for number in range(3000):
        admission.admit_hop(f"10.0.{number // 250}.{number % 250}")
    admission.admit(TRUNK)
    assert admission.admits(TRUNK)
    assert not admission.admits("10.0.0.0") and admission.admits("10.0.11.249")
    assert len(admission._hops) == module._MOST_HOPS


def test_an_address_that_is_used_stays_and_one_that_is_not_goes() -> None:
    clock = Clock()
    admission = Admission((), clock)
    admission.admit(TRUNK)
    for address in (CALLEE, STRANGER):
        admission.admit_hop(address)
    for _ in range(3):
        clock.now += module._HOP_FOR_S - 1
        assert admission.admits(CALLEE)
        admission.report()
    assert not admission.admits(STRANGER) and admission.admits(TRUNK)
    clock.now += module._TRUNK_FOR_S + 1
    admission.report()
    assert not admission.admits(TRUNK)


def test_networks_of_the_operator_are_let_in() -> None:
    admission = Admission(["192.0.2.0/24", "2001:db8::/64"])
    assert admission.admits("192.0.2.9") and admission.admits("2001:db8::1%eth0")
    assert not admission.admits("192.0.3.9") and not admission.admits("2001:db9::1")
