from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from media.playout import Playout

RATE_HZ = 8000
FRAME = 160
SECOND = 2 * RATE_HZ


def pcm(samples: int, first: int = 0) -> bytes:
    """Samples that count, so that each differs from its neighbours."""
    return b"".join((first + index & 0x7FFF).to_bytes(2, "little") for index in range(samples))


def take(playout: Playout, frames: int) -> list[bytes]:
    return [playout.take(FRAME) for _ in range(frames)]


def test_audio_leaves_in_frames_and_then_there_is_none() -> None:
    playout = Playout(RATE_HZ, 1000)
    playout.put(pcm(2 * FRAME))
    assert playout.buffered_ms == 40
    assert take(playout, 3) == [pcm(FRAME), pcm(FRAME, FRAME), b""]
    assert (playout.buffered_ms, playout.playing) == (0, False)


def test_end_of_speech_within_a_frame_is_filled_up_with_silence_at_once() -> None:
    playout = Playout(RATE_HZ, 1000)
    playout.put(pcm(FRAME + 3))
    assert take(playout, 3) == [pcm(FRAME), pcm(3, FRAME) + bytes(2 * (FRAME - 3)), b""]


def test_speech_that_begins_with_less_than_a_frame_waits_one_tick_for_more() -> None:
    playout = Playout(RATE_HZ, 1000)
    playout.put(pcm(100))
    assert playout.take(FRAME) == b""
    playout.put(pcm(100, 100))
    assert playout.take(FRAME) == pcm(FRAME)


def test_less_than_a_frame_of_speech_is_heard_after_one_tick() -> None:
    playout = Playout(RATE_HZ, 1000)
    playout.put(pcm(100))
    assert take(playout, 3) == [b"", pcm(100) + bytes(2 * 60), b""]


def test_half_a_sample_is_not_played_before_its_other_half_came() -> None:
    playout = Playout(RATE_HZ, 1000)
    audio = pcm(2 * FRAME)
    playout.put(audio[: 2 * FRAME + 1])
    assert take(playout, 2) == [audio[: 2 * FRAME], b""]
    assert not playout.playing
    playout.put(audio[2 * FRAME + 1 :])
    assert playout.take(FRAME) == audio[2 * FRAME :]


@given(st.lists(st.integers(0, 70), min_size=1))
def test_beyond_the_bound_the_newest_is_dropped_in_whole_samples_and_counted(sizes: list[int]) -> None:
    playout = Playout(RATE_HZ, 10)
    audio = pcm(sum(sizes))[: sum(sizes)]
    start = 0
    for size in sizes:
        playout.put(audio[start : start + size])
        start += size
    assert playout.buffered_ms <= 10
    assert playout.dropped_bytes == max(0, len(audio) - 160)
    assert b"".join(iter(lambda: playout.take_upto(1), b"")) == audio[: min(len(audio) // 2 * 2, 160)]


@given(st.lists(st.integers(1, 7), min_size=1))
def test_audio_after_an_overrun_begins_on_a_whole_sample(sizes: list[int]) -> None:
    playout = Playout(RATE_HZ, 1000)
    audio = pcm(RATE_HZ + sum(sizes))
    playout.put(audio[:SECOND])
    start = SECOND
    for size in sizes:
        playout.put(audio[start : start + size])
        start += size
    while playout.take(FRAME):
        pass
    playout.put(audio[start : start + start % 2])
    start += start % 2
    playout.put(audio[start : start + 4])
    assert playout.take_upto(2) == audio[start : start + 4]


def test_gap_in_mid_turn_is_one_underrun_of_its_silent_frames() -> None:
    playout = Playout(RATE_HZ, 1000)
    playout.turn(True)
    playout.put(pcm(FRAME))
    take(playout, 4)
    assert playout.underruns == 0
    playout.put(pcm(FRAME))
    take(playout, 2)
    assert (playout.underruns, playout.underrun_frames) == (1, 3)


def test_silence_before_the_first_word_and_after_the_last_is_no_underrun() -> None:
    playout = Playout(RATE_HZ, 1000)
    playout.turn(True)
    take(playout, 5)
    playout.put(pcm(FRAME))
    take(playout, 5)
    playout.turn(False)
    take(playout, 5)
    playout.turn(True)
    playout.put(pcm(FRAME))
    take(playout, 1)
    assert (playout.underruns, playout.underrun_frames) == (0, 0)


def test_silence_after_a_barge_in_is_no_underrun() -> None:
    playout = Playout(RATE_HZ, 1000)
    playout.turn(True)
    playout.put(pcm(3 * FRAME))
    take(playout, 1)
    assert playout.clear() == 40
    take(playout, 5)
    playout.put(pcm(FRAME))
    assert playout.take(FRAME) == pcm(FRAME)
    assert playout.underruns == 0


def test_what_is_given_back_comes_next() -> None:
    playout = Playout(RATE_HZ, 1000)
    playout.put(pcm(3 * FRAME))
    frame = playout.take(FRAME)
    playout.give_back(frame[-8:])
    assert playout.take_upto(4) == frame[-8:]
    assert playout.take(FRAME) == pcm(FRAME, FRAME)
    assert len(playout.take_upto(1000)) == 2 * FRAME
