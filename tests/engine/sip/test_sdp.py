"""Session descriptions: made what one trunk speaks, read as far ends write them, written as PJSIP is given them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.sdp import (
    SessionDescription,
    Unreadable,
    clean,
    has_codec,
    has_plain_audio,
    offer_events_as_101,
    read,
    with_codecs,
)
from tests.engine.sip.growth import grows_linearly


def offer(event: int, formats: str) -> str:
    return (
        f"v=0\r\nm=audio 120 RTP/AVP {formats}\r\na=rtpmap:0 PCMU/8000\r\n"
        f"a=rtpmap:{event} telephone-event/8000\r\na=fmtp:{event} 0-16\r\na=ssrc:120 cname:x\r\n"
    )


def test_the_offers_telephone_event_is_101_and_nothing_else_changes() -> None:
    assert offer_events_as_101(offer(120, "0 8 120")) == offer(101, "0 8 101")
    assert offer_events_as_101(offer(96, "96 0")) == offer(101, "101 0")
    assert offer_events_as_101(offer(101, "0 101")) == offer(101, "0 101")


@pytest.mark.parametrize(
    "sdp", ["", "v=0\r\nm=audio 4000 RTP/AVP 0\r\n", offer(120, "0 101 120") + "a=rtpmap:101 opus/48000/2\r\n"]
)
def test_an_offer_without_events_or_with_another_101_is_left_alone(sdp: str) -> None:
    assert offer_events_as_101(sdp) == sdp


WRITTEN = (
    "v=0\r\nm=audio 4000 RTP/AVP 0 8 9 120\r\na=sendrecv\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:9 G722/8000\r\na=rtpmap:120 telephone-event/8000\r\na=fmtp:120 0-16\r\na=ssrc:1 cname:a\r\n"
)


def test_a_trunks_codecs_are_left_in_its_order_and_nothing_else_changes() -> None:
    assert with_codecs(WRITTEN, ("PCMU", "PCMA", "G722")) == WRITTEN
    assert with_codecs(WRITTEN, ("G722", "PCMU")) == WRITTEN.replace("AVP 0 8 9 120", "AVP 9 0 120").replace(
        "a=rtpmap:8 PCMA/8000\r\n", ""
    )


@pytest.mark.parametrize(
    ("media", "has"),
    [
        ("m=audio 4000 RTP/AVP 18 8\r\n", True),
        ("m=audio 4000 RTP/AVP 98\r\na=rtpmap:98 pcma/8000\r\n", True),
        ("m=audio 0 RTP/AVP 8\r\n", False),
        ("m=audio 4000 RTP/AVP 18 0 101\r\na=rtpmap:101 telephone-event/8000\r\n", False),
        ("m=image 4000 udptl t38\r\n", False),
    ],
)
def test_an_offer_can_be_answered_when_it_has_audio_in_a_codec_of_the_trunk(media: str, has: bool) -> None:
    assert has_codec(f"v=0\r\n{media}", ("PCMA", "G722")) is has


def read_audio(*lines: str, above: str = "c=IN IP4 192.0.2.1", ending: str = "\r\n") -> SessionDescription:
    return read(ending.join(["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", above, "t=0 0", *lines, ""]).encode())


def cleaned(*lines: str, above: str = "c=IN IP4 192.0.2.1", **keys: Any) -> list[str]:
    return clean(read_audio(*lines, above=above), **keys).decode().split("\r\n")


PLAIN = ("m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16")


def test_pjsip_is_given_canonical_lines_of_what_it_acts_upon_and_no_others() -> None:
    assert cleaned(
        "m=AUDIO 4000/1 rtp/avp 18 8 96 0 13 101",
        "i=a title",
        "b=AS:64",
        "c=IN IP4 192.0.2.7/127",
        "a=RTPMAP:8 pcma/8000/1",
        "a=rtpmap:18 G729/8000",
        "a=fmtp:18 annexb=no",
        "a=rtpmap:96 opus/48000/2",
        "a=rtpmap:101 Telephone-Event/8000",
        "a=ptime:20.0",
        "a=maxptime:150",
        "a=rtcp:4001 IN IP4 192.0.2.7",
        "a=candidate:1 1 UDP 1 192.0.2.7 4000 typ host",
        "a=rtcp-mux",
        "a=mid:0",
        "a=ssrc:1 cname:x",
        above="x=unknown",
    ) == [
        "v=0",
        "o=- 1 1 IN IP4 192.0.2.7",
        "s=-",
        "c=IN IP4 192.0.2.7",
        "t=0 0",
        "m=audio 4000 RTP/AVP 8 0 13 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:13 CN/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=maxptime:60",
        "a=sendrecv",
        "a=rtcp:4001 IN IP4 192.0.2.7",
        "",
    ]


LENIENT = {
    "LF alone": "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 0\n",
    "empty s=": "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n",
    "no s=, no t=": "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n",
    "no o=": "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n",
    "blanks in the user": "v=0\r\no=A B C 1 1 IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n",
    "b= before c=": "v=0\r\nb=AS:80\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0",
    "c= below m=": "v=0\r\nm=audio 4000 RTP/AVP 0\r\nb=AS:80\r\nc=IN IP4 192.0.2.1\r\n",
    "unknown and broken lines": "v=0\r\nX\r\nfoo=1\r\n=\r\nc=IN IP4 192.0.2.1\r\nq=?\r\nm=audio 4000 RTP/AVP 0\r\n",
    "80 attributes": "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n" + "a=foo:bar\r\n" * 80,
    "ICE and mux": "v=0\r\nc=IN IP4 192.0.2.1\r\na=ice-ufrag:x\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp-mux\r\na=mid:0\r\n",
    "no UTF-8": "v=0\r\ns=\udcff\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n",
    "video behind": "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\nm=video 5000 RTP/AVP 31\r\n",
    "video before": "v=0\r\nc=IN IP4 192.0.2.1\r\nm=video 0 RTP/AVP 31\r\nm=audio 4000 RTP/AVP 0\r\n",
    "image before": "v=0\r\nc=IN IP4 192.0.2.1\r\nm=image 0 udptl t38\r\nm=audio 4000 RTP/AVP 0\r\n",
    "blanks": "v=0\r\nc= IN  IP4 192.0.2.1 \r\nm=audio  4000  RTP/AVP  0 \r\na=rtpmap:0  pcmu/8000 \r\n",
}


@pytest.mark.parametrize("text", LENIENT.values(), ids=LENIENT)
def test_an_answer_that_is_written_oddly_is_read_as_it_is_meant(text: str) -> None:
    description = read(text.encode("utf-8", "surrogateescape"))
    assert description.without_audio is None
    assert clean(description, offered=["audio"]).decode().split("\r\n")[3:] == [
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 4000 RTP/AVP 0",
        "a=rtpmap:0 PCMU/8000",
        "a=sendrecv",
        "",
    ]


@pytest.mark.parametrize(
    ("lines", "codecs", "event"),
    [
        (PLAIN, ("PCMU", "PCMA"), 101),
        (("m=audio 4000 RTP/AVP 9 0 8 0",), ("G722", "PCMU", "PCMA"), None),
        (("m=audio 4000 RTP/AVPF 97 0", "a=rtpmap:97 g722/16000"), ("G722", "PCMU"), None),
        (("m=audio 4000 RTP/AVP 0 96", "a=rtpmap:0 opus/48000/2", "a=rtpmap:96 PCMU/16000"), (), None),
        (("m=audio 4000 RTP/AVP 8 0", "a=rtpmap:8 PCMA/8000/2"), ("PCMU",), None),
        (
            (
                "m=audio 4000 RTP/AVP 9 96 97",
                "a=rtpmap:96 telephone-event/16000",
                "a=rtpmap:97 telephone-event/8000",
            ),
            ("G722",),
            97,
        ),
        (("m=audio 4000 RTP/AVP 9 96", "a=rtpmap:96 telephone-event/16000"), ("G722",), 96),
        (("m=audio 0 RTP/AVP 0", "m=audio 4000 RTP/AVP 8"), ("PCMA",), None),
        (("m=audio 70000 RTP/AVP 0",), (), None),
        (("m=audio 4000 RTP/AVP 999 -1 0x0",), (), None),
        (("m=audio",), (), None),
        (("m=audio 4000 UDP/TLS/RTP/SAVPF 0",), (), None),
    ],
)
def test_the_codecs_of_an_answer_are_known_in_its_order(
    lines: tuple[str, ...], codecs: tuple[str, ...], event: int | None
) -> None:
    description = read_audio(*lines)
    assert (description.codecs, description.telephone_event_type) == (codecs, event)
    assert (description.without_audio is None) is bool(codecs)


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ("ptime:20", ["ptime:20"]),
        ("ptime:5", ["ptime:10"]),
        ("ptime:25", ["ptime:20"]),
        ("ptime:200", ["ptime:60"]),
        ("ptime:99999999999999999999", []),
        ("ptime:0", []),
        ("ptime:-20", []),
        ("ptime", []),
        ("maxptime:300", ["maxptime:60"]),
        ("ptime:30\r\na=maxptime:20", ["ptime:20", "maxptime:20"]),
    ],
)
def test_packet_times_are_those_that_pjmedia_can_send(written: str, given: list[str]) -> None:
    lines = cleaned("m=audio 4000 RTP/AVP 9", f"a={written}")
    assert [line[2:] for line in lines if "ptime" in line] == given


@pytest.mark.parametrize(
    ("connection", "direction", "given"),
    [
        ("IN IP4 192.0.2.9", "recvonly", ("IN IP4 192.0.2.9", "recvonly")),
        ("IN IP4 0.0.0.0", "sendrecv", ("IN IP4 0.0.0.0", "sendonly")),
        ("IN IP4 0.0.0.0", "recvonly", ("IN IP4 0.0.0.0", "inactive")),
        ("IN IP4 224.2.1.1/127", "sendrecv", ("IN IP4 0.0.0.0", "sendonly")),
        ("IN IP4 255.255.255.255", "sendrecv", ("IN IP4 0.0.0.0", "sendonly")),
        ("IN IP6 2001:DB8:0:0::1", "sendrecv", ("IN IP6 2001:db8::1", "sendrecv")),
        ("IN IP6 ::", "sendrecv", ("IN IP4 0.0.0.0", "sendonly")),
        ("IN IP6 FF15::101/3", "inactive", ("IN IP4 0.0.0.0", "inactive")),
    ],
)
def test_a_far_end_without_its_own_address_is_sent_nothing(
    connection: str, direction: str, given: tuple[str, str]
) -> None:
    lines = cleaned("m=audio 4000 RTP/AVP 0", f"a={direction}", above=f"c={connection}")
    assert (lines[3], lines[-2]) == (f"c={given[0]}", f"a={given[1]}")


def test_a_host_name_is_kept_for_the_caller_to_resolve() -> None:
    description = read_audio("m=audio 4000 RTP/AVP 0", above="c=IN IP4 Media.Example.com")
    assert description.host_to_resolve == "media.example.com"
    with pytest.raises(Unreadable, match="not resolved"):
        clean(description)
    with pytest.raises(ValueError, match="does not appear to be"):
        description.with_address("media.example.com")
    found = description.with_address("192.0.2.5")
    assert found.host_to_resolve is None
    assert b"c=IN IP4 192.0.2.5\r\n" in clean(found)


@pytest.mark.parametrize("host", ["0x7f.1", "1.2.3", "a" * 254, "a b", "192.0.2.256", "x\0y", "fe80::1%eth0", ""])
def test_what_is_neither_an_address_nor_a_name_is_no_address(host: str) -> None:
    description = read_audio("m=audio 4000 RTP/AVP 0", above=f"c=IN IP4 {host}")
    assert (description.host_to_resolve, description.without_audio) in [
        (None, "its audio has no address"),
        ("a", None),  # of a name with a blank the first word
    ]


@pytest.mark.parametrize(
    ("numbers", "given"),
    [
        ("1 2", (1, 2)),
        ("20261129120000 20261129120001", None),
        ("18446744073709551615 18446744073709551616", None),
        ("abc abd", None),
    ],
)
def test_the_numbers_of_an_origin_are_short_and_a_new_version_shows(
    numbers: str, given: tuple[int, int] | None
) -> None:
    origin = read(f"v=0\r\no=- {numbers} IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n".encode()).origin
    assert max(origin.session, origin.version) < 2**31
    assert origin.session != origin.version
    assert given in (None, (origin.session, origin.version))


def test_an_offer_keeps_all_its_streams_in_order_and_one_audio_of_them_is_used() -> None:
    lines = cleaned(
        "m=image 5000 udptl t38",
        "m=audio 5002 RTP/AVP 18",
        "m=audio 4000 RTP/AVP 0",
        "m=video 5004 RTP/AVP 31 96",
        "m=<x> 5006 \N{SNOWMAN} 0",
        "m=audio 5008 RTP/AVP 8",
    )
    assert [line for line in lines if line.startswith("m=")] == [
        "m=image 0 udptl t38",
        "m=audio 0 RTP/AVP 18",
        "m=audio 4000 RTP/AVP 0",
        "m=video 0 RTP/AVP 31 96",
        "m=application 0 RTP/AVP 0",
        "m=audio 0 RTP/AVP 8",
    ]


def test_an_answer_has_the_streams_of_our_offer() -> None:
    streams = ("m=video 5004 RTP/AVP 31", "m=audio 4000 RTP/AVP 0", "m=image 0 udptl t38")
    for offered, kept in (
        (["audio"], ["audio 4000"]),
        (["audio", "video"], ["audio 4000", "video 0"]),
        (["application", "audio"], ["application 0", "audio 4000"]),
    ):
        lines = cleaned(*streams, offered=offered)
        assert [line[2:].split(" RTP")[0] for line in lines if line.startswith("m=")] == kept


@pytest.mark.parametrize(
    ("crypto", "kept"),
    [
        ("1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4", True),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGw", True),
        ("1 AES_CM_128_HMAC_SHA1_80", False),
        ("one AES_CM_128_HMAC_SHA1_80 inline:WVNf", False),
        ("1 AES(CM) inline:WVNf", False),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:" + "W" * 300, False),
        ("1 AES_CM_128_HMAC_SHA1_80 uri:x", False),
    ],
)
def test_a_key_is_handed_on_when_it_is_one(crypto: str, kept: bool) -> None:
    lines = cleaned("m=audio 4000 RTP/SAVP 0", f"a=crypto:{crypto}")
    assert lines[5] == "m=audio 4000 RTP/SAVP 0"
    assert [line for line in lines if "crypto" in line] == ([f"a=crypto:{crypto}"] if kept else [])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no m= line"),
        (b"\x01\x00\x02", "no m= line"),
        (b"v=0\r\ns=-\r\n", "no m= line"),
        (b"m=audio 1 RTP/AVP 0\n" * 17, "more than 16 media"),
        (b"\n" * 513, "more than 512 lines"),
        (b"x" * 65_537, "longer than 65536 bytes"),
    ],
)
def test_what_is_no_description_is_unreadable_and_a_sentence_says_why(body: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read(body)


PIECES = st.sampled_from(
    [
        *(
            line.encode()
            for text in LENIENT.values()
            for line in text.encode("utf-8", "replace").decode().split("\r\n")
        ),
        *(line.encode() for line in PLAIN),
        b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNf|2^20",
        b"a=rtcp:1 IN IP4 192.0.2.1",
        b"c=IN IP6 ::",
        b"a=ptime:200",
    ]
)
_SAFE = frozenset(range(0x20, 0x7F)) | {10, 13}


@given(st.lists(PIECES | st.binary(max_size=40)), st.booleans())
def test_whatever_is_read_pjsip_is_given_nothing_but_ascii_and_known_lines(pieces: list[bytes], answer: bool) -> None:
    try:
        description = read(b"\r\n".join(pieces))
        text = clean(description, offered=["audio"] if answer else None)
    except Unreadable:
        return
    assert _SAFE.issuperset(text)
    lines = text.decode().split("\r\n")
    assert [line[:2] for line in lines[:5]] == ["v=", "o=", "s=", "c=", "t="]
    known = (
        "rtpmap:",
        "fmtp:",
        "ptime:",
        "maxptime:",
        "sendrecv",
        "sendonly",
        "recvonly",
        "inactive",
        "rtcp:",
        "crypto:",
    )
    assert all(line.startswith("m=") or line[2:].startswith(known) for line in lines[5:-1])
    assert read(text).codecs == description.codecs
    streams = sum(line.startswith("m=") for line in lines)
    assert streams == (1 if answer else len(description.sections))


LONG = {
    "blanks": lambda size: "m=audio 4000 RTP/AVP 0" + " " * size,
    "formats": lambda size: "m=audio 4000 RTP/AVP" + " 0" * (size // 2),
    "payload types": lambda size: "m=audio 4000 RTP/AVP " + " ".join(str(one) for one in range(size // 6)),
    "digits": lambda size: f"o=- {'1' * size} 1 IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0",
    "colons": lambda size: "m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU" + "/" * size,
    "one character": lambda size: "a" * size,
    "equals": lambda size: "=" * size,
    "attributes": lambda size: "m=audio 4000 RTP/AVP 0 101" + ("\r\na=rtpmap:101 x/" + "8" * (size // 400)) * 400,
    "an address": lambda size: "c=IN IP4 " + "1." * (size // 2) + "\r\nm=audio 4000 RTP/AVP 0",
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_the_time_grows_with_the_text_and_no_faster(text: Callable[[int], str]) -> None:
    def both_ways(size: int) -> None:
        written = text(size)
        has_codec(written, ("PCMU",))
        offer_events_as_101(with_codecs(written, ("PCMU",)))
        try:
            clean(read(written.encode()))
        except Unreadable:
            return

    assert grows_linearly(both_ways)


@pytest.mark.parametrize(
    ("media", "plain"),
    [
        ("m=audio 4000 RTP/AVP 0\r\n", True),
        ("m=audio 4000 RTP/AVPF 0\r\n", True),
        ("m=audio 4000 RTP/SAVP 0\r\n", False),
        ("m=video 4000 RTP/AVP 96\r\n", False),
        ("m=audio\r\nm=audio 4000\r\n", False),
    ],
)
def test_audio_without_encryption_is_known_by_its_profile(media: str, plain: bool) -> None:
    assert has_plain_audio(f"v=0\r\n{media}".encode()) is plain
