"""The notes on an RTP packet of G.711: its time, sender and order, and what a listener hears in its 20 ms."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from api.load.datagrams import Bytes, Times

Packets: TypeAlias = npt.NDArray[Any]
"""Rows of ``PACKET``."""

RATE_HZ: Final = 8000
SAMPLES: Final = 160
HEADER: Final = 12
SPEECH_HZ: Final = 650
"""The agent's voice: 13 whole periods in 20 ms, so that its phase is the same in every frame."""
SPEECH_LEVEL: Final = 8000
SILENCE_PEAK: Final = 64
"""-54 dBFS: silent G.711 is below it, any speech above."""
_SPEAKING: Final = SPEECH_LEVEL / 4
PACKET: Final = np.dtype(
    [
        ("at_ns", "i8"),  # the kernel's, on time.time_ns's scale
        ("echoed_ns", "i8"),
        ("ssrc", "u4"),
        ("port", "u2"),  # the sender's
        ("sequence", "u2"),
        ("loud", "?"),
        ("speech", "?"),  # the agent's tone is in it
        ("silent_samples", "u1"),  # the longest silence within
        ("snr_db", "f4"),  # of the agent's tone; meaningless without it
    ]
)


def _mulaw_level(code: int) -> int:
    """ITU-T G.711 table 2a."""
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw_level(code: int) -> int:
    """ITU-T G.711 table 1a."""
    code ^= 0x55
    segment, step = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = step + 8 if segment == 0 else step + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


LEVELS: Final = np.array([[level(code) for code in range(256)] for level in (_mulaw_level, _alaw_level)], np.float32)
"""The samples of G.711's codes: PCMU's, PCMA's."""
_PCMU, _PCMA = 0, 8
_PHASE: Final = 2 * np.pi * SPEECH_HZ * np.arange(SAMPLES) / RATE_HZ
_BASIS: Final = np.stack([np.cos(_PHASE), np.sin(_PHASE)], axis=1).astype(np.float32)
"""Orthogonal over the frame, each of energy SAMPLES / 2."""


def read_packets(data: Bytes, lengths: Times, ports: Times, at_ns: Times, echoed_ns: Times) -> Packets:
    """A row for each datagram that is RTP (RFC 3550 §5.1). Any other audio than 20 ms of G.711 is loud non-speech."""
    rtp = (lengths >= HEADER) & (data[:, 0] >> 6 == 2)
    rows = np.zeros(int(rtp.sum()), PACKET)
    head, payload = data[rtp, :HEADER], data[rtp, HEADER : HEADER + SAMPLES]
    rows["at_ns"], rows["echoed_ns"], rows["port"] = at_ns[rtp], echoed_ns[rtp], ports[rtp]
    rows["ssrc"] = head[:, 8:12].copy().view(">u4")[:, 0]
    rows["sequence"] = head[:, 2:4].copy().view(">u2")[:, 0]
    kind = head[:, 1] & 0x7F
    heard = np.isin(kind, (_PCMU, _PCMA)) & (lengths[rtp] == HEADER + SAMPLES)
    rows["loud"] = True
    if heard.any():
        _hear(rows, heard, LEVELS[(kind[heard] == _PCMA).astype(np.intp)[:, None], payload[heard]])
    return rows


def _hear(rows: Packets, heard: npt.NDArray[np.bool_], waves: npt.NDArray[np.float32]) -> None:
    sizes = np.abs(waves)
    rows["loud"][heard] = sizes.max(axis=1) >= SILENCE_PEAK
    weights = waves @ _BASIS
    tone = (weights**2).sum(axis=1) * (2 / SAMPLES)
    rest = np.maximum((waves**2).sum(axis=1) - tone, 1.0)
    rows["speech"][heard] = np.sqrt(tone * (2 / SAMPLES)) > _SPEAKING
    rows["snr_db"][heard] = 10 * np.log10(np.maximum(tone, 1.0) / rest)
    rows["silent_samples"][heard] = longest_runs(sizes < SILENCE_PEAK)


def longest_runs(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """The length of the longest run of true in each row."""
    columns = np.arange(1, flags.shape[1] + 1)
    last_false = np.maximum.accumulate(np.where(flags, 0, columns), axis=1)
    longest: npt.NDArray[np.intp] = (columns - last_false).max(axis=1)
    return longest
