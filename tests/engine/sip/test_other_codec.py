"""Another codec of the answer is found by what cannot be decoded, and what cannot be decoded is no sign of life."""

from __future__ import annotations

import pytest

from engine.sip.other_codec import Arrivals, OtherCodec, Received


def audio(packets: int, *, each_bytes: int = 160) -> Received:
    return Received(packets=packets, payload_bytes=packets * each_bytes)


def test_each_codec_is_tried_once_and_then_the_first_is_decoded_again() -> None:
    other = OtherCodec(["PCMA", "PCMU", "G722"])
    tried = [other.unheard(audio(5 * (step % 2 + 1)), heard=False) for step in range(12)]
    assert [codec for codec in tried if codec] == ["PCMU", "G722", "PCMA"]


def test_a_codec_that_was_heard_is_left_again_when_the_far_end_leaves_it() -> None:
    other = OtherCodec(["PCMA", "PCMU"])
    assert other.unheard(audio(5), heard=False) == "PCMU"
    assert other.unheard(audio(200), heard=True) is None
    assert other.unheard(audio(202), heard=False) is None
    assert other.unheard(audio(205), heard=False) == "PCMA"
    assert other.unheard(audio(200), heard=True) is None
    assert other.unheard(audio(205), heard=False) == "PCMU"


@pytest.mark.parametrize("each_bytes", [0, 1, 4, 10])
def test_silence_comfort_noise_and_keys_change_nothing(each_bytes: int) -> None:
    other = OtherCodec(["PCMA", "PCMU"])
    for step in range(100):
        assert other.unheard(Received(), heard=False) is None
        assert other.unheard(audio(step * 5, each_bytes=each_bytes), heard=False) is None


def test_the_only_codec_of_an_answer_stays() -> None:
    other = OtherCodec(["PCMA"])
    assert {other.unheard(audio(5 * step), heard=step % 5 == 0) for step in range(50)} == {None}


@pytest.mark.parametrize(
    ("received", "heard", "reports", "lives"),
    [
        (audio(50), 50, 0, True),
        (audio(50), 1, 0, True),
        (audio(50, each_bytes=20), 0, 0, False),
        (audio(50, each_bytes=33), 0, 1, True),
        (audio(2, each_bytes=1), 0, 0, True),
        (audio(2, each_bytes=0), 0, 0, True),
        (Received(), 0, 0, False),
        (Received(), 0, 1, True),
    ],
)
def test_what_can_be_used_is_a_sign_of_life(received: Received, heard: int, reports: int, lives: bool) -> None:
    arrivals = Arrivals()
    before = arrivals.update(Received(), heard=0, reports=0)
    assert (arrivals.update(received, heard=heard, reports=reports) > before) is lives
    after = arrivals.update(received, heard=heard, reports=reports)
    assert after == arrivals.update(received, heard=heard, reports=reports)


def test_a_new_stream_counts_from_nothing_and_the_count_never_falls() -> None:
    arrivals = Arrivals()
    first = arrivals.update(audio(500), heard=500, reports=3)
    second = arrivals.update(audio(10), heard=10, reports=0)
    assert (first, second) == (503, 513)
