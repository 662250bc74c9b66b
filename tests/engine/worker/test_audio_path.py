"""A call's audio between RTP stream and agent: paced by the codec, held back, played out."""

from __future__ import annotations

import pytest

from engine.worker.audio_path import AudioPath

LOUD = b"\x10\x27" * 160


class FakeStream:
    rate_hz = 8000
    sends = True

    def __init__(self, ptime_ms: int = 20) -> None:
        self.samples = 8 * ptime_ms
        self.sent: list[bytes] = []

    def read(self) -> bytes:
        return b"\x01\x00" * self.samples

    def write(self, pcm: bytes) -> None:
        self.sent.append(pcm)


class Rig:
    """A path whose agent the test is."""

    def __init__(self, ptime_ms: int = 20) -> None:
        self.told: list[str] = []
        self.heard: list[bytes] = []
        self.dropped_frames = 3
        self.stream = FakeStream(ptime_ms)
        self.path = AudioPath(
            on_first_word=lambda: self.told.append("first word"),
            on_played_out=lambda: self.told.append("played out"),
        )
        self.path.use(self.stream)

    def send_audio(self, pcm: bytes) -> None:
        self.heard.append(pcm)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.path.play()
            self.path.capture()


@pytest.mark.parametrize(("ptime_ms", "frames"), [(10, 20), (20, 10), (30, 6), (40, 5)])
def test_any_packet_time_gets_its_audio_at_the_right_pace_both_ways(ptime_ms: int, frames: int) -> None:
    rig = Rig(ptime_ms)
    rig.path.bridge_to(8000)
    rig.path.join(rig)
    rig.tick(10)
    assert [len(frame) for frame in rig.stream.sent] == [16 * ptime_ms] * frames
    assert rig.heard == [rig.stream.read()] * frames


def test_early_media_is_nobodys_and_what_is_said_while_the_agent_joins_is_kept_for_half_a_second() -> None:
    rig = Rig()
    rig.tick(3)
    rig.path.listen()
    rig.path.bridge_to(8000)
    rig.tick(30)
    assert rig.heard == []
    rig.path.join(rig)
    assert len(rig.heard) == 25
    rig.tick()
    assert len(rig.heard) == 26


def test_held_audio_waits_while_silence_is_sent_and_the_agent_still_hears() -> None:
    rig = Rig()
    agent_audio = rig.path.bridge_to(8000)
    rig.path.join(rig)
    agent_audio(LOUD)
    rig.path.held = True
    rig.tick(2)
    rig.path.held = False
    rig.tick(2)
    assert rig.stream.sent == [bytes(320), bytes(320), LOUD, bytes(320)]
    assert (len(rig.heard), rig.told) == (4, ["first word"])


def test_the_last_word_is_played_out_with_a_tail_and_reported_once() -> None:
    rig = Rig()
    rig.path.bridge_to(8000)(LOUD * 5)
    rig.path.leave()
    rig.path.play_out()
    rig.tick(13)
    assert rig.told == ["first word"]
    rig.tick(5)
    assert (rig.stream.sent[:6], rig.told) == ([*[LOUD] * 5, bytes(320)], ["first word", "played out"])


def test_on_hold_nothing_is_waited_for_and_after_the_legs_end_nothing_is_reported() -> None:
    rig = Rig()
    rig.path.play_out()
    rig.path.end()
    rig.tick(20)
    assert rig.told == []
    rig.path.play_out()
    rig.tick(2)
    assert rig.told == ["played out"]


def test_on_hold_the_agent_hears_silence_at_the_rate_of_the_last_stream_and_a_plain_call_has_no_counters() -> None:
    rig = Rig()
    assert rig.path.stats() == {}
    rig.path.bridge_to(8000)
    rig.path.join(rig)
    rig.path.use(None)
    rig.tick(2)
    assert (rig.heard, rig.path.codec_rate_hz) == ([bytes(320)] * 2, None)
    assert rig.path.stats()["frames_from_caller"] == 2
    rig.path.leave()
    assert rig.path.stats()["frames_from_caller_dropped"] == 3


def test_what_the_agent_says_waits_while_the_phone_only_sends_and_the_agent_hears_it_meanwhile() -> None:
    rig = Rig()
    rig.stream.sends = False
    rig.path.bridge_to(8000)(LOUD * 3)
    rig.path.join(rig)
    rig.tick(5)
    assert (rig.stream.sent, rig.told, rig.heard) == ([], [], [rig.stream.read()] * 5)
    resumed = FakeStream()
    rig.path.use(resumed)
    rig.tick(4)
    assert (resumed.sent, rig.told) == ([LOUD] * 3 + [bytes(320)], ["first word"])


def test_nothing_is_played_out_to_a_phone_that_only_sends() -> None:
    rig = Rig()
    rig.stream.sends = False
    rig.path.bridge_to(8000)(LOUD)
    rig.path.leave()
    rig.path.play_out()
    rig.tick()
    assert rig.told == ["played out"]
