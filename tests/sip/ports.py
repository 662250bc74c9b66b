"""Blocks of loopback ports for engines under test."""

from __future__ import annotations

import random
import socket
from typing import Final

PORTS_IN_BLOCK: Final = 1000
_RANDOM: Final = random.SystemRandom()


def port_block() -> socket.socket:
    """A guard that holds the first of a thousand loopback ports: those after it are ours until it is closed.

    Below the ports that the kernel and ``process.free_port`` give away.
    """
    while True:
        guard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            guard.bind(("127.0.0.1", _RANDOM.randrange(10_000, 20_000, PORTS_IN_BLOCK)))
        except OSError:
            guard.close()
            continue
        return guard
