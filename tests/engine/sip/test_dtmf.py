"""Telephone keys as text: bursts, what an agent may press, the SDP's payload type, INFO bodies."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.dtmf import DIGITS, MAX_KEYS, PAUSES, Burst, ReceivedKeys, info_digit, read_keys


@given(st.text(DIGITS, max_size=3 * MAX_KEYS))
def test_bursts_lose_no_digit_and_end_at_the_hash_or_the_longest_length(pressed: str) -> None:
    burst, bursts = Burst(), []
    for digit in pressed:
        if burst.press(digit):
            bursts.append(burst.take())
    assert "".join(bursts) + burst.take() == pressed
    assert all(it.endswith("#") or len(it) == MAX_KEYS for it in bursts)
    assert all("#" not in it[:-1] for it in bursts)


def test_a_burst_that_nobody_takes_stays_bounded() -> None:
    burst = Burst()
    for _ in range(1000):
        burst.press("1")
    assert burst.take() == "1" * MAX_KEYS
    assert burst.take() == ""


@pytest.mark.parametrize(
    ("digits", "keys"),
    [
        ("1234#", "1234#"),
        ("*ww7,0", "*ww7,0"),
        ("a-d 1.2", "AD12"),
        ("1W2", "1w2"),
        (42, "42"),
        ("(555) 0100", "5550100"),
    ],
)
def test_keys_are_read_as_a_model_may_write_them(digits: object, keys: str) -> None:
    assert read_keys({"digits": digits, "more": 1}) == keys


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "missing"),
        ({"digits": None}, "missing"),
        ({"digits": True}, "missing"),
        ({"digits": ["1"]}, "missing"),
        ({"digits": ""}, "1 to 32"),
        ({"digits": "one"}, "without words"),
        ({"digits": "E"}, "1 to 32"),
        ({"digits": "-"}, "1 to 32"),
        ({"digits": "1" * 33}, "1 to 32"),
        ({"digits": "١٢"}, "1 to 32"),
    ],
)
def test_other_parameters_are_refused_with_what_to_do_instead(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_keys(parameters)
    assert str(caught.value).startswith("No key was pressed")


@given(st.one_of(st.text(), st.text(DIGITS + PAUSES + " -w"), st.integers(), st.none(), st.floats()))
def test_whatever_is_asked_for_only_keys_and_pauses_are_pressed(digits: object) -> None:
    try:
        keys = read_keys({"digits": digits})
    except ValueError:
        return
    assert 1 <= len(keys) <= MAX_KEYS
    assert set(keys) <= set(DIGITS + PAUSES)


def info(body: str, content_type: str = "application/dtmf-relay", *, method: str = "INFO") -> str:
    return f"{method} sip:a@b SIP/2.0\r\nContent-Type: {content_type}\r\nContent-Length: 9\r\n\r\n{body}"


@pytest.mark.parametrize(
    ("request_", "digit"),
    [
        (info("Signal=5\r\nDuration=160\r\n"), "5"),
        (info("Signal= #\r\nDuration= 160"), "#"),
        (info("Duration=160\r\nSignal=*\r\n"), "*"),
        (info("Signal=10\r\nDuration=160"), "*"),
        (info("signal=d", "Application/DTMF-Relay;charset=utf-8"), "D"),
        (info("7", "application/dtmf"), "7"),
        (info("11\r\n", "application/dtmf"), "#"),
        (info("Signal=16"), None),
        (info("Signal=55"), None),
        (info(""), None),
        (info("5", "text/plain"), None),
        (info("5", "application/dtmf-relay-x"), None),
        (info("5", "application/dtmf", method="MESSAGE"), None),
        ("", None),
    ],
)
def test_an_infos_key_is_read_in_the_formats_that_are_in_use(request_: str, digit: str | None) -> None:
    assert info_digit(request_) == digit


@given(st.text())
def test_no_body_makes_reading_an_info_fail(body: str) -> None:
    assert info_digit(info(body)) in (None, *DIGITS)


class FarEnd:
    """What reaches ``ReceivedKeys`` of a far end's packets, as PJMEDIA sees them: repeated ends are left out."""

    def __init__(self) -> None:
        self._keys = ReceivedKeys()
        self._last: tuple[str, float, bool] = ("", 0, False)
        self.now_s = 0.0
        self.pressed = ""

    def packet(self, digit: str, at_ms: float, duration_ms: float, *, end: bool = False) -> None:
        self.now_s += 0.02
        last_digit, last_duration_ms, last_end = self._last
        longer = digit == last_digit and duration_ms >= last_duration_ms
        self._last = (digit, duration_ms, end)
        if longer and end and last_end:
            return
        if self._keys.event(digit, at_ms=at_ms, duration_ms=duration_ms, longer=longer, end=end, now_s=self.now_s):
            self.pressed += digit

    def key(
        self,
        digit: str,
        at_ms: float,
        *,
        moves_ms: float = 0,
        durations: Sequence[int] = (20, 40, 60, 80, 100, 100, 100, 100),
        ends: int = 3,
        lose: Container[int] = (),
    ) -> None:
        """Eight packets, of which the last ``ends`` have the end bit; the timestamp moves between each two."""
        for index, duration_ms in enumerate(durations):
            if index not in lose:
                self.packet(digit, at_ms + index * moves_ms, duration_ms, end=index >= len(durations) - ends)

    def info(self, digit: str) -> None:
        self.now_s += 0.02
        if self._keys.info(digit, now_s=self.now_s):
            self.pressed += digit


@pytest.mark.parametrize("lose", [(), (0,), (0, 1, 2), (5, 6, 7), (3, 4), (1, 2, 3, 4, 5, 6, 7)])
@pytest.mark.parametrize("apart_ms", [150, 1000])
def test_equal_keys_are_as_many_as_were_pressed_whatever_is_lost(lose: tuple[int, ...], apart_ms: int) -> None:
    far_end = FarEnd()
    for number in range(4):
        far_end.key("1", 100 + apart_ms * number, lose=lose if number % 2 else ())
    assert far_end.pressed == "1111"


@pytest.mark.parametrize("ends", [0, 1, 3])
@pytest.mark.parametrize("durations", [(0,) * 8, (20, 40, 60, 80, 100, 120, 140, 160)])
def test_end_bits_and_durations_may_be_missing(ends: int, durations: tuple[int, ...]) -> None:
    far_end = FarEnd()
    for number, digit in enumerate("1122"):
        far_end.key(digit, 1000 * number, ends=ends, durations=durations)
    assert far_end.pressed == "1122"


@pytest.mark.parametrize("ends", [0, 1, 3])
def test_a_timestamp_that_moves_within_a_key_makes_no_second_key(ends: int) -> None:
    far_end = FarEnd()
    for number, digit in enumerate("1122"):
        far_end.key(digit, 1000 * number, moves_ms=20, ends=ends)
    assert far_end.pressed == "1122"


def test_keys_that_share_one_timestamp_are_told_apart_by_their_ends() -> None:
    far_end = FarEnd()
    for digit in "1122":
        far_end.key(digit, 5000)
    assert far_end.pressed == "1122"


def test_end_packets_with_another_timestamp_or_a_shorter_duration_belong_to_their_key() -> None:
    far_end = FarEnd()
    far_end.key("1", 1000, ends=0)
    far_end.packet("1", 1100, 100, end=True)
    far_end.packet("1", 1100, 80, end=True)
    far_end.key("2", 2000, ends=0)
    far_end.packet("2", 2000, 0, end=True)
    assert far_end.pressed == "12"


@pytest.mark.parametrize("lost", [0, 3])
@pytest.mark.parametrize("rounded", [True, False])
def test_a_key_that_is_held_for_longer_than_a_duration_can_say_is_one_key(lost: int, rounded: bool) -> None:
    far_end = FarEnd()
    segment_ms = 8191 if rounded else 65_535 / 8
    for segment in range(3):
        durations = range(50, 8192, 50)
        for duration_ms in [*durations[: len(durations) - lost], *([] if lost else [segment_ms])]:
            far_end.packet("1", 1000 + segment * segment_ms, duration_ms)
    far_end.packet("1", 1000 + 3 * segment_ms, 100, end=True)
    far_end.key("1", 30_000)
    far_end.key("2", 31_000)
    assert far_end.pressed == "112"


def test_the_timestamp_may_begin_at_0_again_within_a_key() -> None:
    far_end = FarEnd()
    far_end.key("1", 2**32 / 8 - 60, ends=0, durations=(20, 40, 60))
    far_end.key("1", 0, durations=(80, 100, 100))
    far_end.key("1", 200)
    assert far_end.pressed == "11"


def test_a_key_that_comes_by_event_and_by_info_is_one_key_in_either_order() -> None:
    event_first, info_first, late = FarEnd(), FarEnd(), FarEnd()
    for number, digit in enumerate("1122"):
        event_first.key(digit, 1000 * number)
        event_first.info(digit)
        info_first.info(digit)
        info_first.key(digit, 1000 * number)
    for number in range(3):
        late.key("5", 1000 * number)
    for _ in range(3):
        late.info("5")
    assert (event_first.pressed, info_first.pressed, late.pressed) == ("1122", "1122", "555")


def test_infos_alone_and_those_long_after_an_event_are_keys() -> None:
    far_end = FarEnd()
    for digit in "1122":
        far_end.info(digit)
    far_end.key("3", 1000)
    far_end.now_s += 2
    far_end.info("3")
    assert far_end.pressed == "112233"


def test_the_info_of_a_key_that_is_held_long_may_come_at_its_end() -> None:
    far_end = FarEnd()
    for duration_ms in range(20, 4000, 20):
        far_end.packet("1", 1000, duration_ms)
    far_end.info("1")
    assert far_end.pressed == "1"
