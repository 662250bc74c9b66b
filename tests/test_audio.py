"""The ear that tests listen with hears what was played, and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.audio import (
    Segment,
    dominant_frequency,
    has_tone,
    hears,
    level_dbfs,
    longest_silence_ms,
    loudest_click,
    samples,
    segments,
    to_pcm,
    tone,
    tone_snr_db,
)

RATE_HZ = 8000


def test_full_scale_tone_is_0_dbfs_and_silence_is_none() -> None:
    assert level_dbfs(tone(1000, RATE_HZ, 1.0, 32767)) == pytest.approx(0, abs=0.01)
    assert level_dbfs(bytes(320)) == level_dbfs(b"") == -math.inf


@pytest.mark.parametrize("frequency_hz", [97.3, 440, 1234.5, 3390])
def test_dominant_frequency_is_that_of_the_tone(frequency_hz: float) -> None:
    assert dominant_frequency(tone(frequency_hz, RATE_HZ, 0.2), RATE_HZ) == pytest.approx(frequency_hz, abs=0.5)
    assert dominant_frequency(bytes(3200), RATE_HZ) == 0


def test_tone_with_noise_has_the_ratio_of_their_powers() -> None:
    noise = np.random.default_rng(7).normal(0, 80 / math.sqrt(2), RATE_HZ)
    noisy = to_pcm(samples(tone(700, RATE_HZ, 1.0, 8000)) + noise)
    assert tone_snr_db(noisy, RATE_HZ, 700) == pytest.approx(40, abs=0.5)
    assert has_tone(noisy, RATE_HZ, 700, min_snr_db=39)
    assert not has_tone(noisy, RATE_HZ, 700, min_snr_db=41)
    assert not has_tone(noisy, RATE_HZ, 900)
    assert not has_tone(bytes(3200), RATE_HZ, 700)


def test_tone_in_a_mixture_with_gaps_is_heard_and_another_is_not() -> None:
    mixture = to_pcm(samples(tone(500, RATE_HZ, 0.3)) + samples(tone(1500, RATE_HZ, 0.3)))
    pcm = bytes(3000) + mixture + bytes(3000)
    assert hears(pcm, RATE_HZ, 500)
    assert hears(pcm, RATE_HZ, 1500)
    assert not hears(pcm, RATE_HZ, 1000)


def test_segments_tell_sound_from_silence_and_a_gap_from_the_edges() -> None:
    sound = tone(500, RATE_HZ, 0.1)
    pcm = bytes(2 * 800) + sound + bytes(2 * 320) + sound + bytes(2 * 1600)
    assert segments(pcm, RATE_HZ) == [
        Segment(start_ms=0, duration_ms=100, sounding=False),
        Segment(start_ms=100, duration_ms=100, sounding=True),
        Segment(start_ms=200, duration_ms=40, sounding=False),
        Segment(start_ms=240, duration_ms=100, sounding=True),
        Segment(start_ms=340, duration_ms=200, sounding=False),
    ]
    assert longest_silence_ms(pcm, RATE_HZ) == 40
    assert longest_silence_ms(bytes(800) + sound, RATE_HZ) == 0


def test_lost_sample_is_a_click_and_a_clean_tone_has_none() -> None:
    clean = tone(440, RATE_HZ, 0.5)
    assert loudest_click(clean, RATE_HZ, 440) < 0.001
    assert loudest_click(clean[:2000] + clean[2002:], RATE_HZ, 440) > 0.1
