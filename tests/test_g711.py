from __future__ import annotations

import numpy as np
import pytest

from tests import g711


@pytest.mark.parametrize(
    ("law", "code", "level"),
    [
        ("PCMU", 0xFF, 0),
        ("PCMU", 0x7F, 0),
        ("PCMU", 0x80, 32124),
        ("PCMU", 0x00, -32124),
        ("PCMU", 0xEF, 132),
        ("PCMU", 0x6F, -132),
        ("PCMA", 0xD5, 8),
        ("PCMA", 0x55, -8),
        ("PCMA", 0xAA, 32256),
        ("PCMA", 0x2A, -32256),
        ("PCMA", 0xC5, 264),
    ],
)
def test_code_decodes_to_the_level_of_the_recommendation(law: g711.Law, code: int, level: int) -> None:
    assert int.from_bytes(g711.decode(bytes([code]), law), "little", signed=True) == level


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_every_level_survives_encoding(law: g711.Law) -> None:
    levels = g711.decode(bytes(range(256)), law)
    assert g711.decode(g711.encode(levels, law), law) == levels


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_full_scale_noise_keeps_the_quantising_distance_of_g711(law: g711.Law) -> None:
    noise = np.random.default_rng(711).integers(-32768, 32767, 8000).astype("<i2")
    heard = np.frombuffer(g711.decode(g711.encode(noise.tobytes(), law), law), "<i2")
    error = np.mean((heard - noise.astype(float)) ** 2)
    assert 10 * np.log10(np.mean(noise.astype(float) ** 2) / error) > 35
