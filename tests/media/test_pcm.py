from __future__ import annotations

import pytest

from media.errors import FormatError
from media.pcm import PcmFormat, silence


@pytest.mark.parametrize(("rate_hz", "size"), [(8000, 320), (16000, 640), (44100, 1764)])
def test_bytes_and_milliseconds_are_of_each_other(rate_hz: int, size: int) -> None:
    pcm = PcmFormat(rate_hz)
    assert (pcm.duration_ms(size), pcm.size_of(20)) == (20, size)


def test_size_of_a_duration_is_whole_samples() -> None:
    assert PcmFormat(44100).size_of(1) == 88


def test_silence_is_not_made_twice() -> None:
    assert silence(160) is silence(160)


@pytest.mark.parametrize("rate_hz", [11025, 0, -8000])
def test_rate_without_whole_frames_is_refused(rate_hz: int) -> None:
    with pytest.raises(FormatError, match="not a whole number of samples"):
        PcmFormat(rate_hz)
