"""Who is heard in a call before and after each negotiation: real sockets on loopback, without PJMEDIA."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import ClassVar

import pytest

from engine.pjsip.rtp_sockets import RtpPair, RtpPorts
from engine.pjsip.rtp_source import RtpSource, learn_sources

CARRIER, PEER, STRANGER = "127.0.0.1", "127.0.0.5", "127.0.0.9"


class Sender:
    """A far end's socket, which sends to both ports of a pair."""

    made: ClassVar[list[Sender]] = []

    def __init__(self, ip: str, pair: RtpPair) -> None:
        self._pair = pair
        self.made.append(self)
        self._socket = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ip, 0))
        self.ip = ip
        self.port: int = self._socket.getsockname()[1]

    def is_taken(self) -> bool:
        """Whether a packet of it waits for PJMEDIA."""
        while read(self._pair):
            pass
        self.send()
        taken = self._pair.sender() == (self.ip, self.port)
        read(self._pair)
        return taken

    def close(self) -> None:
        self._socket.close()

    def send(self) -> None:
        self._socket.sendto(b"rtp", (self._pair._rtp.getsockname()[0], self._pair.port))


def read(pair: RtpPair) -> bool:
    """Take a packet as PJMEDIA would."""
    try:
        pair._rtp.recv(100)
    except BlockingIOError:
        return False
    return True


@pytest.fixture(autouse=True)
def _senders() -> Iterator[None]:
    yield
    for sender in Sender.made:
        sender.close()
    Sender.made.clear()


@pytest.fixture
def pair() -> Iterator[RtpPair]:
    made = RtpPorts("127.0.0.1", 0, 0).pair()
    yield made
    made.close()


@pytest.fixture
def source(pair: RtpPair) -> Iterator[RtpSource]:
    made = RtpSource(pair, "negotiated")
    yield made
    made.close()


def test_nobody_is_heard_before_the_answer(pair: RtpPair, source: RtpSource) -> None:
    assert not Sender(CARRIER, pair).is_taken()


def test_after_the_answer_only_its_address_and_the_signalling_peer_are_heard(pair: RtpPair, source: RtpSource) -> None:
    source.hear_peer(PEER)
    source.negotiated(CARRIER, 30000)
    assert [Sender(ip, pair).is_taken() for ip in (CARRIER, PEER, STRANGER)] == [True, True, False]


def test_a_peer_that_is_known_later_is_heard_too(pair: RtpPair, source: RtpSource) -> None:
    source.negotiated(CARRIER, 30000)
    source.hear_peer(PEER)
    assert Sender(PEER, pair).is_taken()


def test_the_negotiated_sender_is_the_only_one_from_its_first_packet_on(pair: RtpPair, source: RtpSource) -> None:
    callee = Sender(CARRIER, pair)
    source.negotiated(CARRIER, callee.port)
    callee.send()
    learn_sources()
    assert callee.is_taken()
    assert not Sender(CARRIER, pair).is_taken(), "another port of the same address"


def test_a_sender_behind_nat_is_the_only_one_once_the_negotiated_one_had_time_to_come(
    pair: RtpPair, source: RtpSource
) -> None:
    source.hear_peer(PEER)
    source.negotiated("192.0.2.1", 30000)
    behind_nat = Sender(PEER, pair)
    behind_nat.send()
    source.learn(1.0)
    source.learn(1.1)
    assert Sender(PEER, pair).is_taken()
    source.learn(1.3)
    assert behind_nat.is_taken()
    assert not Sender(PEER, pair).is_taken()


def test_the_negotiated_sender_comes_before_one_that_was_heard_first(pair: RtpPair, source: RtpSource) -> None:
    callee, leftover = Sender(CARRIER, pair), Sender(CARRIER, pair)
    source.negotiated(CARRIER, callee.port)
    leftover.send()
    source.learn(1.0)
    read(pair)
    callee.send()
    source.learn(1.1)
    assert callee.is_taken()
    assert not leftover.is_taken()


def test_each_negotiation_starts_over_and_a_call_on_hold_hears_nobody(pair: RtpPair, source: RtpSource) -> None:
    before, after = Sender(CARRIER, pair), Sender(PEER, pair)
    source.negotiated(CARRIER, before.port)
    before.send()
    learn_sources()
    source.ended()
    assert not before.is_taken()
    source.negotiated(PEER, after.port)
    assert not before.is_taken()
    assert after.is_taken()


def test_with_the_rule_any_everybody_is_heard(pair: RtpPair) -> None:
    source = RtpSource(pair, "any")
    assert not Sender(CARRIER, pair).is_taken()
    source.negotiated(CARRIER, 30000)
    assert Sender(STRANGER, pair).is_taken()


def test_ipv6_senders_are_distinguished() -> None:
    pair = RtpPorts("::1", 0, 0).pair()
    source = RtpSource(pair, "negotiated")
    callee = Sender("::1", pair)
    assert not callee.is_taken()
    source.negotiated("::2", callee.port)
    assert not callee.is_taken()
    source.negotiated("::1", callee.port)
    assert callee.is_taken()
    callee.send()
    learn_sources()
    assert callee.is_taken()
    assert not Sender("::1", pair).is_taken()
    source.close()
