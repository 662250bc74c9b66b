from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.bridge import Bridge
from media.resampler import Resampler
from tests.audio import dominant_frequency, loudest_click, samples, tone, tone_snr_db

RATES = [(8000, 8000), (8000, 16000), (16000, 8000), (8000, 24000), (16000, 48000), (48000, 8000), (8000, 44100)]
rates = pytest.mark.parametrize(("phone_hz", "agent_hz"), RATES)


def hear(bridge: Bridge, phone_hz: int, frames: int) -> bytes:
    pcm = [bridge.next_frame(phone_hz // 50) for _ in range(frames)]
    assert {len(frame) for frame in pcm} <= {phone_hz // 25}
    return b"".join(pcm)


def whole(agent_hz: int, phone_hz: int, pcm: bytes) -> bytes:
    """What the phone should hear of ``pcm``: all of it, from the first sample to the last one's ringing."""
    if agent_hz == phone_hz:
        return pcm
    return Resampler(agent_hz, phone_hz).process(pcm + bytes(2 * agent_hz // 50))


@rates
def test_caller_is_heard_by_the_agent_at_the_agents_rate_frame_by_frame(phone_hz: int, agent_hz: int) -> None:
    bridge = Bridge(phone_hz, agent_hz)
    frame_size = 2 * phone_hz // 50
    spoken = tone(440, phone_hz, 0.5)
    frames = [bridge.caller_frame(spoken[at : at + frame_size]) for at in range(0, len(spoken), frame_size)]
    assert {len(frame) for frame in frames} == {2 * agent_hz // 50}
    assert tone_snr_db(b"".join(frames[1:]), agent_hz, 440) >= 60
    assert bridge.stats().frames_from_caller == 25


def test_same_rate_passes_the_very_bytes() -> None:
    bridge = Bridge(8000, 8000)
    frame = tone(440, 8000, 0.02)
    assert bridge.caller_frame(frame) is frame
    bridge.agent_audio(frame)
    assert bridge.next_frame(160) == frame


@rates
def test_agent_is_heard_whole_and_then_exact_silence(phone_hz: int, agent_hz: int) -> None:
    bridge = Bridge(phone_hz, agent_hz)
    spoken = tone(440, agent_hz, 0.5)
    bridge.agent_audio(spoken)
    heard = hear(bridge, phone_hz, 40)
    expected = whole(agent_hz, phone_hz, spoken)
    assert heard == expected + bytes(len(heard) - len(expected))
    assert not bridge.playing


@given(
    pair=st.sampled_from(RATES),
    chunks=st.lists(st.integers(1, 4000), max_size=20),
    frames_ms=st.lists(st.integers(5, 50), min_size=1, max_size=5),
)
def test_any_chunks_of_agent_audio_and_any_frames_join_to_the_same_sound(
    pair: tuple[int, int], chunks: list[int], frames_ms: list[int]
) -> None:
    phone_hz, agent_hz = pair
    bridge = Bridge(phone_hz, agent_hz)
    spoken = tone(440, agent_hz, 0.2)
    edges = [0, *accumulate(chunks), len(spoken) + sum(chunks)]
    for start, end in pairwise(edges):
        bridge.agent_audio(spoken[start:end])
    counts = [phone_hz * frame_ms // 1000 for frame_ms in frames_ms * 60]
    frames = [bridge.next_frame(count) for count in counts]
    assert [len(frame) for frame in frames] == [2 * count for count in counts]
    heard = b"".join(frames)
    expected = whole(agent_hz, phone_hz, spoken)
    assert heard == expected + bytes(len(heard) - len(expected))


@rates
def test_clear_makes_the_next_frame_silent_and_what_follows_clean(phone_hz: int, agent_hz: int) -> None:
    bridge = Bridge(phone_hz, agent_hz)
    bridge.agent_audio(tone(440, agent_hz, 1.0) + b"\x7f")
    hear(bridge, phone_hz, 10)
    bridge.clear()
    assert (bridge.playing, bridge.buffered_ms) == (False, 0)
    assert not any(hear(bridge, phone_hz, 3))
    fresh = tone(700, agent_hz, 0.2)
    bridge.agent_audio(fresh)
    heard = hear(bridge, phone_hz, 10)
    assert heard == whole(agent_hz, phone_hz, fresh)[: len(heard)]
    assert bridge.stats().clears == 1
    assert bridge.stats().cleared_ms == pytest.approx(800, abs=0.1)


def test_audio_right_after_a_clear_is_heard_in_the_next_frame() -> None:
    bridge = Bridge(8000, 16000)
    bridge.agent_audio(tone(440, 16000, 0.5))
    hear(bridge, 8000, 5)
    bridge.clear()
    fresh = tone(700, 16000, 0.1)
    bridge.agent_audio(fresh)
    assert hear(bridge, 8000, 5) == whole(16000, 8000, fresh)[: 5 * 320]


def test_clear_leaves_the_callers_direction_alone() -> None:
    bridge = Bridge(8000, 16000)
    spoken = tone(440, 8000, 0.1)
    before = bridge.caller_frame(spoken[:320])
    bridge.clear()
    assert before + bridge.caller_frame(spoken[320:]) == Resampler(8000, 16000).process(spoken)


def test_agent_may_be_thirty_seconds_ahead_and_more_than_that_is_dropped_and_counted() -> None:
    bridge = Bridge(8000, 16000)
    second = tone(500, 16000, 1.0)
    for _ in range(31):
        bridge.agent_audio(second)
    assert (bridge.buffered_ms, bridge.stats().overrun_ms) == (31_000, 0)
    for _ in range(3):
        bridge.agent_audio(second)
    assert (bridge.buffered_ms, bridge.stats().overrun_ms, bridge.stats().agent_ms) == (32_000, 2000, 34_000)
    heard = hear(bridge, 8000, 32 * 50 + 1)
    assert tone_snr_db(heard[320:-320], 8000, 500) >= 60
    assert not bridge.playing


def test_gap_inside_a_turn_is_counted_and_a_pause_between_turns_is_not() -> None:
    bridge = Bridge(8000, 16000)
    word = tone(440, 16000, 0.1)
    bridge.agent_turn(True)
    for _ in range(2):
        bridge.agent_audio(word)
        hear(bridge, 8000, 8)
    assert (bridge.stats().underruns, bridge.stats().underrun_frames) == (1, 3)
    bridge.agent_turn(False)
    bridge.agent_turn(True)
    bridge.agent_audio(word)
    hear(bridge, 8000, 8)
    assert (bridge.stats().underruns, bridge.stats().underrun_frames) == (1, 3)
    assert bridge.stats().frames_to_caller == 24


@pytest.mark.parametrize("agent_hz", [8000, 16000, 48000])
@pytest.mark.parametrize(("before_hz", "after_hz"), [(8000, 16000), (16000, 8000), (8000, 48000), (48000, 8000)])
def test_change_of_codec_loses_nothing_and_makes_no_click(agent_hz: int, before_hz: int, after_hz: int) -> None:
    bridge = Bridge(before_hz, agent_hz)
    bridge.agent_audio(tone(440, agent_hz, 1.0))
    first = hear(bridge, before_hz, 20)
    bridge.retune(after_hz)
    second = hear(bridge, after_hz, 28)
    assert loudest_click(second, after_hz, 440) < 0.005
    assert phase_at(second, after_hz, at_end=False) == pytest.approx(phase_at(first, before_hz, at_end=True), abs=0.01)
    rest = hear(bridge, after_hz, 4)
    assert any(rest)
    assert not bridge.playing


def phase_at(pcm: bytes, rate_hz: int, *, at_end: bool) -> float:
    """Of the 440 Hz in the 200 ms before the end or after the start, in turns, at the end or start itself."""
    count = rate_hz // 5
    wave = samples(pcm)[-count:] if at_end else samples(pcm)[:count]
    at_s = (np.arange(count) - (count if at_end else 0)) / rate_hz
    return float(np.angle(np.sum(wave * np.exp(-2j * np.pi * 440 * at_s))) / (2 * np.pi))


def test_change_of_codec_in_silence_goes_on_silent_and_in_the_new_rate() -> None:
    bridge = Bridge(8000, 8000)
    hear(bridge, 8000, 2)
    bridge.retune(16000)
    assert not any(hear(bridge, 16000, 2))
    bridge.agent_audio(tone(440, 8000, 0.4))
    assert dominant_frequency(hear(bridge, 16000, 20), 16000) == pytest.approx(440, abs=1)
    assert len(bridge.caller_frame(bytes(640))) == 320


def test_renegotiation_of_the_same_rate_changes_nothing() -> None:
    bridge = Bridge(8000, 16000)
    spoken = tone(440, 16000, 0.4)
    bridge.agent_audio(spoken)
    heard = hear(bridge, 8000, 7)
    bridge.retune(8000)
    assert heard + hear(bridge, 8000, 13) == whole(16000, 8000, spoken)[: 20 * 320]


def test_playing_from_the_first_sample_that_came_to_the_last_that_is_heard() -> None:
    bridge = Bridge(8000, 16000)
    playing = [bridge.playing]
    bridge.agent_audio(tone(440, 16000, 0.02))
    playing.append(bridge.playing)
    for _ in range(2):
        assert any(hear(bridge, 8000, 1))
        playing.append(bridge.playing)
    assert playing == [False, True, True, False]
