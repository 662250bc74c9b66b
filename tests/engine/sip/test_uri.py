"""SIP URIs read and written, and what must never become one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.uri import SipUri, name_addr, q850_cause, retry_after_s


@pytest.mark.parametrize(
    "text",
    [
        "sip:carrier.example",
        "sip:carrier.example:5070;transport=udp",
        "sips:+14155550100@carrier.example",
        "sip:127.0.0.1:5060;transport=tcp;lr",
        "sip:[2001:db8::1]:5060",
    ],
)
def test_a_uri_is_written_as_it_was_read(text: str) -> None:
    assert str(SipUri.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "carrier.example",
        "http://carrier.example",
        "sip:",
        "sip:a b",
        "sip:carrier.example\r\nX-Injected: 1",
        "sip:carrier.example>,<sip:premium.example",
        "sip:carrier.example?Subject=x",
        "sip:a@b@c",
        "sip:carrier.example:0",
        "sip:carrier.example:70000",
        "sip:carrier.example;lr\n",
    ],
)
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="expected a SIP URI|is not between"):
        SipUri.parse(text)


@pytest.mark.parametrize("user", ["a b", "a@b", "a\r\nX-Injected: 1", "a>,<sip:premium.example", "50%off", "#31"])
def test_a_user_that_would_have_to_be_escaped_is_refused(user: str) -> None:
    with pytest.raises(ValueError, match="user part"):
        SipUri(host="carrier.example").with_user(user)


def test_an_identity_has_neither_port_nor_transport() -> None:
    uri = SipUri.parse("sip:carrier.example:5070;transport=tcp").identity.with_user("+14155550100")
    assert name_addr(uri) == "<sip:+14155550100@carrier.example>"


@given(st.text())
def test_a_display_name_cannot_leave_its_quotes(name: str) -> None:
    try:
        written = name_addr(SipUri(host="a.example"), name)
    except ValueError:
        return
    assert not name or re.fullmatch(r'"(?:[^"\\\r\n]|\\.)*" <sip:a\.example>', written)


@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        ("sip:a.example", "udp"),
        ("sip:a.example;transport=TLS", "tls"),
        ("sip:a.example;lr;transport=tcp", "tcp"),
    ],
)
def test_a_uri_names_its_transport(uri: str, transport: str) -> None:
    assert SipUri.parse(uri).transport == transport


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        ('Reason: Q.850;cause=17;text="User busy"', 17),
        ('reason : q.850 ;text="a"; cause = 21', 21),
        ('Reason: SIP;cause=200;text="x", Q.850;cause=16', 16),
        ("Reason: SIP;cause=580", None),
        ("X-Reason: Q.850;cause=17", None),
        ("Reason: Q.850;cause=999", None),
    ],
)
def test_the_q850_cause_is_read_from_the_reason_header(header: str, cause: int | None) -> None:
    message = f"SIP/2.0 486 Busy Here\r\n{header}\r\nContent-Length: 0\r\n\r\nReason: Q.850;cause=34\r\n"
    assert q850_cause(message) == cause


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("Retry-After: 30", 30),
        ("retry-after:120;duration=3600", 120),
        ("Retry-After: 18000 (in maintenance)", 18000),
        ("Retry-After: soon", None),
        ("X-Retry-After: 30", None),
    ],
)
def test_the_seconds_are_read_from_the_retry_after_header(header: str, seconds: int | None) -> None:
    message = f"SIP/2.0 503 Service Unavailable\r\n{header}\r\nContent-Length: 0\r\n\r\nRetry-After: 5\r\n"
    assert retry_after_s(message) == seconds
