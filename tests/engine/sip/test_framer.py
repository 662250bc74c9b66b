"""Messages on a stream, however its bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.framer import HEAD_MAX, Framer
from engine.sip.message import MESSAGE_MAX
from engine.sip.syntax import Malformed

FIRST = b"INVITE sip:a SIP/2.0\r\nTo: <sip:a>\r\nContent-Length: 4\r\n\r\nv=0\n"
SECOND = b"SIP/2.0 200 OK\nl :\n 2\n\n\r\n"
THIRD = b"BYE sip:a SIP/2.0\r\nContent-Length: 0\r\nX: a\r\n\r\n"


@given(st.lists(st.integers(0, 400)))
def test_messages_are_found_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"\r\n" + FIRST + SECOND + b"\r\n\r\n\r\n" + THIRD + FIRST
    framer, found, at = Framer(), list[bytes](), 0
    for cut in [*sorted(cuts), len(stream)]:
        found += framer.feed(stream[at:cut])
        at = max(at, cut)
    assert found == [FIRST, SECOND, THIRD, FIRST]
    assert framer.take_pings() == 1


def test_a_keep_alive_is_two_line_breaks_and_is_counted_once() -> None:
    framer = Framer()
    for part in (b"\r", b"\n\r", b"\n"):
        assert framer.feed(part) == []
    assert (framer.take_pings(), framer.take_pings()) == (1, 0)
    framer.feed(b"\r\n" * 7)
    assert framer.take_pings() == 3
    framer.feed(THIRD + b"\r\n" + THIRD + b"\r\n")
    assert framer.take_pings() == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"OPTIONS sip:a SIP/2.0\r\nTo: a\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: -1\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 1\r\nl: 2\r\n\r\n", 400),
        (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: %d\r\n\r\n" % MESSAGE_MAX, 513),
        (b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"a" * (HEAD_MAX + 1), 513),
        (b"a\r\n" * HEAD_MAX, 513),
    ],
)
def test_a_stream_whose_messages_have_no_end_is_given_up_after_those_that_had_one(data: bytes, status: int) -> None:
    framer = Framer()
    assert framer.feed(THIRD + data) == [THIRD]
    for more in (b"", THIRD):
        with pytest.raises(Malformed) as given_up:
            framer.feed(more)
        assert given_up.value.status == status


def test_the_largest_message_is_taken_and_no_more_than_it_is_held() -> None:
    head = b"A sip:a SIP/2.0\r\nContent-Length: %d\r\n\r\n"
    body = b"a" * (MESSAGE_MAX - len(head % 60000))
    largest = head % len(body) + body
    assert len(largest) == MESSAGE_MAX
    assert Framer().feed(largest * 2) == [largest] * 2
