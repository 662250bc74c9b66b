"""A call's audio, carried every 20 ms between the leg's RTP stream and the agent's connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Protocol

from engine.sip.leg_port import MediaStream
from media.bridge import Bridge
from media.pcm import silence

_TICKS_PER_S = 50
_EARLY_FRAMES = 25
"""While the agent's socket opens, at most the last half second of the callee's speech is kept."""
_TAIL_FRAMES = 10
"""Frames sent after the agent's last word, so that the far end's jitter buffer plays it before our BYE."""


class AudioSink(Protocol):
    """The part of a joined agent that the path uses."""

    @property
    def dropped_frames(self) -> int: ...

    def send_audio(self, pcm: bytes) -> None: ...


class AudioPath:
    """``play`` and ``capture`` are each to be called every 20 ms. They carry frames of the codec's packet time. The
    phone gets silence when there is nothing else to send, so that the trunk sees a live call.

    ``on_first_word`` is called once, when the agent is first heard; ``on_played_out`` once after ``play_out``.
    """

    def __init__(self, *, on_first_word: Callable[[], None], on_played_out: Callable[[], None]) -> None:
        self.held = False
        """Whether the agent's audio has to wait: keys are being pressed, and RTP carries events in place of audio."""
        self._on_first_word = on_first_word
        self._on_played_out = on_played_out
        # the phone's end
        self._stream: MediaStream | None = None
        self._rate_hz = 8_000
        self._owed_play = 0
        self._owed_capture = 0
        # the agent's end
        self._bridge: Bridge | None = None
        self._agent: AudioSink | None = None
        self._dropped_frames = 0
        self._early: deque[bytes] | None = None
        self._spoke = False
        self._tail: int | None = None

    # -- the phone -----------------------------------------------------------------------------------------------------

    def use(self, stream: MediaStream | None) -> None:
        """Use this stream of the leg from now on; None while there is no stream, as on hold."""
        self._stream = stream
        self._owed_play = self._owed_capture = 0
        if stream is None:
            return
        self._rate_hz = stream.rate_hz
        if self._bridge is not None:
            self._bridge.retune(stream.rate_hz)

    @property
    def codec_rate_hz(self) -> int | None:
        """The rate of the current stream."""
        return None if self._stream is None else self._stream.rate_hz

    def listen(self) -> None:
        """The callee has answered: the agent gets the speech from now on, also while it is still joining."""
        self._early = deque(maxlen=_EARLY_FRAMES)

    def end(self) -> None:
        """The leg is over: nothing more is played."""
        self._stream = None
        self._tail = None

    # -- the agent -----------------------------------------------------------------------------------------------------

    def bridge_to(self, agent_hz: int) -> Callable[[bytes], None]:
        """An agent at this rate is joining; returns the function that takes its audio."""
        self._bridge = Bridge(self._rate_hz, agent_hz)
        return self._bridge.agent_audio

    def join(self, agent: AudioSink) -> None:
        """The agent has joined: send it the kept speech, and all speech from now on."""
        assert self._bridge is not None
        for heard in self._early or ():
            agent.send_audio(self._bridge.caller_frame(heard))
        self._early = None
        self._agent = agent

    def leave(self) -> None:
        """The agent's connection is closed: it gets no more audio. Its last words are still played."""
        if self._agent is not None:
            self._dropped_frames = self._agent.dropped_frames
        self._agent = None

    def play_out(self) -> None:
        """Call ``on_played_out`` when the phone has received the agent's last word, or at once when it is on hold.

        It is not called when the leg ends first.
        """
        self._tail = _TAIL_FRAMES

    def clear(self) -> None:
        """Barge-in: drop the agent's audio that is not yet played."""
        if self._bridge is not None:
            self._bridge.clear()

    def agent_turn(self, speaking: bool) -> None:
        """The agent's turn began or ended."""
        if self._bridge is not None:
            self._bridge.agent_turn(speaking)

    @property
    def playing(self) -> bool:
        """Whether some of the agent's audio has not been sent to the phone yet."""
        return self._bridge is not None and self._bridge.playing

    def stats(self) -> Mapping[str, int | float | None]:
        """The counters, once the agent has left: the bridge's (``BridgeStats``), and the number of the callee's frames
        that were dropped because the agent read too slowly. Empty when no agent joined."""
        if self._bridge is None:
            return {}
        return {**asdict(self._bridge.stats()), "frames_from_caller_dropped": self._dropped_frames}

    # -- every 20 ms ---------------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Send 20 ms to the phone: the agent's audio, or silence."""
        stream, bridge = self._stream, self._bridge
        if stream is None or not stream.sends:
            # The agent's audio waits until the phone can hear it.
            if self._tail is not None:
                self._end_play_out()
            return
        samples = stream.samples
        self._owed_play += stream.rate_hz // _TICKS_PER_S
        while self._owed_play >= samples:
            self._owed_play -= samples
            if bridge is None or self.held:
                stream.write(silence(samples))
                continue
            if not self._spoke and bridge.playing:
                self._spoke = True
                self._on_first_word()
            stream.write(bridge.next_frame(samples))
        if self._tail is not None and not self.playing:
            self._tail -= 1
            if self._tail <= 0:
                self._end_play_out()

    def capture(self) -> None:
        """Take 20 ms from the phone and send it to the agent. Audio before the answer is dropped."""
        stream = self._stream
        if stream is None:
            self._send(silence(self._rate_hz // _TICKS_PER_S))  # on hold: the agent's audio must not pause
            return
        samples = stream.samples
        self._owed_capture += stream.rate_hz // _TICKS_PER_S
        while self._owed_capture >= samples:
            self._owed_capture -= samples
            self._send(stream.read())

    def _send(self, heard: bytes) -> None:
        if self._agent is not None and self._bridge is not None:
            self._agent.send_audio(self._bridge.caller_frame(heard))
        elif self._early is not None:
            self._early.append(heard)

    def _end_play_out(self) -> None:
        self._tail = None
        self._on_played_out()
