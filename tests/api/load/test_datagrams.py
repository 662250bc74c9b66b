from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from api.load.datagrams import DatagramBatch
from api.load.rtp_peer import kernel_drops


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        yield ours


@pytest.fixture
def peers() -> Iterator[list[socket.socket]]:
    found = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for one in found:
        one.settimeout(30)
        one.bind(("127.0.0.1", 0))
    yield found
    for one in found:
        one.close()


def test_batch_gives_bytes_sender_and_time_of_each_and_sends_it_back_to_its_sender(
    bound: socket.socket, peers: list[socket.socket]
) -> None:
    batch = DatagramBatch(bound, size=4)
    assert batch.receive() == 0
    before_ns = time.time_ns()
    for number, peer in enumerate(peers):
        peer.sendto(b"hello %d" % number, bound.getsockname())
    assert batch.receive() == 2
    assert [bytes(batch.data[row, : batch.lengths[row]]) for row in range(2)] == [b"hello 0", b"hello 1"]
    assert list(batch.source_ports[:2]) == [peer.getsockname()[1] for peer in peers]
    first_ns, second_ns = batch.arrived_ns[:2]
    assert before_ns <= first_ns <= second_ns <= time.time_ns()
    assert batch.send_back(2) == 2
    assert [peer.recv(64) for peer in peers] == [b"hello 0", b"hello 1"]


def test_more_than_a_batch_comes_in_several(bound: socket.socket, peers: list[socket.socket]) -> None:
    batch = DatagramBatch(bound, size=4)
    for number in range(6):
        peers[0].sendto(bytes([number]), bound.getsockname())
    assert (batch.receive(), batch.receive(), batch.receive()) == (4, 2, 0)
    assert list(batch.data[:2, 0]) == [4, 5]
    assert kernel_drops(bound.getsockname()[1]) == 0


def test_kernel_counts_the_drops_of_a_socket_that_nobody_reads(
    bound: socket.socket, peers: list[socket.socket]
) -> None:
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(100):
        peers[0].sendto(bytes(172), bound.getsockname())
    assert kernel_drops(bound.getsockname()[1]) > 0
