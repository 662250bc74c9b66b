"""The interface of a SIP leg for a call: its commands, its events and its audio. ``engine.pjsip.leg`` implements it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engine.outcome import Outcome


class MediaStream(Protocol):
    """One negotiated stream's PCM: 16-bit mono at ``rate_hz``, ``samples`` a frame. Neither method blocks or raises."""

    @property
    def rate_hz(self) -> int: ...

    @property
    def samples(self) -> int: ...

    @property
    def sends(self) -> bool:
        """Whether written frames are sent: not while the far end only sends (RFC 3264 §8.4)."""
        ...

    def read(self) -> bytes:
        """The next frame of the far end's audio; silence for missing audio."""
        ...

    def write(self, pcm: bytes) -> None:
        """Send exactly one frame."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LegEnd:
    """How a SIP leg ended, as seen on the wire.

    ``sip_code`` is the final response to our INVITE (0 when none came), or the stack's own reason to end a leg that was
    ``confirmed``; ``by_remote`` that the far end's response or BYE ended it; ``q850`` the cause of its Reason header;
    ``retry_after_s`` its Retry-After; ``rtp`` counters of the streams it had. ``refused``: why we would not have this
    trunk's signalling or media, when that ended the leg.
    """

    sip_code: int
    sip_reason: str
    q850: int | None
    retry_after_s: int | None = None
    by_remote: bool
    confirmed: bool
    lingering: bool = False
    """We hung up, and the far end has not confirmed yet: the line is not free before ``on_gone``."""
    rtp: dict[str, int]
    refused: Outcome | None = None


class LegListener(Protocol):
    """A leg's events. They are called on the worker's thread, from inside PJSIP, so they must return quickly."""

    def on_progress(self, code: int, reason: str) -> None: ...

    def on_media(self, stream: MediaStream | None) -> None:
        """The leg's stream from now on (early media too; again after each renegotiation), or None between two."""
        ...

    def on_answered(self, codec: str) -> None:
        """A 2xx came and its ACK is sent (RFC 3261 §13.2.2.4). Once."""
        ...

    def on_digit(self, digit: str) -> None:
        """The far end pressed a key (0-9 * # A-D), by RTP event (RFC 4733) or INFO (RFC 6086). Once for each key."""
        ...

    def on_ended(self, end: LegEnd) -> None:
        """The leg is over. Called once; only ``on_gone`` may follow."""
        ...

    def on_gone(self) -> None:
        """The line of a leg that ended ``lingering`` is free. Once."""
        ...


class SipLeg(Protocol):
    """One call leg."""

    @property
    def received(self) -> int | None:
        """RTP packets and RTCP reports that came over the present stream; None without one, and on hold."""
        ...

    def hang_up(self, code: int = 0) -> None:
        """Send CANCEL or BYE or refuse, as the leg's state requires. ``on_ended`` follows. Does nothing when over."""
        ...

    def press(self, digit: str, duration_ms: int) -> None:
        """Send one key in the trunk's way; raises ``SipError`` when that is impossible. RTP carries it from now on."""
        ...
