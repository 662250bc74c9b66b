"""Session descriptions made what one trunk speaks."""

from __future__ import annotations

import pytest

from engine.sip.sdp import has_codec, offer_events_as_101, with_codecs


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
