"""Detects that a far end sends another codec of its answer than the one that is decoded.

It may send any format of its answer, and change between them without notice (RFC 3264 §5.1, §7). PJMEDIA decodes one
format and drops packets with another payload type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_FEW: Final = 4
_NOISE_BYTES: Final = 16
"""Comfort noise (RFC 3389) has one byte and seldom ten; 10 ms of any codec here have 80."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """The totals of one stream up to now: RTP packets of any payload type, and the bytes of their payload."""

    packets: int = 0
    payload_bytes: int = 0

    def audio_since(self, before: Received) -> int:
        """The number of packets since then, if their size says audio; 0 for comfort noise, keys and keep-alives."""
        packets = self.packets - before.packets
        return packets if self.payload_bytes - before.payload_bytes > packets * _NOISE_BYTES else 0


class OtherCodec:
    """Says when to decode another of ``codecs``: the one that is decoded now, and the others that both sides named.

    Each is tried once until one is heard; when none is, the first is decoded again, and no other is tried.
    """

    def __init__(self, codecs: Sequence[str]) -> None:
        self._untried = list(codecs[1:])
        self._codecs = tuple(codecs)
        self._decoded = codecs[0]
        self._before = Received()

    def unheard(self, received: Received, *, heard: bool) -> str | None:
        """There was nothing to play for a tenth of a second. Returns the codec to decode from now on; None keeps it.

        ``heard``: something was played since the last call, or since the beginning of the stream.
        """
        if heard:
            self._untried = [codec for codec in self._codecs if codec != self._decoded]
            self._before = received
            return None
        if received.audio_since(self._before) < _FEW:
            return None
        if self._untried:
            self._decoded = self._untried.pop(0)
        elif self._decoded != self._codecs[0]:
            self._decoded = self._codecs[0]
        else:
            return None
        self._before = Received()  # the new stream counts from 0
        return self._decoded


class Arrivals:
    """A count that grows with every sign of life of a far end: decodable RTP, comfort noise, RTCP reports.

    Audio that cannot be decoded does not count: it must not keep up a call whose callee is not heard.
    """

    def __init__(self) -> None:
        self._count = 0
        self._before = Received()
        self._reports = self._heard = 0

    def update(self, received: Received, *, heard: int, reports: int) -> int:
        """The count, with the totals of the current stream; to be called about once a second.

        ``heard`` grows with everything that can be played.
        """
        if received.packets < self._before.packets or reports < self._reports or heard < self._heard:
            self._before, self._reports, self._heard = Received(), 0, 0  # a new stream counts from 0
        if heard > self._heard or not received.audio_since(self._before):
            self._count += received.packets - self._before.packets
        self._count += reports - self._reports
        self._before, self._reports, self._heard = received, reports, heard
        return self._count
