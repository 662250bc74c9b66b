from __future__ import annotations

import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

from engine.sandbox.speech import speech, tone, tones
from engine.sandbox.voice_activity import loudness


@pytest.mark.parametrize("rate_hz", [8000, 16000, 48000])
def test_speech_is_loud_and_lasts_as_long_at_every_rate(rate_hz: int) -> None:
    pcm = speech("Good morning.", rate_hz, "agent")
    assert loudness(pcm) > 1000
    assert len(pcm) / rate_hz == pytest.approx(len(speech("Good morning.", 8000, "agent")) / 8000, rel=0.01)


def test_same_words_give_the_same_pcm() -> None:
    first = speech("Same words.", 8000, "callee")
    speech.cache_clear()
    assert speech("Same words.", 8000, "callee") == first


def test_without_espeak_there_are_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert speech("No program here.", 8000, "agent") == tones("No program here.", 8000, "agent")


def test_failing_espeak_is_replaced_by_tones(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("espeak-ng", 1)

    monkeypatch.setattr(subprocess, "run", fail)
    assert speech("A hanging program.", 8000, "agent") == tones("A hanging program.", 8000, "agent")


def test_tones_of_the_two_voices_differ_in_pitch() -> None:
    agent, callee = (_pitch_hz(tones("aaa", 8000, voice)) for voice in ("agent", "callee"))
    assert agent == pytest.approx(330, abs=10)
    assert callee == pytest.approx(740, abs=10)


def test_tone_has_its_length_and_starts_in_silence() -> None:
    pcm = tone(440.0, 100, 16000)
    assert len(pcm) == 3200
    assert pcm[:2] == b"\0\0"


def _pitch_hz(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, "<i2")
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * 8000 / samples.size)
