from __future__ import annotations

from engine.sandbox.callee import FRAME_MS, Callee
from engine.sandbox.speech import tones
from engine.sandbox.voice_activity import loudness

RATE_HZ = 8000
FRAME = RATE_HZ * FRAME_MS // 1000 * 2
AGENT = tones("good morning to you", RATE_HZ, "agent")
HELLO, FIRST, SECOND = (tones(text, RATE_HZ, "callee") for text in ("hello?", "yes, I can", "that is all, thank you"))


def _say(callee: Callee, pcm: bytes) -> bytes:
    """What the callee says while it hears ``pcm``."""
    pcm += bytes(-len(pcm) % FRAME)
    return b"".join(callee.frame(pcm[start : start + FRAME]) for start in range(0, len(pcm), FRAME))


def _silence(ms: int) -> bytes:
    return bytes(RATE_HZ * ms // 1000 * 2)


def test_every_frame_is_20_ms() -> None:
    callee = Callee(RATE_HZ, [FIRST])
    assert {len(callee.frame(AGENT[:FRAME])) for _ in range(200)} == {FRAME}


def test_line_comes_after_the_other_side_fell_silent_and_whole() -> None:
    callee = Callee(RATE_HZ, [FIRST, SECOND], hello=HELLO)
    assert loudness(_say(callee, AGENT)) == 0
    assert loudness(_say(callee, _silence(500))) == 0
    assert FIRST in _say(callee, _silence(2000))


def test_next_line_waits_for_the_next_turn_of_the_other_side() -> None:
    callee = Callee(RATE_HZ, [FIRST, SECOND])
    _say(callee, AGENT + _silence(3000))
    assert loudness(_say(callee, _silence(5000))) == 0
    assert SECOND in _say(callee, AGENT + _silence(3000))


def test_pause_within_speech_is_not_the_end_of_it() -> None:
    callee = Callee(RATE_HZ, [FIRST])
    assert loudness(_say(callee, AGENT + _silence(400) + AGENT + _silence(400))) == 0


def test_hello_is_said_once_into_two_seconds_of_silence() -> None:
    callee = Callee(RATE_HZ, [FIRST], hello=HELLO)
    assert loudness(_say(callee, _silence(1900))) == 0
    assert HELLO in _say(callee, _silence(1500))
    assert loudness(_say(callee, _silence(5000))) == 0


def test_no_hello_when_the_other_side_spoke_first() -> None:
    callee = Callee(RATE_HZ, [], hello=HELLO)
    assert loudness(_say(callee, AGENT + _silence(5000))) == 0


def test_after_the_last_line_it_only_listens() -> None:
    callee = Callee(RATE_HZ, [FIRST])
    _say(callee, AGENT + _silence(3000))
    assert loudness(_say(callee, AGENT + _silence(5000))) == 0
    assert not callee.speaking
