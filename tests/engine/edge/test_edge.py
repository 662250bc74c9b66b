"""The edge between a PJSIP and a far end, both played by the test: what each of them is sent."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from engine.edge.common import Unreached
from engine.edge.dialogs import Flow
from engine.edge.edge import Edge
from engine.edge.targets import Target
from engine.messages.commands import TrunkAccount
from engine.messages.link import Link
from engine.sip.message import Message, Request, Response, read
from tests.engine.samples import trunk

TRUNK = trunk(name="carrier", uri="sip:carrier.example;transport=udp", username="alice", password="secret").account
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


class FakeLink:
    """A PJSIP's end of the link."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []

    def send(self, kind: int, payload: bytes) -> None:
        self.sent.append((kind, payload))

    @property
    def messages(self) -> list[Message]:
        return [read(payload) for kind, payload in self.sent if kind < 64]

    @property
    def last(self) -> Message:
        return self.messages[-1]


@dataclass(eq=False)
class FakeFlow:
    """A far end's address."""

    transport: str = "udp"
    peer: tuple[str, int] = ("127.0.0.9", 5060)
    local: tuple[str, int] = ("192.0.2.1", 5060)
    is_open: bool = True
    sent: list[bytes] = field(default_factory=list)
    answered_to: int = 0

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def to_port(self, port: int) -> FakeFlow:
        self.answered_to = port
        return self

    @property
    def requests(self) -> list[Request]:
        return [one for one in map(read, self.sent) if isinstance(one, Request)]

    @property
    def last(self) -> Request:
        return self.requests[-1]


class FakeWays:
    """Leads to the flows by host."""

    def __init__(self) -> None:
        self.memory: list[tuple[str, Any]] = []
        self.flows = {"carrier.example": FakeFlow(), "192.0.2.77": FakeFlow(peer=("192.0.2.77", 5070))}

    async def targets(self, uri: str, trunk: TrunkAccount) -> list[Any]:
        host = uri.partition(":")[2].rpartition("@")[2].partition(";")[0].partition(":")[0]
        if host == "media.example":
            return [Target("192.0.2.50", 9, "udp", host)]
        if host not in self.flows:
            raise Unreached("name", f"{host} does not resolve: no such name (DNS).", "Check the name.")
        return [host]

    async def open(self, target: Any, trunk: TrunkAccount) -> Flow:
        if isinstance(target, Target):
            return next(flow for flow in self.flows.values() if flow.peer == (target.address, target.port))
        return self.flows[target]

    def failed(self, target: Any) -> None:
        self.memory.append(("failed", target))

    def answered(self, target: Any) -> None:
        self.memory.append(("answered", target))


class Rig:
    def __init__(self, account: TrunkAccount = TRUNK) -> None:
        self.ways = FakeWays()
        self.flow = self.ways.flows["carrier.example"]
        self.edge = Edge({account.name: account}, self.ways)
        self.link = FakeLink()

    async def pjsip(self, text: str, body: str = "") -> None:
        """A message of PJSIP."""
        self.edge.from_link(cast(Link, self.link), 0, _wire(text, body))
        await _settle()

    async def network(self, text: str, body: str = "", flow: FakeFlow | None = None) -> None:
        """A message of the far end."""
        self.edge.received(flow or self.flow, _wire(text, body))
        await _settle()

    async def invite(self) -> Request:
        await self.pjsip(INVITE, SDP)
        return self.flow.last

    async def answer(
        self, status: str, *fields: str, to: str = ";tag=far", body: str = "", request: Request | None = None
    ) -> None:
        """The far end's response to the last request it got."""
        request = request or next(one for one in reversed(self.flow.requests) if one.method != "ACK")
        copied = "\n".join(f"{name}: {request.first(name)}" for name in ("Via", "From", "Call-ID", "CSeq"))
        lines = [f"SIP/2.0 {status}", copied, f"To: {request.first('To')}{to}", *fields]
        if body:
            lines.append("Content-Type: application/sdp")
        await self.network("\n".join(lines), body)

    async def answered(self, *fields: str) -> None:
        await self.invite()
        await self.answer("200 OK", *(fields or ("Contact: <sip:phone@192.0.2.77:5070>",)), body=SDP)
        await self.pjsip(ACK)


def _wire(text: str, body: str = "") -> bytes:
    lines = "\r\n".join(line.strip() for line in text.strip().splitlines())
    return f"{lines}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def _settle() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


INVITE = """INVITE sip:+4930123@carrier.example SIP/2.0
    Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKpj1
    Max-Forwards: 70
    From: <sip:+1415@carrier.example>;tag=ours
    To: <sip:+4930123@carrier.example>
    Call-ID: CA1
    CSeq: 10 INVITE
    Contact: <sip:alice@127.0.0.1:5060>
    Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS
    X-Trunkline-Trunk: carrier
    Content-Type: application/sdp"""
ACK = """ACK sip:edge@127.0.0.1:5060 SIP/2.0
    Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bKpj2
    Max-Forwards: 70
    From: <sip:+1415@carrier.example>;tag=ours
    To: <sip:+4930123@carrier.example>;tag=far
    Call-ID: CA1
    CSeq: 10 ACK"""
BYE = ACK.replace("ACK", "BYE").replace("pj2", "pj3").replace("CSeq: 10", "CSeq: 11")
CHALLENGE = 'WWW-Authenticate: Digest realm="carrier", nonce="n1", qop="auth", algorithm=MD5'


def as_request(message: Message) -> Request:
    assert isinstance(message, Request)
    return message


def as_response(message: Message) -> Response:
    assert isinstance(message, Response)
    return message


async def test_an_invite_leaves_as_the_edges_own() -> None:
    rig = Rig()
    invite = await rig.invite()
    assert invite.uri == "sip:+4930123@carrier.example"
    assert (invite.first("Via") or "").startswith("SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK")
    assert invite.first("Contact") == "<sip:alice@192.0.2.1:5060>"
    assert invite.first("X-Trunkline-Trunk") is None and b"127.0.0.1:5060" not in rig.flow.sent[-1]
    assert "REFER" not in invite.all("Allow")


async def test_a_challenge_is_answered_without_pjsip_and_every_number_fits_afterwards() -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("401 Unauthorized", CHALLENGE)
    ack, again = rig.flow.requests[-2:]
    assert (ack.method, ack.first("CSeq")) == ("ACK", "10 ACK")
    assert (again.method, again.first("CSeq")) == ("INVITE", "11 INVITE")
    assert 'username="alice"' in (again.first("Authorization") or "")
    assert rig.link.messages == []
    await rig.answer("200 OK", "Contact: <sip:phone@192.0.2.77:5070>", body=SDP)
    accepted = as_response(rig.link.last)
    assert (accepted.status, accepted.first("CSeq")) == (200, "10 INVITE")
    await rig.pjsip(ACK)
    phone = rig.ways.flows["192.0.2.77"]
    assert (phone.last.method, phone.last.first("CSeq")) == ("ACK", "11 ACK")
    await rig.pjsip(BYE)
    assert (phone.last.method, phone.last.first("CSeq")) == ("BYE", "12 BYE")


async def test_credentials_that_are_refused_twice_are_not_sent_a_third_time() -> None:
    rig = Rig()
    await rig.invite()
    for nonce in ("n1", "n2", "n3", "n4"):
        await rig.answer("401 Unauthorized", CHALLENGE.replace("n1", nonce))
    sent = [one for one in rig.flow.requests if one.method == "INVITE" and one.first("Authorization")]
    assert len(sent) == 2
    assert as_response(rig.link.last).status == 401


@pytest.mark.parametrize(
    "fields",
    [
        ("Contact: <tel:+14155550123>",),
        ("Contact: <urn:service:x>",),
        (f"Contact: <sip:a@{'a' * 300}.example>",),
        ("Contact: <sip:callee@pbx.invalid>",),
        ("Contact: <sip:callee@127.0.0.1:0>",),
        ("Contact: <sip:a@h;maddr=" + "a" * 300 + ">",),
        ("Contact: <sip:>",),
        ("Record-Route: junk",),
        ("Record-Route: <tel:+1>",),
        ("Session-Expires: -90",),
        ("Contact: <sip:a@192.0.2.77:70000>",),
        ('WWW-Authenticate: Basic realm="x"',),
        ("Min-SE: ten minutes",),
        (),
    ],
)
async def test_a_2xx_counts_whatever_it_says_and_its_ack_goes_to_where_the_invite_went(fields: tuple[str, ...]) -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("200 OK", *fields, body=SDP)
    accepted = as_response(rig.link.last)
    assert accepted.status == 200 and accepted.first("Contact") == "<sip:edge@127.0.0.1:5060>"
    assert accepted.first("Record-Route") is None
    await rig.pjsip(ACK)
    assert rig.flow.last.method == "ACK"
    await rig.pjsip(BYE)
    assert rig.flow.last.method == "BYE"


@pytest.mark.parametrize("tag", ["", ';tag=a(b)c"d'])
async def test_a_2xx_whose_tag_is_missing_or_cannot_be_read_is_acknowledged_and_hung_up(tag: str) -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("200 OK", "Contact: <sip:phone@192.0.2.77:5070>", to=tag, body=SDP)
    assert (rig.link.last.first("To") or "").endswith(";tag=x")
    for text in (ACK, BYE):
        await rig.pjsip(text.replace("tag=far", "tag=x"))
        sent = rig.ways.flows["192.0.2.77"].last
        assert sent.method == text.split()[0]
        assert sent.first("To") == "<sip:+4930123@carrier.example>"


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ("486 Busy Here", "Retry-After: 18446744073709551616"),
        ("503 Service Unavailable", "Retry-After: 12345678901234"),
        ("422 Session Interval Too Small", "Min-SE: ten minutes"),
        ("480 Temporarily Unavailable", "Expires: Thu, 01 Dec 1994 16:00:00 GMT"),
        ("500 Server Error", "Contact: <sip:>"),
        ("404 Not Found", "Record-Route: junk"),
    ],
)
async def test_a_refusal_is_acknowledged_and_counts_whatever_it_says(status: str, field: str) -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer(status, field)
    assert rig.flow.last.method == "ACK"
    assert as_response(rig.link.last).status == int(status[:3])
    sent = len(rig.flow.sent)
    await rig.answer(status, field)
    assert [one.method for one in rig.flow.requests[sent:]] == ["ACK"], "a repeated refusal is acknowledged again"
    assert len(rig.link.messages) == 1


async def test_a_name_that_does_not_resolve_is_told_by_name_and_nothing_is_sent() -> None:
    rig = Rig(trunk(name="carrier", outbound_proxy=("sip:sip.invalid",)).account)
    await rig.pjsip(INVITE, SDP)
    refusal = as_response(rig.link.last)
    assert "sip.invalid does not resolve" in (refusal.first("X-Trunkline-Failure") or "")
    assert rig.flow.sent == []


async def test_a_connection_gets_no_retransmission_and_udp_does() -> None:
    for transport, times in (("udp", 2), ("tcp", 1)):
        rig = Rig()
        rig.flow.transport = transport
        await rig.invite()
        await rig.pjsip(INVITE, SDP)
        assert len(rig.flow.sent) == times


async def test_a_cancel_waits_for_a_provisional_response_and_follows_the_invite_that_was_sent_last() -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("401 Unauthorized", CHALLENGE)
    again = rig.flow.last
    await rig.pjsip(INVITE.replace("INVITE", "CANCEL").replace("X-Trunkline-Trunk: carrier\n", ""))
    assert rig.flow.last.method == "INVITE"
    await rig.answer("180 Ringing", request=again)
    cancel = rig.flow.last
    assert (cancel.method, cancel.first("CSeq"), cancel.first("Via")) == ("CANCEL", "11 CANCEL", again.first("Via"))


async def test_the_far_ends_bye_reaches_pjsip_and_its_answer_goes_back_with_the_far_ends_own_fields() -> None:
    rig = Rig()
    await rig.answered()
    await rig.network(
        """BYE sip:alice@192.0.2.1:5060 SIP/2.0
        Via: SIP/2.0/UDP proxy.example;branch=z9hG4bKx;maddr=evil.example
        Via: SIP/2.0/UDP phone.example;branch=z9hG4bKy
        From: <sip:+4930123@carrier.example>;tag=far
        To: <sip:+1415@carrier.example>;tag=ours
        Call-ID: CA1
        CSeq: 7 BYE
        Reason: Q.850;cause=16;text="a, b"
        Contact: <tel:+1>"""
    )
    bye = as_request(rig.link.last)
    assert bye.method == "BYE" and bye.first("Reason") == "Q.850;cause=16"
    assert len(bye.all("Via")) == 1 and "maddr" not in (bye.first("Via") or "") and bye.first("Contact") is None
    await rig.pjsip(
        f"""SIP/2.0 200 OK
        Via: {bye.first("Via")}
        From: {bye.first("From")}
        To: {bye.first("To")}
        Call-ID: CA1
        CSeq: 7 BYE"""
    )
    answer = as_response(read(rig.flow.sent[-1]))
    assert answer.status == 200 and len(answer.all("Via")) == 2


@pytest.mark.parametrize(
    ("method", "status"),
    [("OPTIONS", 200), ("INVITE", 403), ("BYE", 481), ("INFO", 481), ("REFER", 405), ("FOO", 405), ("NOTIFY", 405)],
)
async def test_what_belongs_to_no_dialog_is_answered_without_pjsip(method: str, status: int) -> None:
    rig = Rig()
    await rig.network(
        f"""{method} sip:a SIP/2.0
        Via: SIP/2.0/UDP x;branch=z9hG4bKa;maddr={"a" * 254}
        From: <sip:b@x>;tag=b
        To: <sip:a@x>
        Call-ID: c
        CSeq: 1 {method}"""
    )
    assert as_response(read(rig.flow.sent[-1])).status == status
    assert rig.link.sent == []


async def test_a_dead_process_leaves_no_call_at_its_far_end_and_a_challenged_bye_is_answered() -> None:
    rig = Rig()
    await rig.answered("Contact: <sip:phone@carrier.example>")
    rig.edge.link_closed(cast(Link, rig.link))
    await _settle()
    bye = rig.flow.last
    assert bye.method == "BYE" and (bye.first("To") or "").endswith("tag=far")
    await rig.answer("401 Unauthorized", CHALLENGE, to="")
    again = rig.flow.last
    assert again.method == "BYE" and again.first("Authorization") is not None
    await rig.answer("200 OK", to="")
    await rig.edge.idle(1)
    assert rig.edge.dialogs == 0


async def test_a_phone_that_rings_for_a_dead_process_is_cancelled() -> None:
    rig = Rig()
    await rig.invite()
    await rig.answer("180 Ringing", "Contact: <sip:phone@carrier.example>")
    rig.edge.link_closed(cast(Link, rig.link))
    await _settle()
    assert rig.flow.last.method == "CANCEL"


async def test_the_next_edge_goes_on_with_a_dialog_that_its_process_kept() -> None:
    first = Rig()
    await first.answered("Contact: <sip:phone@carrier.example>", "Record-Route: <sip:carrier.example;lr>")
    kept = [payload for kind, payload in first.link.sent if kind == 254][-1]
    second = Rig()
    second.edge.restore(cast(Link, second.link), json.loads(kept))
    await _settle()
    await second.pjsip(BYE)
    bye = second.flow.last
    assert (bye.method, bye.uri, bye.first("Route")) == (
        "BYE",
        "sip:phone@carrier.example",
        "<sip:carrier.example;lr>",
    )
