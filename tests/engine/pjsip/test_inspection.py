"""Which requests PJSIP gets to see, and what the others are answered, by table."""

from __future__ import annotations

import time

import pytest

from engine.pjsip.clock import TICK_S
from engine.pjsip.inspection import Budget, answer_to

OURS = "To: <sip:us@here>;tag=ours"
NOBODYS = "To: <sip:us@here>"


def answered(method: str, *headers: str, body: str = "", takes_calls: bool = False) -> int | None:
    """The status at once, None when it is PJSIP's to answer; the only dialog is with the tags ours and theirs."""
    lines = [f"{method} sip:us@here SIP/2.0", "Call-ID: call", "f: <sip:far@there>;tag=theirs", *headers]
    answer = answer_to(
        "\r\n".join([*lines, "", body]).encode(),
        takes_calls=takes_calls,
        in_dialog=lambda *names: names == ("call", "ours", "theirs"),
    )
    return answer[0] if answer else None


@pytest.mark.parametrize("method", ["REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH", "REGISTER", "FOO", "invite"])
@pytest.mark.parametrize("to", [OURS, NOBODYS])
def test_a_method_that_is_not_spoken_is_405(method: str, to: str) -> None:
    assert answered(method, to) == 405


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("INVITE", [OURS], None),
        ("INVITE", ["t : <sip:us@here>\r\n ;\r\n\ttag = ours"], None),
        ("INVITE", [NOBODYS], 403),
        ("INVITE", [OURS, "rePLAces : call;to-tag=ours;from-tag=theirs"], 403),
        ("INVITE", [NOBODYS, "Require: join"], 420),
        ("UPDATE", [OURS, "Require: 100REL, timer"], None),
        ("UPDATE", [OURS, "Require: timer", "require: gruu"], 420),
        ("BYE", [OURS, "Require: foo"], 420),
        ("ACK", [OURS, "Require: foo"], None),
        ("CANCEL", [NOBODYS, "Require: foo"], None),
        ("BYE", ["To: <sip:us@here>;tag=gone"], None),
        ("OPTIONS", [OURS], 200),
        ("OPTIONS", [NOBODYS], 200),
        ("OPTIONS", ["To: <sip:us@here>;tag=gone"], 481),
        ("INFO", [OURS], 200),
        ("INFO", [NOBODYS], 481),
    ],
)
def test_a_request_is_refused_or_left_to_pjsip(method: str, headers: list[str], status: int | None) -> None:
    assert answered(method, *headers) == status


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/dtmf-relay", "Signal=5", None),
        ("application/dtmf", "5", None),
        ("application/dtmf-relay", "Signal=flash", 400),
        ("application/media_control+xml", "<x/>", 415),
    ],
)
def test_an_info_without_a_key_is_refused(content_type: str, body: str, status: int | None) -> None:
    assert answered("INFO", OURS, f"c: {content_type}", body=body) == status


def test_a_stack_that_takes_calls_gets_them() -> None:
    assert answered("INVITE", NOBODYS, takes_calls=True) is None


def test_a_flood_is_dropped_beyond_a_few_requests_a_tick_and_each_tick_counts_from_zero() -> None:
    budget = Budget()
    taken = [budget.spend(5.0 + number * TICK_S / 1000) for number in range(100)]
    assert taken == [True] * Budget.MOST + [False] * (100 - Budget.MOST)
    assert budget.spend(5.0 + TICK_S)


@pytest.mark.parametrize("name", ["X", "To", "Subject", "Require", "Call-ID"])
@pytest.mark.parametrize("run", [" ", "\t", ",", ";tag", "\r\n "])
def test_a_field_of_blanks_takes_a_strangers_request_no_longer_than_its_length(name: str, run: str) -> None:
    def seconds(size: int) -> float:
        field = f"{name}: a{run * (size // len(run))}b"
        best = float("inf")
        for _ in range(3):
            before = time.process_time()
            answered("OPTIONS", field)
            best = min(best, time.process_time() - before)
        return best

    assert seconds(7000) < 24 * seconds(875) + 0.002  # quadratic time would be 64 times as long, and 3 s


@pytest.mark.parametrize("method", ["OPTIONS", "INVITE", "BYE", "INFO"])
def test_a_request_that_cannot_be_read_is_400_and_an_ack_is_never_answered(method: str) -> None:
    assert answered(method, OURS, NOBODYS) == 400
    assert answered("ACK", OURS, NOBODYS) is None


def test_a_tag_inside_a_display_name_is_no_tag() -> None:
    assert answered("INVITE", 'To: ";tag=ours" <sip:us@here>') == 403
    assert answered("OPTIONS", 'To: ";tag=gone" <sip:us@here>;tag=ours') == 200
