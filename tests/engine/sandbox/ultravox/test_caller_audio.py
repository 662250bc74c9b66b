from __future__ import annotations

from engine.sandbox.ultravox.caller_audio import CallerAudio
from engine.sandbox.ultravox.faults import ClientFaults

FRAME = bytes(320)


class Caller:
    """Sends 20 ms frames by its own clock."""

    def __init__(self, capture_s: float = 0.0) -> None:
        self.faults = ClientFaults()
        self.audio = CallerAudio(8000, self.faults, joined_at=0.0, capture_s=capture_s)
        self.now = 0.0

    def send(self, seconds: float, frame: bytes = FRAME, every_s: float = 0.02) -> None:
        for _ in range(round(seconds / every_s)):
            self.audio.receive(frame, self.now)
            self.now += every_s

    def faults_at_end(self) -> dict[str, int]:
        self.audio.finish(self.now)
        return self.faults.counts


def test_steady_audio_has_no_fault() -> None:
    caller = Caller()
    caller.send(10)
    assert caller.faults_at_end() == {}
    assert caller.audio.render()["audioMs"] == 10000


def test_late_start_is_a_fault() -> None:
    caller = Caller()
    caller.now = 1.2
    caller.send(1)
    assert caller.faults_at_end() == {"late-audio": 1}


def test_no_audio_at_all_is_a_fault() -> None:
    caller = Caller()
    caller.now = 5.0
    assert caller.faults_at_end() == {"late-audio": 1}


def test_pauses_are_counted_the_last_one_too() -> None:
    caller = Caller()
    caller.send(5)
    caller.now += 0.3
    caller.send(5)
    caller.now += 0.5
    assert caller.faults_at_end() == {"audio-gap": 2}
    assert caller.audio.gaps == 2
    assert 0.5 <= caller.audio.max_gap_s < 0.53


def test_time_in_which_the_simulator_itself_did_not_look_is_no_gap_of_the_clients() -> None:
    caller = Caller()
    caller.send(5)
    caller.now += 0.3
    caller.audio.receive(FRAME, caller.now, unwatched_s=0.3)
    assert caller.faults_at_end() == {}


def test_what_comes_in_late_because_nobody_looked_is_not_too_little_audio() -> None:
    caller = Caller()
    caller.send(1.5)
    caller.now += 1
    caller.audio.finish(caller.now, unwatched_s=1)
    assert caller.faults.counts == {}


def test_odd_byte_is_carried_and_counted() -> None:
    caller = Caller()
    assert caller.audio.receive(b"\1\2\3", 0.0) == b"\1\2"
    assert caller.audio.receive(b"\4", 0.02) == b"\3\4"
    assert caller.faults.counts == {"odd-length": 2}


def test_audio_faster_than_time_is_a_fault() -> None:
    caller = Caller()
    caller.send(2, every_s=0.005)
    assert "too-much-audio" in caller.faults.counts


def test_half_the_bytes_as_of_mu_law_are_a_fault() -> None:
    caller = Caller()
    caller.send(5, frame=bytes(160))
    assert caller.faults_at_end() == {"too-little-audio": 1}


def test_wav_header_is_a_fault() -> None:
    caller = Caller()
    caller.audio.receive(b"RIFF" + FRAME, 0.0)
    assert caller.faults.counts == {"wav-header": 1}


def test_capture_keeps_the_newest() -> None:
    caller = Caller(capture_s=0.04)
    for value in range(5):
        caller.audio.receive(bytes([value]) * 320, value * 0.02)
    assert caller.audio.captured == bytes([3]) * 320 + bytes([4]) * 320
