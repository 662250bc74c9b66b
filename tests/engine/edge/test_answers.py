"""Which requests PJSIP is given, and what the edge answers the others, by table."""

from __future__ import annotations

import contextlib
import time

import pytest

from engine.edge.answers import answer_to
from engine.edge.rewriting import tag_of
from engine.sip.message import Request, read
from engine.sip.syntax import Malformed

OURS = "To: <sip:us@here>;tag=ours"
NOBODYS = "To: <sip:us@here>"


def answered(method: str, *headers: str, body: str = "") -> int | None:
    """The status at once, None when it is PJSIP's to answer; the only dialog is with our tag ``ours``."""
    lines = [f"{method} sip:us@here SIP/2.0", "Call-ID: call", "f: <sip:far@there>;tag=theirs", *headers]
    request = read("\r\n".join([*lines, "", body]).encode())
    assert isinstance(request, Request)
    answer = answer_to(request, in_dialog=tag_of(request.first("To")) == "ours")
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
        ("CANCEL", [OURS, "Require: foo"], None),
        ("CANCEL", [NOBODYS, "Require: foo"], 481),
        ("BYE", ["To: <sip:us@here>;tag=gone"], 481),
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


@pytest.mark.parametrize("name", ["X", "To", "Subject", "Require", "Call-ID"])
@pytest.mark.parametrize("run", [" ", "\t", ",", ";tag", "\r\n "])
def test_a_field_of_blanks_takes_a_strangers_request_no_longer_than_its_length(name: str, run: str) -> None:
    def seconds(size: int) -> float:
        field = f"{name}: a{run * (size // len(run))}b"
        best = float("inf")
        for _ in range(3):
            before = time.process_time()
            with contextlib.suppress(Malformed):
                answered("OPTIONS", field)
            best = min(best, time.process_time() - before)
        return best

    assert seconds(7000) < 24 * seconds(875) + 0.002  # quadratic time would be 64 times as long, and 3 s


def test_a_tag_inside_a_display_name_is_no_tag() -> None:
    assert answered("INVITE", 'To: ";tag=ours" <sip:us@here>') == 403
    assert answered("OPTIONS", 'To: ";tag=gone" <sip:us@here>;tag=ours') == 200
