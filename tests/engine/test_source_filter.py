"""Real datagrams over loopback, through filters in the kernel."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from engine.source_filter import FilterTooLarge, accept, accept_endpoint, clear, drain, drop_all, dropped

SO_RXQ_OVFL = 40


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """An IPv4 socket on every loopback address."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def dual() -> Iterator[socket.socket]:
    """An IPv6 socket that receives IPv4 as well."""
    with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::", 0))
        yield sock


@contextmanager
def sender(source: str, port: int = 0) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind((source, port))
        yield sock


def send(receiver: socket.socket, *sources: str) -> None:
    for source in sources:
        with sender(source) as sock:
            there = "::1" if ":" in source else "127.0.0.1"
            sock.sendto(source.encode(), (there, receiver.getsockname()[1]))


def received(receiver: socket.socket) -> list[str]:
    """All that is queued: loopback delivers before ``sendto`` returns."""
    payloads = []
    while True:
        try:
            payloads.append(receiver.recv(100, socket.MSG_DONTWAIT).decode())
        except BlockingIOError:
            return payloads


def passed(receiver: socket.socket, *sources: str) -> list[str]:
    send(receiver, *sources)
    return received(receiver)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["127.0.0.8"], ["127.0.0.8"]),
        (["127.0.0.8/31"], ["127.0.0.8", "127.0.0.9"]),
        (["127.0.0.9", "127.0.1.0/24"], ["127.0.0.9", "127.0.1.1"]),
        (["127.0.0.0/8"], ["127.0.0.8", "127.0.0.9", "127.0.1.1"]),
        (["0.0.0.0/0"], ["127.0.0.8", "127.0.0.9", "127.0.1.1"]),
        (["192.0.2.0/24", "10.0.0.0/8", "127.0.1.1"], ["127.0.1.1"]),
        (["::ffff:127.0.0.8/127"], ["127.0.0.8", "127.0.0.9"]),
        (["::/0", "7f00:8::/32"], []),
        ([], []),
    ],
)
def test_only_the_networks_of_the_set_arrive(receiver: socket.socket, sources: list[str], expected: list[str]) -> None:
    accept(receiver, [ip_network(source) for source in sources])
    assert passed(receiver, "127.0.0.8", "127.0.0.9", "127.0.1.1") == expected


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["::1"], ["::1"]),
        (["::/64"], ["::1"]),
        (["::/127"], ["::1"]),
        (["::/0"], ["::1"]),
        (["::2", "2001:db8::/33", "::1:0:0:0/80"], []),
        (["127.0.0.8"], ["127.0.0.8"]),
        (["127.0.0.8", "::1"], ["127.0.0.8", "::1"]),
        (["::ffff:127.0.0.8/128"], ["127.0.0.8"]),
        (["0.0.0.0/0"], ["127.0.0.8", "127.0.0.9"]),
        ([], []),
    ],
)
def test_a_dual_stack_socket_recognises_ipv4_packets_by_their_ipv4_header(
    dual: socket.socket, sources: list[str], expected: list[str]
) -> None:
    accept(dual, [ip_network(source) for source in sources])
    assert passed(dual, "127.0.0.8", "127.0.0.9", "::1") == expected


@pytest.mark.parametrize("source", ["127.0.0.8", "::1"])
def test_an_endpoint_is_an_address_and_a_port(dual: socket.socket, source: str) -> None:
    with sender(source) as known, sender(source) as stranger:
        accept_endpoint(dual, ip_address(source), known.getsockname()[1])
        there = ("::1" if ":" in source else "127.0.0.1", dual.getsockname()[1])
        stranger.sendto(b"stranger", there)
        known.sendto(b"known", there)
        if source == "127.0.0.8":
            with sender("127.0.0.9", known.getsockname()[1]) as other_host:
                other_host.sendto(b"other host", there)
    assert received(dual) == ["known"]


def test_an_endpoint_is_recognised_behind_ip_options(receiver: socket.socket) -> None:
    with sender("127.0.0.8") as known, sender("127.0.0.8") as stranger:
        for sock in (known, stranger):
            sock.setsockopt(
                socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01" * 40
            )  # 40 times "no operation": a long header
        accept_endpoint(receiver, ip_address("127.0.0.8"), known.getsockname()[1])
        stranger.sendto(b"stranger", receiver.getsockname())
        known.sendto(b"known", receiver.getsockname())
    assert received(receiver) == ["known"]


def test_datagrams_in_fragments_are_judged_whole(receiver: socket.socket) -> None:
    accept(receiver, [ip_network("127.0.0.8")])
    with sender("127.0.0.8") as known, sender("127.0.0.9") as stranger:
        known.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: never
        for sock in (stranger, known):
            sock.sendto(b"x" * 65_507, receiver.getsockname())
    assert len(receiver.recv(65_535, socket.MSG_DONTWAIT)) == 65_507
    assert received(receiver) == []


def test_a_payload_that_looks_like_an_ip_header_deceives_nobody(receiver: socket.socket) -> None:
    accept(receiver, [ip_network("127.0.0.8")])
    with sender("127.0.0.9") as stranger:
        stranger.sendto(b"\x45" + bytes(11) + bytes([127, 0, 0, 8]) * 4, receiver.getsockname())
    assert received(receiver) == []


def test_drop_all_lets_nothing_in_and_clear_lets_everything_in(receiver: socket.socket) -> None:
    drop_all(receiver)
    assert passed(receiver, "127.0.0.8") == []
    clear(receiver)
    assert passed(receiver, "127.0.0.8") == ["127.0.0.8"]
    clear(receiver)


def test_what_was_queued_before_the_filter_is_drained(receiver: socket.socket) -> None:
    send(receiver, "127.0.0.9", "127.0.0.8", "127.0.0.9")
    drop_all(receiver)
    send(receiver, "127.0.0.9")
    assert drain(receiver) == 3
    accept(receiver, [ip_network("127.0.0.8")])
    assert passed(receiver, "127.0.0.9", "127.0.0.8") == ["127.0.0.8"]


def test_draining_a_blocking_socket_does_not_block_and_ends_at_its_limit(receiver: socket.socket) -> None:
    assert drain(receiver) == 0
    send(receiver, "127.0.0.8", "127.0.0.8", "127.0.0.8")
    assert drain(receiver, limit=2) == 2
    assert received(receiver) == ["127.0.0.8"]


def test_the_set_changes_under_traffic_without_a_gap_and_without_a_stranger(receiver: socket.socket) -> None:
    always, sometimes = ip_network("127.0.0.8"), ip_network("127.0.0.7")
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
    accept(receiver, [always])
    stop, arrived = threading.Event(), []

    def talk() -> None:
        with sender("127.0.0.8") as known, sender("127.0.0.9") as stranger:
            for _ in range(3000):
                stranger.sendto(b"stranger", receiver.getsockname())
                known.sendto(b"known", receiver.getsockname())
        stop.set()

    talker = threading.Thread(target=talk)
    talker.start()
    changes = 0
    while not stop.is_set():
        accept(receiver, [always, sometimes] if changes % 2 else [always])
        changes += 1
        arrived += received(receiver)
    talker.join()
    arrived += received(receiver)
    assert changes > 1
    assert arrived == ["known"] * 3000


def test_the_limit_of_the_program_is_an_error_that_leaves_the_former_filter(receiver: socket.socket) -> None:
    accept(receiver, [ip_network("127.0.0.8")])
    many = [IPv4Network((0x0A000000 + 2 * number, 32)) for number in range(5000)]
    with pytest.raises(FilterTooLarge, match="5000 sources are too many"):
        accept(receiver, many)
    assert passed(receiver, "127.0.0.9", "127.0.0.8") == ["127.0.0.8"]


@pytest.mark.parametrize("source", ["127.0.0.8", "::1"])
def test_a_long_program_finds_its_last_address(dual: socket.socket, source: str) -> None:
    ipv4 = [IPv4Network((0x0A000000 + 2 * number, 32)) for number in range(700)]
    ipv6 = [IPv6Network(((0x20010DB8 << 96) + 2 * number, 128)) for number in range(100)]
    accept(dual, [*ipv4, *ipv6, ip_network(source)])
    assert passed(dual, "127.0.0.9", source) == [source]


def test_neighbouring_addresses_are_joined_so_that_a_large_range_fits(receiver: socket.socket) -> None:
    accept(receiver, [IPv4Network((0x7F000000 + number, 32)) for number in range(4096)])
    assert passed(receiver, "127.0.0.8", "127.0.16.1") == ["127.0.0.8"]


def test_the_drop_count_holds_what_the_filter_dropped(dual: socket.socket) -> None:
    accept(dual, [ip_network("127.0.0.8")])
    before = dropped(dual)
    send(dual, "127.0.0.9", "::1", "127.0.0.9", "127.0.0.8")
    assert dropped(dual) - before == 3


def test_so_rxq_ovfl_counts_the_same_drops(receiver: socket.socket) -> None:
    receiver.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
    accept(receiver, [ip_network("127.0.0.8")])
    send(receiver, "127.0.0.9", "127.0.0.9", "127.0.0.8")
    _, ancillary, _, _ = receiver.recvmsg(100, socket.CMSG_SPACE(4), socket.MSG_DONTWAIT)
    assert [(kind, struct.unpack("I", data)[0]) for _, kind, data in ancillary] == [(SO_RXQ_OVFL, dropped(receiver))]
    assert dropped(receiver) == 2


def test_a_full_buffer_is_in_the_same_count(receiver: socket.socket) -> None:
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    send(receiver, *["127.0.0.8"] * 200)
    assert dropped(receiver) + len(received(receiver)) == 200


UNPRIVILEGED = """
import os, socket
from ipaddress import ip_network
from engine.source_filter import accept, drop_all, clear, dropped
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
accept(sock, [ip_network("127.0.0.8")])
other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
other.sendto(b"x", sock.getsockname())
print(os.getuid() != 0, dropped(sock))
drop_all(sock)
clear(sock)
"""


def test_no_privilege_is_needed() -> None:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run([sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, env=environment)
    assert run.stdout.split() == ["True", "1"], run.stderr
