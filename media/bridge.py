"""One call's two directions of audio between the phone's clock and the agent's stream."""

from __future__ import annotations

from typing import Final

from media.meters import BridgeStats
from media.pcm import SAMPLE_BYTES, PcmFormat, silence
from media.playout import Playout
from media.resampler import Resampler

_SLACK_MS: Final = 2000
"""The agent was promised a buffer of ``playout_ms``. Its clock may run ahead by this much before audio is dropped."""


class Bridge:
    """Joins a phone at ``phone_hz`` to an agent at ``agent_hz``. Nothing here blocks, and only wrong input raises.

    The agent may be ``playout_ms`` ahead. Waiting audio is kept at the agent's rate and resampled frame by frame as the
    phone takes it. So a burst costs little when it arrives, and a change of codec loses nothing.
    """

    def __init__(self, phone_hz: int, agent_hz: int, *, playout_ms: int = 30_000) -> None:
        self._agent = PcmFormat(agent_hz)
        self._playout = Playout(agent_hz, playout_ms + _SLACK_MS)
        self._last = b""  # the last audio of the agent that was heard, while the resampler still rings
        self._surplus = b""  # resampled but not taken yet: part of a frame when the rates do not divide it
        self._frames_from_caller = 0
        self._frames_to_caller = 0
        self._agent_bytes = 0
        self._clears = 0
        self._cleared_ms = 0.0
        self._tune(phone_hz)

    def caller_frame(self, pcm: bytes) -> bytes:
        """The caller's frame at the agent's rate: as long as ``pcm``, delayed by the resampler if there is one."""
        self._frames_from_caller += 1
        return pcm if self._to_agent is None else self._to_agent.process(pcm)

    def agent_audio(self, data: bytes) -> None:
        """Add audio from the agent, cut anywhere, even inside a sample. When too far ahead, the newest is dropped."""
        self._agent_bytes += len(data)
        self._playout.put(data)

    def next_frame(self, samples: int) -> bytes:
        """Exactly ``samples`` for the phone: the agent's audio, or silence."""
        self._frames_to_caller += 1
        if self._to_phone is None:
            self._last = self._playout.take(samples)
            return self._last or silence(samples)
        wanted = samples - len(self._surplus) // SAMPLE_BYTES
        wanted = -(-wanted * self._agent.rate_hz // self._phone.rate_hz)
        pcm = self._playout.take(wanted)
        if not pcm and not self._last:
            return silence(samples)
        heard = self._surplus + self._to_phone.process(pcm or silence(wanted))
        self._last = pcm
        size = samples * SAMPLE_BYTES
        self._surplus = heard[size:]
        if not pcm:
            self._forget()  # that was the ringing of the last sample
        return heard[:size]

    def clear(self) -> None:
        """Barge-in: the next frame is exact silence, and later audio is not mixed with any from before."""
        self._clears += 1
        self._cleared_ms += self._playout.clear()
        self._forget()

    def agent_turn(self, speaking: bool) -> None:
        """The agent's turn began or ended: silence inside one is an underrun, between two it is a pause."""
        self._playout.turn(speaking)

    def retune(self, phone_hz: int) -> None:
        """The phone's codec changed. Waiting audio is kept, and speech goes on where it was.

        The caller's direction starts again, as the caller's stream does.
        """
        if phone_hz == self._phone.rate_hz:
            return
        before_ms = self._to_phone.delay_ms if self._to_phone else 0.0
        self._tune(phone_hz)
        self._surplus = b""
        if not self._last:
            return
        after_ms = self._to_phone.delay_ms if self._to_phone else 0.0
        # With another delay, the phone would hear some milliseconds twice or not at all: a click.
        shift = round((after_ms - before_ms) * self._agent.rate_hz / 1000)
        if shift < 0:
            self._playout.give_back(self._last[shift * SAMPLE_BYTES :])
            self._last = self._last[: shift * SAMPLE_BYTES]
        else:
            self._last += self._playout.take_upto(shift)
        if self._to_phone is not None:
            self._to_phone.process(self._last)

    @property
    def playing(self) -> bool:
        """Whether some of the agent's audio has not been played yet."""
        return self._playout.playing or bool(self._last and self._to_phone)

    @property
    def buffered_ms(self) -> float:
        """The length of the agent's waiting audio."""
        return self._playout.buffered_ms

    def stats(self) -> BridgeStats:
        """The counters up to now."""
        playout = self._playout
        return BridgeStats(
            frames_from_caller=self._frames_from_caller,
            frames_to_caller=self._frames_to_caller,
            agent_ms=self._agent.duration_ms(self._agent_bytes),
            underruns=playout.underruns,
            underrun_frames=playout.underrun_frames,
            overrun_ms=self._agent.duration_ms(playout.dropped_bytes),
            clears=self._clears,
            cleared_ms=self._cleared_ms,
        )

    def _tune(self, phone_hz: int) -> None:
        agent_hz = self._agent.rate_hz
        self._phone = PcmFormat(phone_hz)
        same = phone_hz == agent_hz
        self._to_agent = None if same else Resampler(phone_hz, agent_hz)
        self._to_phone = None if same else Resampler(agent_hz, phone_hz)

    def _forget(self) -> None:
        self._last = self._surplus = b""
        if self._to_phone is not None:
            self._to_phone.reset()
