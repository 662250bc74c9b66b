"""The far end's RTP in its own process: one port for every call; it echoes at once and notes each packet.

``python -m api.load.rtp_peer FILE`` prints ``{"port": N}``, then a line of JSON every second; when its stdin closes, it
prints a last line. Its notes go to FILE (raw ``packets.PACKET`` rows). It sleeps a millisecond between batches, which
bounds its cost. The arrival times are the kernel's, so that its own lateness does not count against the engine.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import setproctitle

from api.load.datagrams import DatagramBatch
from api.load.media import live_spacing_ms
from api.load.packets import PACKET, Packets, read_packets
from engine.real_time import take_precedence

_REST_S: Final = 0.001
_LOOK_MS: Final = 100
_LIVE_NS: Final = 1_000_000_000
_HOLDS: Final = 256
"""Reading this many takes a millisecond, during which no packet is echoed."""


class Notes:
    """Notes packets as they arrive, and reads them in batches. ``take`` returns the rows since the last call."""

    def __init__(self, batch: DatagramBatch) -> None:
        self._batch = batch
        room = batch.data.shape[1]
        self._data = np.zeros((_HOLDS, room), np.uint8)
        self._facts = np.zeros((_HOLDS, 4), np.int64)
        self._held = 0
        self._rows: list[Packets] = []

    def add(self, count: int, echoed_ns: int) -> None:
        """Keep the batch's first ``count``."""
        if self._held + count > _HOLDS:
            self.read()
        batch, here = self._batch, slice(self._held, self._held + count)
        self._data[here] = batch.data[:count]
        facts = self._facts[here]
        facts[:, 0], facts[:, 1] = batch.lengths[:count], batch.source_ports[:count]
        facts[:, 2], facts[:, 3] = batch.arrived_ns[:count], echoed_ns
        self._held += count

    def read(self) -> None:
        """Turn the kept packets into rows."""
        held, self._held = self._held, 0
        if held:
            facts = self._facts[:held]
            rows = read_packets(self._data[:held], *facts.T)
            self._rows.append(rows)

    def take(self) -> Packets:
        """The rows since the last call."""
        self.read()
        fresh, self._rows = self._rows, []
        return np.concatenate(fresh) if fresh else np.zeros(0, PACKET)


def main(file: Path) -> None:
    """Serve until stdin closes."""
    setproctitle.setproctitle("trunkline load: RTP peer")
    take_precedence()  # an echo must not wait for the engine that it measures
    with _rtp_port() as rtp, file.open("wb") as notes:
        port = rtp.getsockname()[1]
        _report(port=port)
        _serve(rtp, notes)
        _report(kernel_drops=kernel_drops(port))


def _serve(rtp: socket.socket, file: BinaryIO) -> None:
    batch = DatagramBatch(rtp)
    notes = Notes(batch)
    waiting = select.poll()
    waiting.register(rtp, select.POLLIN)
    waiting.register(sys.stdin, select.POLLIN | select.POLLHUP)
    next_ns = time.time_ns() + _LIVE_NS
    over = False
    while not over:
        over = sys.stdin.fileno() in {fd for fd, _ in waiting.poll(_LOOK_MS)}
        while count := batch.receive():
            batch.send_back(count)
            notes.add(count, time.time_ns())
        if over or time.time_ns() > next_ns:
            next_ns += _LIVE_NS
            rows = notes.take()
            rows.tofile(file)
            _report(**_live(rows))
        time.sleep(_REST_S)


def _live(rows: Packets) -> dict[str, Any]:
    late_ms = (rows["echoed_ns"] - rows["at_ns"]) / 1e6
    spacing_ms = live_spacing_ms(rows)
    return {
        "packets": len(rows),
        "streams": len(np.unique(rows["ssrc"])),
        "echo_p99_ms": float(np.percentile(late_ms, 99)) if len(rows) else 0.0,
        "spacing_p99_ms": float(np.percentile(spacing_ms, 99)) if len(spacing_ms) else 0.0,
    }


@contextmanager
def _rtp_port() -> Iterator[socket.socket]:
    """An even port. The odd port after it is held too: RTCP arrives there and is not read (RFC 3550 §11)."""
    while True:
        rtp, rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with rtp, rtcp:
            rtp.bind(("127.0.0.1", 0))
            port = rtp.getsockname()[1]
            try:
                rtcp.bind(("127.0.0.1", port + 1 if port % 2 == 0 else port))  # an odd port is not free any more
            except OSError:
                continue
            yield rtp
            return


def kernel_drops(port: int) -> int:
    """The datagrams that were dropped because the socket's buffer was full: the far end's fault, not the sender's."""
    local = f":{port:04X}"
    rows = (line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:])
    return sum(int(row[-1]) for row in rows if row[1].endswith(local))


def _report(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201 - the pipe to the parent process


if __name__ == "__main__":
    main(Path(sys.argv[1]))
