from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.errors import FormatError
from media.resampler import Resampler, _kernel
from tests.audio import dominant_frequency, level_dbfs, samples, spectrum_dbfs, to_pcm, tone, tone_snr_db

PAIRS = [
    (8000, 16000), (8000, 24000), (8000, 48000), (16000, 24000), (16000, 48000), (24000, 48000),
    (16000, 8000), (24000, 8000), (48000, 8000), (24000, 16000), (48000, 16000), (48000, 24000),
    (8000, 44100), (44100, 8000),
]  # fmt: skip
IDS = [f"{source}->{target}" for source, target in PAIRS]
UP = [pair for pair in PAIRS if pair[0] < pair[1]]
DOWN = [pair for pair in PAIRS if pair[0] > pair[1]]
pairs = pytest.mark.parametrize(("source_hz", "target_hz"), PAIRS, ids=IDS)


def noise(count: int, seed: int = 1, amplitude: int = 32767) -> bytes:
    return np.random.default_rng(seed).integers(-amplitude, amplitude, count, endpoint=True).astype("<i2").tobytes()


def steady(source_hz: int, target_hz: int, frequency_hz: float, amplitude: float = 16000) -> bytes:
    """Half a second of what a tone becomes, its beginning left out."""
    pcm = Resampler(source_hz, target_hz).process(tone(frequency_hz, source_hz, 0.6, amplitude))
    return pcm[-target_hz // 2 * 2 :]


@pytest.mark.parametrize("source_hz", [8000, 16000, 24000, 48000, 44100])
@pytest.mark.parametrize("target_hz", [8000, 16000, 24000, 48000, 44100])
def test_frame_in_is_a_frame_out_from_the_first_one_on(source_hz: int, target_hz: int) -> None:
    resampler = Resampler(source_hz, target_hz)
    assert [len(resampler.process(noise(source_hz // 50))) for _ in range(3)] == [2 * target_hz // 50] * 3


@given(
    pair=st.sampled_from(PAIRS), cuts=st.lists(st.integers(0, 2000), max_size=12), seed=st.integers(0, 9)
)  # fmt: skip
@settings(max_examples=200)
def test_any_cutting_into_chunks_gives_the_same_samples(pair: tuple[int, int], cuts: list[int], seed: int) -> None:
    pcm = noise(2000, seed)
    whole = Resampler(*pair).process(pcm)
    cut = Resampler(*pair)
    edges = [0, *sorted(cuts), 2000]
    parts = [cut.process(pcm[2 * a : 2 * b]) for a, b in pairwise(edges)]
    assert b"".join(parts) == whole
    assert len(whole) // 2 == -(-2000 * pair[1] // pair[0])


@pairs
def test_sample_by_sample_is_the_same_as_at_once(source_hz: int, target_hz: int) -> None:
    pcm = noise(500)
    single = Resampler(source_hz, target_hz)
    parts = [single.process(pcm[at : at + 2]) for at in range(0, len(pcm), 2)]
    assert b"".join(parts) == Resampler(source_hz, target_hz).process(pcm)


@pairs
def test_impulse_comes_out_after_the_stated_delay_of_2_ms_at_most(source_hz: int, target_hz: int) -> None:
    resampler = Resampler(source_hz, target_hz)
    impulse = np.zeros(source_hz // 10)
    impulse[source_hz // 50] = 20000
    heard = samples(resampler.process(to_pcm(impulse)))
    late_ms = int(np.argmax(heard)) * 1000 / target_hz - 20
    assert late_ms == pytest.approx(resampler.delay_ms, abs=500 / target_hz)
    assert resampler.delay_ms <= 2.0


@pairs
@pytest.mark.parametrize("part", [0.0375, 0.125, 0.25, 0.375, 0.425])
def test_tone_in_the_band_stands_60_db_above_all_else(source_hz: int, target_hz: int, part: float) -> None:
    """Of the lower rate: with 8 kHz that is 300, 1000, 2000, 3000 and 3400 Hz. Images and aliases are in "all else"."""
    frequency_hz = part * min(source_hz, target_hz)
    heard = steady(source_hz, target_hz, frequency_hz)
    assert dominant_frequency(heard, target_hz) == pytest.approx(frequency_hz, abs=0.5)
    assert tone_snr_db(heard, target_hz, frequency_hz) >= 60


@pairs
def test_band_is_flat_to_a_hundredth_of_a_db(source_hz: int, target_hz: int) -> None:
    for frequency_hz in np.linspace(0.0125, 0.4375, 15) * min(source_hz, target_hz):
        heard = steady(source_hz, target_hz, frequency_hz)
        assert level_dbfs(heard) == pytest.approx(level_dbfs(tone(frequency_hz, target_hz, 0.5, 16000)), abs=0.01)


@pytest.mark.parametrize(("source_hz", "target_hz"), DOWN)
def test_tone_that_would_fold_into_the_band_is_60_db_down(source_hz: int, target_hz: int) -> None:
    played = level_dbfs(tone(1000, source_hz, 0.5, 16000))
    for frequency_hz in np.linspace(0.5625 * target_hz, 0.499 * source_hz, 25):
        assert level_dbfs(steady(source_hz, target_hz, frequency_hz)) - played <= -60


@pytest.mark.parametrize(("source_hz", "target_hz"), UP)
def test_mirror_images_of_a_tone_are_60_db_down(source_hz: int, target_hz: int) -> None:
    for part in (0.0375, 0.2, 0.4375):
        frequencies, levels = spectrum_dbfs(steady(source_hz, target_hz, part * source_hz), target_hz)
        above = frequencies > 0.55 * source_hz
        assert np.max(levels) - np.max(levels[above]) >= 60


@pairs
def test_overload_clips_and_does_not_wrap(source_hz: int, target_hz: int) -> None:
    square = np.where(np.arange(source_hz // 10) // (source_hz // 400) % 2, -32768.0, 32767.0)
    heard = samples(Resampler(source_hz, target_hz).process(to_pcm(square)))
    delay = round(target_hz * Resampler(source_hz, target_hz).delay_ms / 1000)
    period = target_hz // 200
    plateaus = heard[delay : delay + 16 * period].reshape(-1, period)[1:, [period // 4, 3 * period // 4]]
    assert (int(heard.max()), int(heard.min())) == (32767, -32768)
    assert np.all(plateaus[:, 0] > 25000)
    assert np.all(plateaus[:, 1] < -25000)


@pairs
def test_silence_stays_exact_and_a_steady_level_within_a_step_or_so(source_hz: int, target_hz: int) -> None:
    resampler = Resampler(source_hz, target_hz)
    assert resampler.process(bytes(2 * source_hz)) == bytes(2 * target_hz)
    level = samples(resampler.process(to_pcm(np.full(source_hz // 10, 10000.0))))[target_hz // 100 :]
    assert np.max(np.abs(level - 10000)) <= 12  # -58 dB: what is left of the images


@pairs
def test_reset_makes_it_as_new(source_hz: int, target_hz: int) -> None:
    used = Resampler(source_hz, target_hz)
    used.process(noise(1237, seed=3))
    used.reset()
    pcm = noise(1000)
    assert used.process(pcm) == Resampler(source_hz, target_hz).process(pcm)


def test_streams_between_the_same_rates_do_not_mix() -> None:
    first, second = Resampler(8000, 16000), Resampler(8000, 16000)
    first.process(noise(500))
    assert second.process(bytes(320)) == bytes(640)


@pytest.mark.parametrize(("source_hz", "target_hz"), [(8000, 44101), (0, 8000), (8000, -16000)])
def test_impossible_rates_are_refused(source_hz: int, target_hz: int) -> None:
    with pytest.raises(FormatError, match="no resampling"):
        Resampler(source_hz, target_hz)


def test_half_a_sample_is_refused_and_changes_nothing() -> None:
    resampler = Resampler(8000, 16000)
    with pytest.raises(FormatError, match="3 bytes"):
        resampler.process(bytes(3))
    pcm = noise(100)
    assert resampler.process(pcm) == Resampler(8000, 16000).process(pcm)


@pairs
def test_every_sum_is_exact_so_that_the_order_of_adding_cannot_matter(source_hz: int, target_hz: int) -> None:
    steps = _kernel(source_hz, target_hz).matrix * 2**20
    assert np.array_equal(steps, np.rint(steps))
    assert np.max(np.abs(steps).sum(axis=0)) * 2**15 < 2**53
