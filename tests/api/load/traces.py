"""Synthetic notes of a far end: a stream with exactly the faults a test puts in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from api.load.packets import PACKET, Packets

FRAME_NS = 20_000_000
START_NS = 1_700_000_000_000_000_000


def stream(
    frames: int = 100, *, port: int = 4000, ssrc: int = 1, first_sequence: int = 65_500, start_ns: int = START_NS
) -> Packets:
    """Perfect: each 20 ms, all of it speech; its sequence numbers wrap."""
    rows = np.zeros(frames, PACKET)
    rows["at_ns"] = start_ns + FRAME_NS * np.arange(frames)
    rows["echoed_ns"] = rows["at_ns"] + 100_000
    rows["sequence"] = (first_sequence + np.arange(frames)) & 0xFFFF
    rows["port"], rows["ssrc"], rows["loud"], rows["speech"], rows["snr_db"] = port, ssrc, True, True, 36.0
    return rows


def without(rows: Packets, *frames: int) -> Packets:
    return np.delete(rows, frames)


def silent(rows: Packets, frames: Iterable[int]) -> Packets:
    """Those frames are silence."""
    quiet = rows.copy()
    for frame in frames:
        quiet["loud"][frame], quiet["speech"][frame], quiet["silent_samples"][frame] = False, False, 160
    return quiet


def late(rows: Packets, frame: int, late_ms: float) -> Packets:
    delayed = rows.copy()
    delayed["at_ns"][frame] += int(late_ms * 1e6)
    return delayed
