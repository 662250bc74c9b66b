"""Telephone keys as text: bursts, what an agent may press, the SDP's payload type, INFO bodies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.dtmf import DIGITS, MAX_KEYS, PAUSES, Burst, info_digit, read_keys


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
