from __future__ import annotations

from engine.sandbox.speech import tone
from engine.sandbox.voice_activity import FRAME_MS, VoiceActivity, loudness

RATE_HZ = 8000


def test_silence_is_no_speech() -> None:
    ears = VoiceActivity(RATE_HZ)
    ears.feed(bytes(RATE_HZ * 2))
    assert not ears.speech
    assert ears.silent_ms == 1000 // FRAME_MS * FRAME_MS


def test_speech_then_silence_is_measured_in_frames() -> None:
    ears = VoiceActivity(RATE_HZ)
    ears.feed(tone(440.0, 320, RATE_HZ) + bytes(320 * 16))
    assert 256 <= ears.voiced_ms <= 320
    assert 320 <= ears.silent_ms <= 384


def test_chunk_boundaries_mean_nothing() -> None:
    pcm = tone(440.0, 500, RATE_HZ) + bytes(3000)
    whole, split = VoiceActivity(RATE_HZ), VoiceActivity(RATE_HZ)
    whole.feed(pcm)
    for start in range(0, len(pcm), 322):
        split.feed(pcm[start : start + 322])
    assert (split.voiced_ms, split.silent_ms) == (whole.voiced_ms, whole.silent_ms)


def test_forgotten_speech_is_not_heard_again() -> None:
    ears = VoiceActivity(RATE_HZ)
    ears.feed(tone(440.0, 320, RATE_HZ))
    ears.forget()
    ears.feed(bytes(3200))
    assert not ears.speech


def test_loudness_of_nothing_is_zero() -> None:
    assert loudness(b"") == 0.0
