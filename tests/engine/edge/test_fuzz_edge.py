"""Whatever a far end writes, the edge raises nothing, and writes only what can be read strictly."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.edge import strays
from engine.edge.edge import Edge
from engine.sip.fields import CSeq, NameAddr, Via
from engine.sip.message import Message, Request, Response, read
from tests.engine.edge.test_edge import ACK, BYE, CHALLENGE, SDP, Rig, _settle, _wire
from tests.engine.edge.test_edge_faults import CANCEL, far

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

FAR_HOST = "evil.example"
LONGEST_FOR_PJSIP = 3_900

text = st.text(max_size=40)
nasty = st.sampled_from(
    [
        "",
        "\0",
        "\r",
        " " * 3000,
        '"',
        "<",
        ">",
        ";",
        ",",
        "a" * 8000,
        '"' * 300,
        "%00",
        "\x0b\x1b",
        "é\u2028",
        "*",
        f"<sip:{FAR_HOST}>",
        f"<sip:a@{FAR_HOST};transport=tcp>;tag=x",
        f'"\\"" <sips:{"a" * 200}@{FAR_HOST}:5061;lr;maddr={FAR_HOST}?Route=x>',
        f"<tel:+1;phone-context={FAR_HOST}>",
        "99999999999999999999",
        "-1",
        "0",
    ]
)
value = st.one_of(nasty, nasty, text)
NAMES = (
    "Via Contact Record-Route Route Require RSeq Session-Expires Min-SE Allow Supported Reason Retry-After Expires "
    "Service-Route WWW-Authenticate Proxy-Authenticate Content-Type Warning X-Trunkline-Trunk X-Trunkline-Failure "
    "X-Trunkline-Peer Subject Replaces To From CSeq Call-ID"
)
METHODS = "BYE INVITE UPDATE INFO OPTIONS CANCEL ACK PRACK REFER"
STATUSES = "100 180 183 199 200 202 301 302 400 401 407 408 422 481 486 487 491 503 603"

name = st.sampled_from(NAMES.split())
fields = st.lists(st.tuples(name, value), max_size=8)
statuses = st.sampled_from([180, 183, 200, 200, *map(int, STATUSES.split())])
bodies = st.one_of(
    st.just(SDP),
    st.just(""),
    st.text(max_size=200),
    st.lists(st.sampled_from(SDP.split("\r\n")), max_size=12).map("\r\n".join),
    st.lists(
        st.sampled_from(
            [
                "m=audio 4000 RTP/AVP " + " ".join(map(str, range(128))),
                *(f"a=rtpmap:{number} PCMU/8000" for number in range(96, 128)),
                "m=video 0 RTP/AVP " + "x" * 60,
                f"c=IN IP4 {FAR_HOST}",
                "c=IN IP4 media.example",
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 200,
                "a=fmtp:101 0-15",
                "a=ptime:200",
            ]
        ),
        min_size=20,
        max_size=60,
    ).map(lambda lines: SDP + "\r\n".join(lines)),
)
tags = st.one_of(
    st.just(";tag=far"),
    st.sampled_from(["", f";tag={'t' * 7900}", ';tag="a b;c"']),
    st.integers(0, 99).map(lambda number: f";tag=fork{number}"),
    value.map(lambda text: f';tag="{text}"'),
)


@st.composite
def mutated(draw: Any, data: bytes) -> bytes:
    """The bytes with a few of them changed, cut out or put in."""
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.integers(0, 20))
        data = data[:at] + draw(st.binary(max_size=12)) + data[at + cut :]
    return data


@st.composite
def far_messages(draw: Any) -> tuple[str, Any]:
    """What the far end does next: answers the last request, sends one, or sends bytes."""
    kind = draw(st.sampled_from(["answer", "answer", "request", "bytes", "pjsip"]))
    if kind == "answer":
        return kind, (draw(statuses), draw(text), draw(tags), draw(fields), draw(bodies))
    if kind == "request":
        method = draw(st.sampled_from(METHODS.split()))
        message = far(method, cseq=draw(st.integers(1, 9)), extra=f"X-Nothing: {draw(text)!a}")
        extra = [one for one in draw(fields) if one[0] not in ("To", "From", "Call-ID", "CSeq")]
        lines = message + "".join(f"\n{one}: {other}" for one, other in extra)
        return kind, draw(mutated(_wire(lines, draw(bodies).encode("utf-8", "replace").decode("ascii", "replace"))))
    if kind == "bytes":
        return kind, draw(st.one_of(st.binary(max_size=300), value.map(lambda text: text.encode("utf-8", "replace"))))
    return kind, draw(st.sampled_from([ACK, BYE, CANCEL]))


class Answering(Rig):
    """A far end whose answers hold anything."""

    def answer_bytes(self, status: int, reason: str, tag: str, extra: list[tuple[str, str]], body: str) -> bytes | None:
        request = next((one for one in reversed(self.flow.requests) if one.method != "ACK"), None)
        if request is None:
            return None
        lines = [f"SIP/2.0 {status} {reason}"]
        lines += [f"{one}: {request.first(one)}" for one in ("Via", "From", "Call-ID", "CSeq")]
        lines += [f"To: {request.first('To')}{tag}"]
        lines += [f"{one}: {other}" for one, other in extra if one not in ("Via", "CSeq")]
        if status in (401, 407):
            lines.append(CHALLENGE)
        content = body.encode("utf-8", "replace")
        return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode("utf-8", "replace") + content


def check_for_pjsip(data: bytes) -> None:
    message: Message = read(data)
    assert len(data) <= LONGEST_FOR_PJSIP
    for field in ("Via", "From", "To", "Call-ID", "CSeq"):
        assert len([one for one in message.headers if one.name == field]) == 1, field
    assert all(char >= " " and char != "\x7f" for header in message.headers for char in header.value)
    Via.parse(message.first("Via") or "")
    CSeq.parse(message.first("CSeq") or "")
    for field in ("From", "To", "Contact"):
        if (text := message.first(field)) is not None:
            assert FAR_HOST not in NameAddr.parse(text).uri
    assert message.all("Record-Route") == message.all("Route") == ()
    if isinstance(message, Request):
        message.check()
        assert FAR_HOST not in message.uri
    else:
        assert isinstance(message, Response) and message.reason.isascii()


def check_for_network(data: bytes) -> None:
    message = read(data)
    assert all(not header.name.lower().startswith("x-trunkline") for header in message.headers)
    assert not any(char < " " and char != "\t" for header in message.headers for char in header.value)
    if isinstance(message, Request):
        message.check()


def check_bounds(edge: Edge) -> None:
    transactions, dialogs = edge._common.transactions, edge._common.dialogs
    assert len(dialogs) <= 4
    for dialog in dialogs:
        assert len(dialog.remotes) <= 17 and len(dialog.sent_as) <= 16 and len(dialog.waiting) <= 64
        assert len(dialog.dump()) <= 100_000
    assert max(len(transactions._client), len(transactions._server), len(transactions._acks)) <= 100


@given(steps=st.lists(far_messages(), min_size=1, max_size=24))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_nothing_that_a_far_end_writes_gets_through_or_stops_the_edge(steps: list[tuple[str, Any]]) -> None:
    asyncio.run(_run(steps))


class Collector(logging.Handler):
    def __init__(self, errors: list[logging.LogRecord]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        self._errors.append(record)


async def _run(steps: list[tuple[str, Any]]) -> None:
    errors: list[logging.LogRecord] = []
    handler = Collector(errors)
    log = logging.getLogger("trunkline.edge")
    log.addHandler(handler)
    try:
        rig = Answering()
        await rig.invite()
        for kind, payload in steps:
            if kind == "pjsip":
                await rig.pjsip(payload)
                continue
            data = rig.answer_bytes(*payload) if kind == "answer" else payload
            if data is not None:
                rig.edge.received(rig.flow, data)
                await _settle()
        for place, sent in rig.link.sent:
            if place < 64:
                check_for_pjsip(sent)
        for sent in rig.flow.sent:
            check_for_network(sent)
        check_bounds(rig.edge)
        for task in rig.edge._common._tasks:
            task.cancel()
    finally:
        log.removeHandler(handler)
    assert not errors, [(one.getMessage(), one.exc_info) for one in errors]


@given(
    data=st.one_of(
        st.binary(max_size=400), value.map(lambda text: f"\nCall-ID{text}:{text}\n".encode("utf-8", "replace"))
    )
)
def test_a_call_id_is_looked_for_in_anything(data: bytes) -> None:
    assert isinstance(strays.call_id_of(data), str)
