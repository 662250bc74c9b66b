"""The quality of the audio from the far end's notes: lost packets, spacing, gaps in the agent's speech, its clarity.

Everything here is arithmetic on ``PACKET`` rows; times are nanoseconds of one machine's clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from api.load.packets import RATE_HZ, SAMPLES, Packets

Floats: TypeAlias = npt.NDArray[np.float64]

FRAME_MS: Final = 1000 * SAMPLES / RATE_HZ
_PAUSE_FRAMES: Final = 20
"""Silence longer than this is a pause between sentences: the agent's pauses are never shorter."""
_AUDIBLE_SAMPLES: Final = 16
"""2 ms: less than that near a zero crossing is the tone itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One RTP stream as the far end heard it, its packets in order of arrival."""

    packets: Packets
    positions: npt.NDArray[np.int64]
    """Sequence numbers without their wrap (RFC 3550 appendix A.1), the first packet's being 0."""

    @property
    def port(self) -> int:
        return int(self.packets["port"][0])

    @property
    def first_ns(self) -> int:
        return int(self.packets["at_ns"][0])

    @property
    def received(self) -> int:
        """The number of different packets: a packet that came twice counts once."""
        return len(np.unique(self.positions))

    @property
    def lost(self) -> int:
        return int(self.positions.max() - self.positions.min()) + 1 - self.received

    @property
    def echoed(self) -> int:
        return len(self.packets)

    def spacing_ms(self) -> Floats:
        """The error of each packet's distance from the packet before it, 20 ms a frame. A loss is not an error."""
        steps = np.diff(self.positions)
        gaps_ms = np.diff(self.packets["at_ns"]) / 1e6
        return np.abs(gaps_ms - steps * FRAME_MS)[steps > 0]

    def gaps_ms(self) -> Floats:
        """Silences that are heard inside a sentence: frames lost or silent between speech, and holes within a frame."""
        at, first = np.unique(self.positions, return_index=True)
        speech = self.packets["speech"][first]
        at, holes = at[speech], self.packets["silent_samples"][first][speech].astype(np.int64)
        holes[holes < _AUDIBLE_SAMPLES] = 0
        missing = np.diff(at) - 1
        silent_ms = missing * FRAME_MS + (holes[:-1] + holes[1:]) * 1000 / RATE_HZ
        between: Floats = silent_ms[(missing > 0) & (missing <= _PAUSE_FRAMES)]
        flowing = np.concatenate(([False], missing == 0)) & np.concatenate((missing == 0, [False]))
        within = holes[flowing & (holes > 0)] * 1000 / RATE_HZ if len(at) else np.zeros(0)
        return np.concatenate((between, within))

    def clarity_db(self) -> Floats:
        """The SNR of the agent's tone in each frame that is all speech."""
        whole = self.packets["speech"] & (self.packets["silent_samples"] < _AUDIBLE_SAMPLES)
        clarity: Floats = self.packets["snr_db"][whole].astype(np.float64)
        return clarity

    def first_loud_ns(self) -> int | None:
        """The time of the first packet that was not silent."""
        loud = np.flatnonzero(self.packets["loud"])
        return int(self.packets["at_ns"][loud[0]]) if len(loud) else None

    def silent_after_ns(self, at_ns: int) -> int | None:
        """The time of the first silent packet after ``at_ns``; None when there was no sound at that moment."""
        times, loud = self.packets["at_ns"], self.packets["loud"]
        after = int(np.searchsorted(times, at_ns))
        if not 0 < after < len(times) or not loud[after - 1]:
            return None
        silent = np.flatnonzero(~loud[after:])
        return int(times[after + silent[0]]) if len(silent) else None


def streams(packets: Packets) -> list[Stream]:
    """The packets sorted into streams by sender and SSRC, in order of their first packets."""
    ordered = packets[np.lexsort((packets["at_ns"], packets["ssrc"], packets["port"]))]
    changes = (np.diff(ordered["ssrc"].astype(np.int64)) != 0) | (np.diff(ordered["port"].astype(np.int64)) != 0)
    parts = np.split(ordered, np.flatnonzero(changes) + 1) if len(ordered) else []
    return sorted((Stream(packets=part, positions=_unwrap(part["sequence"])) for part in parts), key=_first_ns)


def live_spacing_ms(packets: Packets) -> Floats:
    """The spacing errors of all streams together."""
    return together(stream.spacing_ms() for stream in streams(packets))


def together(values: Iterable[Floats]) -> Floats:
    """One array of all."""
    return np.concatenate([np.zeros(0), *values])


def spread(values: Sequence[float] | Floats, percentiles: Sequence[int] = (50, 95, 99)) -> Mapping[str, float]:
    """``n``, ``p50``… and ``max`` (``min`` too); only ``n`` when there is nothing."""
    if not len(values):
        return {"n": 0}
    found = np.percentile(values, percentiles)
    named = {f"p{percentile}": round(float(value), 3) for percentile, value in zip(percentiles, found, strict=True)}
    return {"n": len(values), **named, "min": round(float(np.min(values)), 3), "max": round(float(np.max(values)), 3)}


def _first_ns(stream: Stream) -> int:
    return stream.first_ns


def _unwrap(sequence: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    numbers = sequence.astype(np.int64)
    steps = ((numbers[1:] - numbers[:-1] + 0x8000) & 0xFFFF) - 0x8000
    return np.concatenate(([0], np.cumsum(steps)))
