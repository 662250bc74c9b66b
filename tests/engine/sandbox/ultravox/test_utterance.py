from __future__ import annotations

import math

from engine.sandbox.ultravox.utterance import Utterance

RATE_HZ = 8000
SECOND = bytes(RATE_HZ * 2)


def _utterance(text: str = "one two three four", pcm: bytes = SECOND) -> Utterance:
    utterance = Utterance(text, pcm, RATE_HZ)
    utterance.start(100.0)
    return utterance


def test_small_client_buffer_is_filled_and_then_paced() -> None:
    utterance = _utterance()
    assert len(list(utterance.audio_due(100.0, 60))) == 4
    assert not list(utterance.audio_due(100.0, 60))
    assert len(list(utterance.audio_due(100.03, 60))) == 1


def test_large_client_buffer_takes_all_at_once() -> None:
    utterance = _utterance()
    assert b"".join(utterance.audio_due(100.0, 30000)) == SECOND
    assert utterance.sent_at == 100.0
    assert not utterance.played(100.9)
    assert utterance.played(101.0)


def test_last_frame_is_not_padded() -> None:
    assert [len(frame) for frame in _utterance(pcm=bytes(500)).audio_due(100.0, 1000)] == [320, 180]


def test_words_come_at_their_share_of_the_audio() -> None:
    utterance = _utterance()
    assert utterance.words_due(100.0) == ["one"]
    assert utterance.words_due(100.5) == [" two", " three"]
    assert utterance.spoken == "one two three"
    assert utterance.words_due(math.inf) == [" four"]


def test_nothing_to_say_is_over_at_once() -> None:
    utterance = _utterance("", b"")
    assert not list(utterance.audio_due(100.0, 60))
    assert utterance.played(100.0)
