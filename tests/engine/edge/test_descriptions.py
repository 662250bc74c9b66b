"""A far end's session description on its way to PJSIP: names resolved, streams in our order, faults as clauses."""

from __future__ import annotations

import pytest

from engine.edge.descriptions import Descriptions
from engine.messages.commands import TrunkAccount
from engine.sip.message import Header, Response
from tests.engine.samples import trunk

TRUNK = trunk(name="carrier").account
AUDIO = "m=audio 4000 RTP/AVP 0\r\n"
SDP = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 media.example\r\nt=0 0\r\n{AUDIO}"
LITERAL = SDP.replace("media.example", "192.0.2.9")


class Rig:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.known = {"media.example": "192.0.2.7"}
        self.at_s = 0.0
        self.descriptions = Descriptions(self._address_of, lambda: self.at_s)

    async def _address_of(self, name: str, trunk: TrunkAccount) -> str | None:
        self.asked.append(name)
        return self.known.get(name)


def answer(sdp: str) -> Response:
    headers = (Header("Content-Type", "application/sdp"),) if sdp else ()
    return Response(200, "OK", headers=headers, body=sdp.encode())


async def test_a_name_is_resolved_before_the_description_is_used_and_kept_for_a_minute() -> None:
    rig = Rig()
    assert rig.descriptions.name_in(answer(SDP)) == "media.example"
    await rig.descriptions.resolve("media.example", TRUNK)
    assert rig.descriptions.name_in(answer(SDP)) is None
    body, unusable = rig.descriptions.of_answer(answer(SDP), b"")
    assert (b"c=IN IP4 192.0.2.7" in body, unusable) == (True, "")
    rig.at_s = 61
    assert rig.descriptions.name_in(answer(SDP)) == "media.example"


async def test_a_name_without_an_address_makes_the_description_unusable_and_is_not_asked_for_again_at_once() -> None:
    rig = Rig()
    sdp = SDP.replace("media", "nosuch")
    await rig.descriptions.resolve("nosuch.example", TRUNK)
    assert rig.descriptions.name_in(answer(sdp)) is None
    body, unusable = rig.descriptions.of_answer(answer(sdp), b"")
    assert (body, "not resolved" in unusable) == (b"", True)


@pytest.mark.parametrize("sdp", [LITERAL, "", "nonsense"])
def test_an_address_or_no_description_at_all_needs_no_name(sdp: str) -> None:
    assert Rig().descriptions.name_in(answer(sdp)) is None


@pytest.mark.parametrize(
    ("sdp", "why"),
    [
        (LITERAL, ""),
        ("", "it has no session description"),
        ("v=0\r\n", "no m= line"),
        (LITERAL.replace("m=audio", "m=video"), "it has no audio"),
        (LITERAL.replace("audio 4000", "audio 0"), "refused"),
        (LITERAL.replace("AVP 0", "AVP 18"), ""),  # PJSIP says that: not acceptable
    ],
)
def test_an_answer_that_cannot_be_used_says_why(sdp: str, why: str) -> None:
    _, unusable = Rig().descriptions.of_answer(answer(sdp), b"")
    assert why in unusable if why else not unusable


def test_an_answer_has_the_streams_of_our_offer_in_their_order() -> None:
    answered = LITERAL.replace(AUDIO, f"m=video 0 RTP/AVP 31\r\n{AUDIO}")
    body, unusable = Rig().descriptions.of_answer(answer(answered), LITERAL.encode())
    assert [line for line in body.split(b"\r\n") if line.startswith(b"m=")] == [b"m=audio 4000 RTP/AVP 0"]
    assert not unusable
