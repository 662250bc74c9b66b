from __future__ import annotations

from engine.edge.targets import FAILED_FOR_S, MAX_FAILED, Target, Targets


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


A, B, C = (Target(f"192.0.2.{n}", 5060, "udp", "carrier.example") for n in (1, 2, 3))


def test_targets_keep_their_order_while_none_failed() -> None:
    assert Targets().in_order([B, A, C]) == [B, A, C]


def test_a_target_that_failed_is_tried_last_for_a_minute() -> None:
    clock = Clock()
    targets = Targets(clock=clock)
    targets.failed(A)
    assert targets.in_order([A, B, C]) == [B, C, A]
    clock.now += FAILED_FOR_S - 1
    assert targets.in_order([A, B, C]) == [B, C, A]
    clock.now += 1
    assert targets.in_order([A, B, C]) == [A, B, C]


def test_where_all_failed_the_longest_ago_is_tried_first() -> None:
    clock = Clock()
    targets = Targets(clock=clock)
    for target in (B, A, C):
        targets.failed(target)
        clock.now += 1
    assert targets.in_order([A, B, C]) == [B, A, C]


def test_a_target_that_answers_is_forgiven() -> None:
    targets = Targets(clock=Clock())
    targets.failed(A)
    targets.answered(A)
    assert targets.in_order([A, B]) == [A, B]


def test_a_failure_belongs_to_address_port_and_transport_whatever_name_led_there() -> None:
    targets = Targets(clock=Clock())
    targets.failed(A)
    same = Target(A.address, A.port, A.transport, "other.example")
    assert targets.in_order([same, B]) == [B, same]
    by_tcp = Target(A.address, A.port, "tcp", A.host)
    assert targets.in_order([by_tcp, B]) == [by_tcp, B]


def test_the_memory_is_bounded() -> None:
    targets = Targets(clock=Clock())
    targets.failed(A)
    for number in range(MAX_FAILED):
        targets.failed(Target("192.0.2.9", number + 1, "udp", "carrier.example"))
    assert targets.in_order([A, B]) == [A, B]
