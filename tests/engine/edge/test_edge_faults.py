"""What goes wrong between the edge and a far end: crossings, forks, odd fields, lost connections, restarts."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest

from engine.edge import outgoing, responses
from engine.edge.common import Unreached
from engine.edge.dialogs import Flow
from engine.messages.link import FORGET, KEEP, Link
from engine.sip.message import Request, read
from tests.engine.edge.test_edge import (
    ACK,
    BYE,
    CHALLENGE,
    INVITE,
    SDP,
    FakeFlow,
    Rig,
    _settle,
    _wire,
    as_request,
    as_response,
)
from tests.engine.samples import trunk

CONTACT = "Contact: <sip:phone@carrier.example>"
CANCEL = INVITE.replace("INVITE", "CANCEL").replace("X-Trunkline-Trunk: carrier\n", "")


def far(method: str, tag: str = "far", cseq: int = 7, extra: str = "Max-Forwards: 70", via: str = "rport") -> str:
    return f"""{method} sip:alice@192.0.2.1:5060 SIP/2.0
        Via: SIP/2.0/UDP far.example:5062;{via};branch=z9hG4bK{method}{cseq}
        From: <sip:+4930123@carrier.example>;tag={tag}
        To: <sip:+1415@carrier.example>;tag=ours
        Call-ID: CA1
        CSeq: {cseq} {method}
        {extra}"""


def in_dialog(method: str, cseq: int, tag: str = "far") -> str:
    return (
        BYE.replace("BYE", method)
        .replace("pj3", f"pj{method}{cseq}{tag}")
        .replace("11", str(cseq))
        .replace("tag=far", f"tag={tag}")
    )


async def test_the_bye_of_one_fork_leaves_the_call_of_another() -> None:
    rig = Rig()
    await rig.answered(CONTACT)
    invite = next(one for one in rig.flow.requests if one.method == "INVITE")
    await rig.answer("200 OK", CONTACT, to=";tag=fork", body=SDP, request=invite)
    await rig.pjsip(ACK.replace("pj2", "pj5").replace("tag=far", "tag=fork"))
    await rig.pjsip(in_dialog("BYE", 11, "fork"))
    await rig.answer("200 OK", to="")
    assert all(kind != FORGET for kind, _ in rig.link.sent)
    await rig.network(far("BYE"))
    assert as_request(rig.link.last).method == "BYE"


async def test_a_2xx_without_a_to_tag_is_acknowledged_and_hung_up() -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("200 OK", CONTACT, to="", body=SDP)
    tag = (as_response(rig.link.last).first("To") or "").partition("tag=")[2]
    await rig.pjsip(ACK.replace("tag=far", f"tag={tag}"))
    assert (rig.flow.last.method, rig.flow.last.first("To")) == ("ACK", "<sip:+4930123@carrier.example>")
    await rig.pjsip(BYE.replace("tag=far", f"tag={tag}"))
    assert rig.flow.last.method == "BYE"


async def test_a_ringing_without_a_to_tag_begins_no_dialog_for_pjsip() -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("180 Ringing", to="")
    assert "tag=" not in (as_response(rig.link.last).first("To") or "")


async def test_a_request_sent_again_takes_a_number_that_no_other_has() -> None:
    rig = Rig()
    await rig.answered(CONTACT)
    await rig.pjsip(in_dialog("UPDATE", 11))
    update = rig.flow.last
    await rig.pjsip(in_dialog("INFO", 12))
    await rig.answer("401 Unauthorized", CHALLENGE, to="", request=update)
    await rig.pjsip(in_dialog("BYE", 13))
    numbers = [one.first("CSeq") for one in rig.flow.requests[-4:]]
    assert numbers == ["11 UPDATE", "12 INFO", "13 UPDATE", "14 BYE"]


async def test_what_follows_a_200_in_the_same_moment_reaches_pjsip_behind_it() -> None:
    rig = Rig()
    invite = await rig.invite()
    lines = "\n".join(f"{name}: {invite.first(name)}" for name in ("Via", "From", "Call-ID", "CSeq"))
    accepted = f"SIP/2.0 200 OK\n{lines}\nTo: {invite.first('To')};tag=far\n{CONTACT}\nContent-Type: application/sdp"
    rig.edge.received(rig.flow, _wire(accepted, SDP))
    rig.edge.received(rig.flow, _wire(far("BYE")))
    await _settle()
    first, second = rig.link.messages[-2:]
    assert as_response(first).status == 200 and as_request(second).method == "BYE"


async def test_a_refusal_after_the_answer_changes_nothing() -> None:
    rig = Rig()
    await rig.answered(CONTACT)
    invite = next(one for one in rig.flow.requests if one.method == "INVITE")
    handed = len(rig.link.messages)
    await rig.answer("503 Service Unavailable", request=invite)
    await rig.answer("180 Ringing", request=invite)
    assert len(rig.link.messages) == handed and rig.flow.last.method == "ACK"
    await rig.network(far("BYE"))
    assert as_request(rig.link.last).method == "BYE"


async def test_a_challenge_of_a_cancelled_invite_is_its_end() -> None:
    rig = Rig()
    await rig.invite()
    await rig.pjsip(CANCEL)
    await rig.answer("401 Unauthorized", CHALLENGE)
    statuses = {(as_response(one).status, as_response(one).first("CSeq")) for one in rig.link.messages}
    assert statuses == {(487, "10 INVITE"), (200, "10 CANCEL")}
    assert [one.method for one in rig.flow.requests] == ["INVITE", "ACK"]


async def test_a_cancel_that_crosses_the_answer_is_answered() -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("200 OK", CONTACT, body=SDP)
    await rig.pjsip(CANCEL)
    assert (as_response(rig.link.last).status, as_response(rig.link.last).first("CSeq")) == (200, "10 CANCEL")


async def test_an_answer_that_no_pjsip_takes_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "_ACK_S", 0.01)
    rig = Rig()
    await rig.invite()
    await rig.answer("200 OK", CONTACT, body=SDP)
    await asyncio.sleep(0.05)
    assert [one.method for one in rig.flow.requests] == ["INVITE", "ACK", "BYE"]


async def test_a_late_answer_for_a_dead_process_is_hung_up() -> None:
    rig = Rig()
    await rig.invite()
    rig.edge.link_closed(cast(Link, rig.link))
    await _settle()
    await rig.answer("200 OK", CONTACT, body=SDP)
    assert [one.method for one in rig.flow.requests[-2:]] == ["ACK", "BYE"]


class TwoAddresses:
    """A name with two addresses, the first of which says nothing."""

    def __init__(self, rig: Rig) -> None:
        self.silent = FakeFlow(peer=("192.0.2.10", 5060))
        rig.ways.flows = {"first": self.silent, "carrier.example": rig.flow}

        async def targets(uri: str, trunk: Any) -> list[Any]:
            return ["first", "carrier.example"]

        rig.ways.targets = targets  # type: ignore[method-assign]


async def test_an_address_that_says_nothing_is_given_up_and_a_late_answer_there_is_hung_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outgoing, "_SILENT_S", 0.01)
    rig = Rig()
    two = TwoAddresses(rig)
    await rig.pjsip(INVITE, SDP)
    first = two.silent.last
    await asyncio.sleep(0.05)
    assert (rig.flow.last.method, rig.flow.last.first("CSeq")) == ("INVITE", "11 INVITE")
    assert ("failed", "first") in rig.ways.memory
    await rig.answer("200 OK", CONTACT, body=SDP)
    assert ("answered", "carrier.example") in rig.ways.memory
    await rig.pjsip(ACK)
    lines = "\n".join(f"{name}: {first.first(name)}" for name in ("Via", "From", "Call-ID", "CSeq"))
    late = f"SIP/2.0 200 OK\n{lines}\nTo: {first.first('To')};tag=late\nContact: <sip:late@carrier.example>"
    rig.edge.received(two.silent, _wire(late))
    await _settle()
    ended = [one for one in two.silent.requests if one.uri == "sip:late@carrier.example"]
    assert [(one.method, one.first("CSeq")) for one in ended] == [("ACK", "10 ACK"), ("BYE", "11 BYE")]
    await rig.network(far("BYE"))
    assert as_request(rig.link.last).method == "BYE"


async def test_a_503_is_remembered_of_its_address_and_the_next_one_is_tried() -> None:
    rig = Rig()
    two = TwoAddresses(rig)
    await rig.pjsip(INVITE, SDP)
    await rig.answer("503 Service Unavailable", request=two.silent.last)
    assert rig.flow.last.method == "INVITE" and ("failed", "first") in rig.ways.memory


async def test_a_connection_that_ends_under_a_request_is_opened_once_more() -> None:
    rig = Rig()
    rig.flow.transport = "tcp"
    await rig.invite()
    rig.flow.is_open = False
    rig.flow.is_open = True  # the next connection
    rig.edge.flow_lost(cast(Flow, rig.flow), Unreached("connect", "The trunk closed the connection."))
    await _settle()
    assert [one.method for one in rig.flow.requests] == ["INVITE", "INVITE"]
    rig.edge.flow_lost(cast(Flow, rig.flow), Unreached("connect", "The trunk closed the connection."))
    await _settle()
    assert as_response(rig.link.last).status == 503


async def test_a_redirect_does_not_lead_from_tls_into_the_clear() -> None:
    rig = Rig(trunk(name="carrier", uri="sip:carrier.example;transport=tls", redirects="follow").account)
    asked = []
    targets = rig.ways.targets

    async def noted(uri: str, trunk: Any) -> list[Any]:
        asked.append(uri)
        return await targets(uri, trunk)

    rig.ways.targets = noted  # type: ignore[method-assign]
    rig.flow.transport = "tls"
    await rig.invite()
    await rig.answer(
        "302 Moved",
        "Contact: <sip:a@carrier.example>;q=0.1",
        'Contact: "b, c" <sip:b@carrier.example;transport=udp>;q=0.9',
    )
    assert rig.flow.last.uri == "sip:b@carrier.example;transport=udp"
    assert asked[-1] == "sip:b@carrier.example;transport=tls"


@pytest.mark.parametrize(("via", "port"), [("rport", 5060), ("x", 5062)])
async def test_an_answer_goes_to_the_port_that_the_far_end_listens_on(via: str, port: int) -> None:
    rig = Rig()
    await rig.network(far("BYE", via=via))
    answer = as_response(read(rig.flow.sent[-1]))
    assert rig.flow.answered_to == port
    assert "received=127.0.0.9" in (answer.first("Via") or "")
    assert ("rport=5060" in (answer.first("Via") or "")) is (via == "rport")


async def test_a_display_name_with_quotes_and_a_tag_that_is_no_token_are_written_as_they_were() -> None:
    rig = Rig()
    await rig.pjsip(INVITE.replace("To: <", r'To: "a \"b\"" <'), SDP)
    await rig.answer("200 OK", CONTACT, to=r';tag="a;b\"\\"', body=SDP)
    tag = (as_response(rig.link.last).first("To") or "").partition("tag=")[2]
    await rig.pjsip(ACK.replace("tag=far", f"tag={tag}").replace("To: <", r'To: "a \"b\"" <'))
    assert (as_response(rig.link.last).first("To") or "").startswith(r'"a \"b\"" <sip:')
    assert rig.flow.last.first("To") == r'"a \"b\"" <sip:+4930123@carrier.example>;tag="a;b\"\\"'


async def test_controls_in_a_far_ends_text_are_not_written() -> None:
    rig = Rig()
    await rig.answered(CONTACT)
    await rig.network(far("OPTIONS", extra="Subject: x").replace("branch=", "x=a\0b\x0b;branch="))
    await rig.network(far("BYE", extra='Reason: Q.850;cause=16;text="a\0"'))
    assert not any(b"\0" in data or b"\x0b" in data for data in rig.flow.sent + [one for _, one in rig.link.sent])


async def test_a_route_set_that_no_datagram_carries_is_not_used() -> None:
    rig = Rig()
    await rig.invite()
    routes = [f"Record-Route: <sip:{'a' * 900}@carrier.example;lr>" for _ in range(12)]
    await rig.answer("200 OK", CONTACT, *routes, body=SDP)
    await rig.pjsip(ACK)
    assert rig.flow.last.method == "ACK" and rig.flow.last.all("Route") == ()
    assert max(len(payload) for _, payload in rig.link.sent) < 10_000


async def test_the_next_edge_goes_on_with_a_call_that_is_being_set_up() -> None:
    first = Rig()
    invite = await first.invite()
    await first.answer("180 Ringing", CONTACT)
    kept = [payload for kind, payload in first.link.sent if kind == KEEP][-1]
    second = Rig()
    second.edge.restore(cast(Link, second.link), json.loads(kept))
    await _settle()
    await second.answer("200 OK", CONTACT, body=SDP, request=invite)
    accepted = as_response(second.link.last)
    assert (accepted.status, accepted.first("CSeq")) == (200, "10 INVITE")
    assert "pj1" in (accepted.first("Via") or "")
    await second.pjsip(ACK)
    assert second.flow.last.method == "ACK"


async def test_the_next_edge_sends_an_invite_again_that_had_no_response_and_cancels_it() -> None:
    first = Rig()
    invite = await first.invite()
    kept = [payload for kind, payload in first.link.sent if kind == KEEP][-1]
    second = Rig()
    second.edge.restore(cast(Link, second.link), json.loads(kept))
    await second.pjsip(INVITE, SDP)
    assert (second.flow.last.method, second.flow.last.first("CSeq"), second.flow.last.first("Via")) == (
        "INVITE",
        "10 INVITE",
        invite.first("Via"),
    )
    await second.answer("180 Ringing", CONTACT)
    await second.pjsip(CANCEL)
    assert second.flow.last.method == "CANCEL"


async def test_a_registrations_numbers_go_on_after_the_edge_was_started_again() -> None:
    register = INVITE.replace("INVITE", "REGISTER").replace(
        "sip:+4930123@carrier.example SIP", "sip:carrier.example SIP"
    )
    first = Rig()
    await first.pjsip(register)
    await first.answer("401 Unauthorized", CHALLENGE)
    await first.answer(
        "200 OK", "Contact: <sip:alice@192.0.2.1:5060>;expires=60", "Service-Route: <sip:edge.carrier.example;lr>"
    )
    assert first.flow.last.first("CSeq") == "11 REGISTER"
    kept = [payload for kind, payload in first.link.sent if kind == KEEP][-1]
    second = Rig()
    second.edge.restore(cast(Link, second.link), json.loads(kept))
    await second.pjsip(register.replace("10 REG", "11 REG").replace("pj1", "pj9"))
    assert second.flow.last.first("CSeq") == "12 REGISTER"
    second.ways.flows["edge.carrier.example"] = second.flow
    await second.pjsip(INVITE.replace("CA1", "CA2"), SDP)
    assert second.flow.last.first("Route") == "<sip:edge.carrier.example;lr>"


async def test_a_new_registration_takes_the_place_of_the_former_one() -> None:
    rig = Rig()
    register = INVITE.replace("INVITE", "REGISTER")
    for number in range(20):
        await rig.pjsip(register.replace("CA1", f"R{number}").replace("pj1", f"pj{number}"))
    assert rig.edge.dialogs == 1


async def test_a_host_name_in_a_description_is_resolved_for_answers_and_offers() -> None:
    rig = Rig()
    await rig.answered(CONTACT)
    rig = Rig()
    named = SDP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 media.example")
    await rig.invite()
    await rig.answer("200 OK", CONTACT, body=named)
    assert b"c=IN IP4 192.0.2.50" in rig.link.last.body
    await rig.pjsip(ACK)
    await rig.network(far("INVITE", extra="Content-Type: application/sdp"), named)
    assert b"c=IN IP4 192.0.2.50" in rig.link.last.body


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "it has no session description"),
        ("v=0\r\n", "the session description has no audio: there is no m= line"),
        (SDP.replace("127.0.0.1", "nowhere.example"), "the address of the far end's audio is a host name"),
        (SDP.replace("c=IN IP4 127.0.0.1\r\n", ""), "its audio has no address"),
        (SDP.replace("RTP/AVP 0", "RTP/AVP 96"), ""),
    ],
)
async def test_pjsip_is_given_the_reason_why_an_answer_has_no_usable_description(body: str, why: str) -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("200 OK", CONTACT, body=body)
    clause = as_response(rig.link.last).first("X-Trunkline-Unusable") or ""
    assert clause.startswith(why) and bool(clause) is bool(why)


async def test_an_answer_has_the_streams_of_the_offer_only() -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("200 OK", CONTACT, body=SDP.replace("m=audio", "m=video 0 RTP/AVP 31\r\nm=audio"))
    assert rig.link.last.body.count(b"m=") == 1


async def test_an_ack_with_the_answer_to_our_offer_is_passed_on() -> None:
    rig = Rig()
    await rig.answered(CONTACT)
    await rig.network(far("ACK", extra="Content-Type: application/sdp"), SDP)
    ack = as_request(rig.link.last)
    assert ack.method == "ACK" and ack.body.count(b"m=audio") == 1


async def test_an_info_reaches_pjsip_with_a_body_of_the_edges_own() -> None:
    rig = Rig()
    await rig.answered(CONTACT)
    await rig.network(far("INFO", extra=f"Content-Type: application/dtmf; x={'y' * 5000}"), "5\r\n\0junk")
    info = as_request(rig.link.last)
    assert (info.first("Content-Type"), info.body) == ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n")
    await rig.network(far("BYE", extra="Content-Type: application/x", cseq=8), "x" * 5000)
    assert isinstance(rig.link.last, Request) and rig.link.last.body == b""


@pytest.mark.parametrize(
    ("line", "status"),
    [("OPTIONS sip:a SIP/3.0", 505), ("OPTIONS sip:a SIP/2.0\nno field", 400), ("OPTIONS sip:a SIP/2.0\nCSeq: x", 400)],
)
async def test_a_request_that_cannot_be_read_is_refused(line: str, status: int) -> None:
    rig = Rig()
    await rig.network(far("OPTIONS").replace("OPTIONS sip:alice@192.0.2.1:5060 SIP/2.0", line))
    assert as_response(read(rig.flow.sent[-1])).status == status


async def test_a_description_that_is_too_long_for_pjsip_is_left_out() -> None:
    rig = Rig()
    await rig.invite()
    kinds = "".join(f"m=x{'y' * 60} 0 {'z' * 64} {'1' * 64} {'2' * 64}\r\n" for _ in range(15))
    keys = "".join(f"a=crypto:{n} AES_CM_128_HMAC_SHA1_80 inline:{'A' * 200}\r\n" for n in range(8))
    types = " ".join(map(str, range(96, 128)))
    maps = "".join(f"a=rtpmap:{n} PCMU/8000\r\n" for n in range(96, 128))
    audio = f"m=audio 4000 RTP/AVP 0 {types}\r\n{maps}{keys}"
    await rig.answer("200 OK", CONTACT, body=SDP.replace("m=audio 4000 RTP/AVP 0\r\n", audio))
    assert rig.link.last.body.startswith(b"v=0") and len(rig.link.sent[-1][1]) < 3900
    await rig.pjsip(ACK)
    offer = SDP.replace("m=audio 4000 RTP/AVP 0\r\n", audio + kinds)
    await rig.network(far("INVITE", extra="Content-Type: application/sdp"), offer)
    assert as_response(read(rig.flow.sent[-1])).status == 488


async def test_a_far_end_that_answers_has_a_place_among_many_that_ring() -> None:
    rig = Rig()
    await rig.invite()
    for number in range(40):
        await rig.answer("180 Ringing", CONTACT, to=f";tag=fork{number}")
    await rig.answer("200 OK", CONTACT, to=";tag=far", body=SDP)
    (dialog,) = rig.edge._common.dialogs
    assert len(dialog.remotes) == responses._MOST_REMOTES
    await rig.pjsip(ACK)
    await rig.pjsip(BYE)
    assert [one.method for one in rig.flow.requests] == ["INVITE", "ACK", "BYE"]


async def test_a_flow_that_ended_under_a_call_is_opened_again_where_it_led() -> None:
    rig = Rig()
    rig.flow.transport = "tcp"
    await rig.answered("Contact: <sip:phone@10.9.8.7;transport=tcp>")
    rig.flow.is_open = False
    opened = FakeFlow(transport="tcp")
    rig.ways.flows = {"carrier.example": opened}
    await rig.pjsip(BYE)
    assert (opened.last.method, opened.last.uri) == ("BYE", "sip:phone@10.9.8.7;transport=tcp")


async def test_a_request_over_tcp_is_answered_once_though_pjsip_repeats_its_answer() -> None:
    rig = Rig()
    rig.flow.transport = "tcp"
    await rig.answered(CONTACT)
    await rig.network(far("INVITE", extra="Content-Type: application/sdp"), SDP)
    shown = as_request(rig.link.last)
    sent = len(rig.flow.sent)
    for _ in range(3):
        await rig.pjsip(
            f"""SIP/2.0 491 Request Pending
            Via: {shown.first("Via")}
            From: {shown.first("From")}
            To: {shown.first("To")}
            Call-ID: CA1
            CSeq: 7 INVITE"""
        )
    assert len(rig.flow.sent) == sent + 1
    await rig.network(far("ACK").replace("z9hG4bKACK7", "z9hG4bKINVITE7"))
    acknowledged = as_request(rig.link.last)
    assert (acknowledged.method, acknowledged.first("Via")) == ("ACK", shown.first("Via"))
