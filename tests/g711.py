"""G.711, decoded and encoded by the load kit's table: the ear and the voice of the tests' RTP endpoints."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from api.load.packets import LEVELS

Law: TypeAlias = Literal["PCMU", "PCMA"]
PAYLOAD_TYPES: Final[dict[int, Law]] = {0: "PCMU", 8: "PCMA"}
"""RFC 3551 §6."""


_LEVELS: Final[dict[Law, npt.NDArray[np.int16]]] = {
    "PCMU": LEVELS[0].astype(np.int16),
    "PCMA": LEVELS[1].astype(np.int16),
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
