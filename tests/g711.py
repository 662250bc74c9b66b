"""G.711 by its formulas (ITU-T G.711 §3, tables 1a to 2b): the ear and the voice of the tests' RTP endpoints."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Law: TypeAlias = Literal["PCMU", "PCMA"]
PAYLOAD_TYPES: Final[dict[int, Law]] = {0: "PCMU", 8: "PCMA"}
"""RFC 3551 §6."""


def _mulaw_level(code: int) -> int:
    code ^= 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw_level(code: int) -> int:
    code ^= 0x55
    segment, step = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = step + 8 if segment == 0 else step + 0x108 << segment - 1
    return magnitude if code & 0x80 else -magnitude


_LEVELS: Final[dict[Law, npt.NDArray[np.int16]]] = {
    "PCMU": np.array([_mulaw_level(code) for code in range(256)], np.int16),
    "PCMA": np.array([_alaw_level(code) for code in range(256)], np.int16),
}


def decode(payload: bytes, law: Law) -> bytes:
    """The s16le samples of a G.711 payload."""
    return _LEVELS[law][np.frombuffer(payload, np.uint8)].astype("<i2").tobytes()


def encode(pcm: bytes, law: Law) -> bytes:
    """Each s16le sample as the code of the level nearest to it."""
    codes = np.argsort(_LEVELS[law], kind="stable")
    levels = _LEVELS[law][codes].astype(np.int32)
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, np.frombuffer(pcm, "<i2"))
    return codes[nearest].astype(np.uint8).tobytes()
