"""Whatever a far end writes is read or refused, with the declared error, in time that grows with its length only."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.fields import CSeq, NameAddr, Via, expires, min_se, q850_cause, retry_after_s, session_expires
from engine.sip.framer import Framer
from engine.sip.message import Request, read, write
from engine.sip.syntax import Malformed, Params, is_token, number, quoted_end, split_list, unquote
from engine.sip.uri import RemoteUri, SipUri

MESSAGES = (
    b"INVITE sip:+14155550123;npdi@h.example;user=phone SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKa,"
    b'SIP/2.0/TCP [::1]\r\nFrom: "A \\" B" <sip:a@h>;tag=1\r\nTo:\r\n <sip:b@h>\r\nCall-ID: c@d\r\nCSeq: 1 INVITE\r\n'
    b"Contact: <sip:a@192.0.2.1;transport=tcp>;expires=20\r\nRequire: 100rel, timer\r\nl: 5\r\n\r\nv=0\r\n",
    b"SIP/2.0 503 No\r\nVia: SIP/2.0/UDP 192.0.2.1\nf: <sip:a@h>;tag=1\r\nt: <sip:b@h>;tag=2\r\ni: c\r\nCSeq: 1 INVITE"
    b'\r\nReason: SIP;text="a, \\"Q.850;cause=1"\r\nReason: Q.850;cause=17\r\nRetry-After: 5 (a)\r\n'
    b'WWW-Authenticate: Digest realm="a", nonce="b"\r\nSession-Expires: 90;refresher=uac\r\nContent-Length: 0\r\n\r\n',
)
TEXT_READERS: tuple[Callable[[str], object], ...] = (
    *(Via.parse, NameAddr.parse, CSeq.parse, Params.parse, RemoteUri.parse, expires, min_se, session_expires),
    *(retry_after_s, lambda text: q850_cause([text]), split_list, lambda text: quoted_end(f'"{text}'), unquote),
    *(is_token, number),
)
FIELDS = (
    "Via",
    "From",
    "To",
    "Contact",
    "CSeq",
    "Route",
    "Reason",
    "Retry-After",
    "Session-Expires",
    "WWW-Authenticate",
)


def read_all(data: bytes) -> None:
    """Read a message and each of its fields in each way; it reads the same after it was written."""
    for strict in (True, False):
        try:
            message = read(data, strict=strict)
            if isinstance(message, Request):
                message.check()
        except Malformed:
            continue
        written = read(write(message), strict=strict)
        assert written.without("Content-Length") == message.without("Content-Length")
        for name in FIELDS:
            for value in message.all(name):
                read_value(value)


def read_value(value: str) -> None:
    for reader in TEXT_READERS:
        with suppress(Malformed):
            reader(value)


def feed(data: bytes) -> None:
    framer = Framer()
    with suppress(Malformed):
        for start in range(0, len(data), 512):
            framer.feed(data[start : start + 512])


@given(st.binary() | st.text(alphabet='SIP/2.0 \r\n:;,<>"\\@%[]()=1aé\0').map(str.encode))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    read_all(data)
    feed(data)


@given(st.data())
def test_real_messages_with_faults_are_read_or_malformed(data: st.DataObject) -> None:
    message = bytearray(data.draw(st.sampled_from(MESSAGES)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(message)))
        piece = data.draw(st.binary(max_size=3) | st.sampled_from(b'\r\n|"|\\|<|>|,|;|: |\0|\xff|\t'.split(b"|")))
        message[place : place + data.draw(st.integers(0, 8))] = piece * data.draw(st.sampled_from((1, 1, 1, 300)))
    read_all(bytes(message))
    feed(bytes(message))


@given(st.text() | st.text(alphabet=' \t;,<>"\\@%:=[]()/.?123 SIPUDPsipcauseQ850'))
def test_any_value_is_read_or_malformed(value: str) -> None:
    read_value(value)


@given(st.text(alphabet='a;=" \\,<>b', max_size=30))
def test_an_address_that_was_read_is_read_the_same_when_written(text: str) -> None:
    with suppress(Malformed):
        address = NameAddr.parse(f"<sip:a@h>;{text}")
        assert NameAddr.parse(str(address)) == address
    with suppress(Malformed):
        via = Via.parse(f"SIP/2.0/UDP h;{text}")
        assert Via.parse(str(via)) == via


def test_what_is_fuzzed_can_be_read() -> None:
    for message in MESSAGES:
        assert len(read(message).headers) >= 8
        assert Framer().feed(message) == [message]


def seconds(read_text: Callable[[], object]) -> float:
    """Of this process, the best of three."""
    best = float("inf")
    for _ in range(3):
        before = time.process_time()
        with suppress(Malformed, ValueError):
            read_text()
        best = min(best, time.process_time() - before)
    return best


def assert_linear(read_text: Callable[[str], object], text_of: Callable[[int], str]) -> None:
    """Eight times the text takes about eight times as long. Were it quadratic, it would take 64 times as long."""
    short, long = (seconds(lambda size=size: read_text(text_of(size))) for size in (1500, 12_000))  # type: ignore[misc]
    assert long < 24 * short + 0.002


RUNS = (
    *' ,;"\\<>:=@%[](a1.\t',
    '";',
    '",',
    "<>",
    "a,",
    ";a",
    ';a="',
    '\\"',
    "%41",
    "a.",
    "::",
    "Q.850;",
    "()",
    "\r\n ",
)


@pytest.mark.parametrize("run", RUNS)
def test_a_value_takes_time_in_proportion_to_its_length(run: str) -> None:
    for prefix, suffix in (("", ""), ("a", "b"), ("<sip:a@", ">"), ('"', ""), ("SIP/2.0/UDP h;", "x"), ("Q.850;", "=")):

        def text_of(size: int, prefix: str = prefix, suffix: str = suffix) -> str:
            return f"{prefix}{run * (size // len(run))}{suffix}"

        assert_linear(read_value, text_of)
        assert_linear(SipUri.parse, lambda size: f"sip:{text_of(size)}")


@pytest.mark.parametrize(
    "run", [*RUNS, "\n", "\r", "\r\n", "a:\r\n", "\r\n\r", ":\n", "l:0\r\n", "A b SIP/2.0\nl:0\n\n"]
)
def test_a_message_takes_time_in_proportion_to_its_length(run: str) -> None:
    for prefix in (
        "",
        "OPTIONS sip:us@here SIP/2.0\r\nTo: ",
        "SIP/2.0 200 OK\r\nReason: ",
        "SIP/2.0 200 OK\r\nTo: a\r\n",
    ):

        def text_of(size: int, prefix: str = prefix) -> str:
            return f"{prefix}{run * (size // len(run))}x\r\n\r\n"

        assert_linear(lambda text: read_all(text.encode()), text_of)
        assert_linear(lambda text: feed(text.encode()), text_of)


def test_a_message_that_trickles_in_takes_time_in_proportion_to_its_length() -> None:
    def trickle(text: str) -> None:
        framer = Framer()
        for byte in text.encode():
            framer.feed(bytes((byte,)))

    assert_linear(
        trickle, lambda size: f"A b SIP/2.0\r\nl: {size // 2}\r\nX: {'a' * (size // 2)}\r\n\r\n{'b' * (size // 2)}"
    )
