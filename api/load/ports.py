"""Loopback ports for a run: blocks of a thousand that parallel runs and tests leave alone."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

_FIRST, _LAST, _BLOCK = 10_000, 20_000, 1000
_ATTEMPTS: Final = 200
_RANDOM: Final = random.SystemRandom()


@contextmanager
def port_block(size: int) -> Iterator[int]:
    """The first of ``size`` free ports. The port before it is held as a mark, and so is one for each further thousand.

    Raises ``OSError`` when there is no room.
    """
    blocks = -(-(size + 1) // _BLOCK)
    for _ in range(_ATTEMPTS):
        base = _RANDOM.randrange(_FIRST, _LAST - (blocks - 1) * _BLOCK, _BLOCK)
        with ExitStack() as stack:
            try:
                for block in range(blocks):
                    guard = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    guard.bind(("127.0.0.1", base + block * _BLOCK))
            except OSError:
                continue
            yield base + 1
            return
    raise OSError(f"no {size} free ports between {_FIRST} and {_LAST}")


def bound_udp_ports(ports: Iterable[int]) -> set[int]:
    """Those of ``ports`` that a process on this machine has bound for UDP."""
    rows = Path("/proc/net/udp").read_text().splitlines()[1:]
    return {int(row.split()[1].rpartition(":")[2], 16) for row in rows} & set(ports)
