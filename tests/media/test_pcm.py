from __future__ import annotations

import pytest

from media.errors import FormatError
from media.pcm import PcmFormat, silence


@pytest.mark.parametrize(
    ("pcm", "samples", "size"),
    [(PcmFormat(8000), 160, 320), (PcmFormat(16000), 320, 640), (PcmFormat(44100, 10), 441, 882)],
)
def test_frame_has_the_samples_and_bytes_of_its_duration(pcm: PcmFormat, samples: int, size: int) -> None:
    assert (pcm.samples, pcm.size, pcm.silence) == (samples, size, bytes(size))
    assert pcm.duration_ms(size) == pcm.frame_ms


def test_size_of_a_duration_is_whole_samples() -> None:
    assert PcmFormat(11025, 40).size_of(1) == 22


def test_silence_is_not_made_twice() -> None:
    assert silence(160) is silence(160)


@pytest.mark.parametrize(("rate_hz", "frame_ms"), [(44100, 1), (0, 20), (8000, 0), (-8000, 20)])
def test_frame_of_no_whole_number_of_samples_is_refused(rate_hz: int, frame_ms: int) -> None:
    with pytest.raises(FormatError, match="no whole number of samples"):
        PcmFormat(rate_hz, frame_ms)


def test_format_is_called_by_its_rate() -> None:
    assert [str(PcmFormat(rate_hz, 10)) for rate_hz in (8000, 44100)] == ["8k", "44.1k"]
