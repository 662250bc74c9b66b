from __future__ import annotations

import socket

from api.load.ports import bound_udp_ports, port_block


def test_blocks_that_are_held_at_the_same_time_do_not_meet() -> None:
    with port_block(900) as first, port_block(1500) as second:
        assert not set(range(first, first + 900)) & set(range(second, second + 1500))
        assert bound_udp_ports([first - 1, second - 1]) == {first - 1, second - 1}
    assert bound_udp_ports([first - 1]) == set()


def test_bound_port_is_seen() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert bound_udp_ports(range(port, port + 1)) == {port}
