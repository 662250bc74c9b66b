"""The session description is found in the bodies that far ends send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.body import session_description
from engine.sip.sdp import MAX_BYTES, Unreadable
from tests.engine.sip.growth import grows_linearly

SDP = b"v=0\r\nm=audio 4000 RTP/AVP 0"
ISUP = b"Content-Type: application/ISUP; version=itu-t92+\r\nContent-Disposition: signal\r\n\r\n\x01\x00--\x10\r\n"


def several(*parts: bytes, boundary: bytes = b"b1", newline: bytes = b"\r\n") -> bytes:
    return b"".join(b"--" + boundary + newline + part + newline for part in parts) + b"--" + boundary + b"--" + newline


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/sdp", SDP),
        ("Application/SDP; charset=utf-8", SDP),
        ("", SDP),
        ("multipart/mixed; boundary=b1", several(ISUP, b"Content-Type: application/sdp\r\n\r\n" + SDP)),
        (
            'Multipart/Mixed;charset=x; Boundary="b1"',
            several(b"Content-Type :\r\n Application/SDP\r\n\r\n" + SDP, ISUP),
        ),
        ("multipart/mixed;boundary=b1", several(b"content-type: application/sdp\n\n" + SDP, newline=b"\n")),
        ("multipart/mixed;boundary=b1", b"preamble\r\n" + several(b"\r\n" + SDP)),
        ("multipart/mixed;boundary=b1", several(ISUP, b"Content-Type: application/sdp\r\n\r\n" + SDP)[:-8]),
        (
            "multipart/mixed;boundary=b1",
            several(b"content-type:multipart/related;boundary=in\r\n\r\n" + several(b"\r\n" + SDP, boundary=b"in")),
        ),
    ],
)
def test_the_description_is_found_alone_and_beside_other_parts(content_type: str, body: bytes) -> None:
    found = session_description(content_type, body)
    assert found is not None
    assert found.strip() == SDP


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("", b""),
        ("text/plain", SDP),
        ("application/isup", b"\x01"),
        ("multipart/mixed;boundary=b1", several(ISUP)),
        ("multipart/mixed;boundary=b1", b""),
    ],
)
def test_a_body_without_a_description_has_none(content_type: str, body: bytes) -> None:
    assert session_description(content_type, body) is None


@pytest.mark.parametrize("parameters", ["", ";boundary=", ";boundary=" + "b" * 71, ";boundaries=b1"])
def test_several_parts_without_a_boundary_are_unreadable(parameters: str) -> None:
    with pytest.raises(Unreadable, match="names no boundary"):
        session_description("multipart/mixed" + parameters, several(SDP))


@given(st.text(), st.binary())
def test_no_body_makes_looking_for_a_description_fail(parameters: str, body: bytes) -> None:
    for content_type in (parameters, "multipart/mixed;" + parameters, "multipart/mixed;boundary=-"):
        try:
            session_description(content_type, body)
        except Unreadable:
            continue


@pytest.mark.parametrize("piece", [b"\n", b"-", b"--b", b"\r\n--b\r\n", b"a:", b"\n ", b"Content-Type: x\n", b"--"])
def test_the_time_grows_with_the_body_and_no_faster(piece: bytes) -> None:
    head = b"--b\r\n"
    assert grows_linearly(lambda size: session_description("multipart/mixed;boundary=b", (head + piece * size)[:size]))


def test_a_longer_body_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="longer"):
        session_description("application/sdp", bytes(MAX_BYTES + 1))
