from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from api.load.packets import SPEECH_HZ, SPEECH_LEVEL, longest_runs, read_packets
from tests import audio, g711


def packet(pcm: bytes, *, law: g711.Law = "PCMU", sequence: int = 7, ssrc: int = 0xDEADBEEF) -> bytes:
    header = struct.pack("!BBHII", 0x80, 0 if law == "PCMU" else 8, sequence, 160, ssrc)
    return header + g711.encode(pcm, law)


def read(*datagrams: bytes) -> Any:
    data = np.zeros((len(datagrams), 512), np.uint8)
    for row, datagram in zip(data, datagrams, strict=True):
        row[: len(datagram)] = np.frombuffer(datagram, np.uint8)
    lengths = np.array([len(datagram) for datagram in datagrams])
    counted = np.arange(len(datagrams), dtype=np.int64)
    return read_packets(data, lengths, 4000 + counted, 1000 + counted, 2000 + counted)


SPEECH = audio.tone(SPEECH_HZ, 8000, 0.02, SPEECH_LEVEL)
SILENCE = bytes(320)


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_agents_tone_is_known_with_its_clarity(law: g711.Law) -> None:
    (row,) = read(packet(SPEECH, law=law))
    assert (row["loud"], row["speech"]) == (True, True)
    assert row["snr_db"] > 30
    assert row["silent_samples"] < 4
    assert (row["ssrc"], row["sequence"]) == (0xDEADBEEF, 7)
    assert (row["port"], row["at_ns"], row["echoed_ns"]) == (4000, 1000, 2000)


@pytest.mark.parametrize("law", ["PCMU", "PCMA"])
def test_silence_is_not_loud(law: g711.Law) -> None:
    (row,) = read(packet(SILENCE, law=law))
    assert (row["loud"], row["speech"], row["silent_samples"]) == (False, False, 160)


def test_click_is_loud_and_no_speech() -> None:
    (row,) = read(packet(audio.tone(1500, 8000, 0.02, 12_000)))
    assert (row["loud"], row["speech"]) == (True, False)


def test_hole_in_the_tone_is_measured_and_costs_clarity() -> None:
    (row,) = read(packet(SPEECH[:200] + bytes(120)))
    assert row["speech"]
    assert 60 <= row["silent_samples"] <= 64
    assert row["snr_db"] < 10


def test_what_is_no_rtp_is_left_out_and_what_is_no_g711_of_20_ms_is_only_counted() -> None:
    g722 = struct.pack("!BBHII", 0x80, 9, 8, 160, 1) + bytes(160)
    short = packet(SPEECH)[:92]
    rows = read(b"hello", g722, short, packet(SPEECH))
    assert list(rows["port"]) == [4001, 4002, 4003]
    assert list(rows["loud"]) == [True, True, True]
    assert list(rows["speech"]) == [False, False, True]


def test_longest_run_of_each_row() -> None:
    flags = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    assert list(longest_runs(flags)) == [2, 0, 4]
