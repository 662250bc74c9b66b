"""Messages read and written: the torture tests of RFC 4475, and the oddities that carriers send."""

from __future__ import annotations

import pytest

from engine.sip.fields import CSeq, NameAddr, Via
from engine.sip.message import FIELD_MAX, FIELDS_MAX, HOPS_MAX, MESSAGE_MAX, Header, Request, Response, read, write
from engine.sip.syntax import Malformed
from engine.sip.uri import RemoteUri

FIELDS = (
    "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa",
    "From: <sip:a@h>;tag=1",
    "To: <sip:b@h>",
    "Call-ID: c",
    "CSeq: 1 OPTIONS",
)


def request(*lines: str, start: str = "OPTIONS sip:us@here SIP/2.0", body: str = "") -> bytes:
    return "\r\n".join([start, *lines, "", body]).encode()


def read_request(*lines: str, start: str = "OPTIONS sip:us@here SIP/2.0", body: str = "") -> Request:
    message = read(request(*lines, start=start, body=body))
    assert isinstance(message, Request)
    return message


def read_response(*lines: str, start: str = "SIP/2.0 200 OK", body: str = "") -> Response:
    message = read(request(*lines, start=start, body=body))
    assert isinstance(message, Response)
    return message


def test_rfc_4475_3_1_1_1_a_short_tortuous_invite() -> None:
    message = read(
        b"INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n"
        b"TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n"
        b'from   : "J Rosenberg \\\\\\""       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n'
        b"MaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@192.0.2.1\r\nContent-Length   : 150\r\n"
        b"cseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\ns :\r\n"
        b"NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n"
        b"UnknownHeaderWithUnusualValue: ;;,,;;,;\r\nContent-Type: application/sdp\r\n"
        b"Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n"
        b"v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n"
        b" SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n"
        b'm:"Quoted string \\"\\"" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n'
        b"  secondparam ; q = 0.33\r\n\r\n" + b"v" * 150 + b"beyond"
    )
    assert isinstance(message, Request)
    message.check()
    assert [Via.parse(via).branch for via in message.all("Via")] == ["390skdjuw", "z9hG4bK9ikj8", "z9hG4bK30239"]
    assert [Via.parse(via).transport for via in message.all("Via")] == ["UDP", "TCP", "UDP"]
    assert NameAddr.parse(message.first("From") or "").display == 'J Rosenberg \\"'
    assert NameAddr.parse(message.first("From") or "").tag == "98asjd8"
    assert NameAddr.parse(message.first("To") or "").tag == "1918181833n"
    assert CSeq.parse(message.first("CSeq") or "") == CSeq(9, "INVITE")
    contact = NameAddr.parse(message.first("Contact") or "")
    assert (contact.display, contact.params.get("q")) == ('Quoted string ""', "0.33")
    assert message.first("NewFangledHeader") == "newfangled value continued newfangled value"
    assert message.all("UnknownHeaderWithUnusualValue") == (";;,,;;,;",)
    assert (message.first("Subject"), message.body) == ("", b"v" * 150)
    assert RemoteUri.parse(message.uri).param("unknownparam") == ""


def test_rfc_4475_3_1_1_2_a_wide_range_of_valid_characters() -> None:
    message = read(
        b"!interesting-Method0123456789_*+`.%indeed'~ "
        b"sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com"
        b" SIP/2.0\r\nVia: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\r\n"
        b'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~@example.com>\r\n'
        b"From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>"
        b";fromParam''~+*_!.-%=\"\xd1\x80\xd0\xb0\xd0\xb1\";tag=_token~1'+`*%!-.\r\n"
        b"Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\r\n"
        b"CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\r\nMax-Forwards: 255\r\n"
        b"extensionHeader-!.%*+_`'~:\xef\xbb\xbf\xe5\xa4\xa7\xe5\x81\x9c\xe9\x9b\xbb\r\nContent-Length: 0\r\n\r\n"
    )
    assert isinstance(message, Request)
    message.check()
    assert message.first("Call-ID") == "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"
    assert NameAddr.parse(message.first("To") or "").display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert NameAddr.parse(message.first("From") or "").tag == "_token~1'+`*%!-."
    uri = RemoteUri.parse(message.uri)
    assert (uri.user, uri.host) == ("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*", "example.com")
    assert read(write(message)) == message


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("INVITE <sip:user@example.com> SIP/2.0", None),  # 3.1.2.6: RemoteUri refuses it
        ("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", None),  # 3.3.2: 416 is the caller's
        ("INVITE sip:user@example.com; lr SIP/2.0", 400),  # 3.1.2.7
        ("INVITE  sip:user@example.com  SIP/2.0", 400),  # 3.1.2.8
        ("OPTIONS sip:remote-target@example.com SIP/2.0  ", 400),  # 3.1.2.9
        ("OPTIONS sip:t1@example.com SIP/7.0", 505),  # 3.1.2.16
        ("OPTIONS sip:us@here sip/2.0", None),
        ("OPTIONS sip:us@here", 400),
        ("OPTIONS  SIP/2.0", 400),
        ("(OPTIONS) sip:us@here SIP/2.0", 400),
        ("GET / HTTP/1.1", 505),
        ("\x16\x03\x01", 400),
        (f"OPTIONS sip:{'a' * FIELD_MAX} SIP/2.0", 414),
    ],
)
def test_the_start_line_of_a_request_is_read_strictly(start: str, status: int | None) -> None:
    if status is None:
        assert read_request(*FIELDS, start=start).method == start.split(" ")[0]
        return
    with pytest.raises(Malformed) as refused:
        read(request(*FIELDS, start=start))
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Via SIP/2.0/UDP a",), 400),
        (("Via\N{NO-BREAK SPACE}: a",), 400),
        ((": a",), 400),
        (("To: <sip:other@h>",), 400),  # RFC 4475 3.3.8
        (("i: another",), 400),
        (("Content-Length: 9999",), 400),  # 3.1.2.2
        (("Content-Length: -999",), 400),  # 3.1.2.3
        (("Content-Length: five",), 400),
        (("l: 0", "Content-Length: 1"), 400),
        (tuple(f"X-{index}: a" for index in range(FIELDS_MAX)), 513),
        ((f"Subject: {'a' * FIELD_MAX}",), 513),
    ],
)
def test_a_request_whose_fields_cannot_be_read_is_refused_and_can_still_be_answered(
    lines: tuple[str, ...], status: int
) -> None:
    data = request(*FIELDS, *lines)
    with pytest.raises(Malformed) as refused:
        read(data)
    assert refused.value.status == status
    assert str(refused.value).endswith(".")
    message = read(data, strict=False)
    assert isinstance(message, Request)
    message.check()


@pytest.mark.parametrize("missing", range(len(FIELDS)))
def test_a_request_without_a_field_that_each_one_needs_is_refused(missing: int) -> None:
    message = read_request(*FIELDS[:missing], *FIELDS[missing + 1 :])
    with pytest.raises(Malformed, match=FIELDS[missing].partition(":")[0]):
        message.check()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CSeq", "1 INVITE"),  # RFC 4475 3.1.2.17
        ("CSeq", "36893488147419103232 OPTIONS"),  # 3.1.2.4
        ("CSeq", "one OPTIONS"),
        ("To", '"Mr. J. User <sip:j.user@example.com>'),  # 3.1.2.5
        ("From", "Bell, Alexander <sip:a.g.bell@example.com>;tag=43, <sip:b@h>"),
        ("From", "*"),
        ("Via", "SIP/2.0/UDP"),
        ("Via", ", ".join(["SIP/2.0/UDP a"] * (HOPS_MAX + 1))),
        ("Record-Route", ", ".join(["<sip:a>"] * (HOPS_MAX + 1))),
    ],
)
def test_a_request_whose_fields_say_nothing_that_can_be_acted_on_is_refused(name: str, value: str) -> None:
    message = read_request(*FIELDS).with_header(name, value)
    with pytest.raises(Malformed):
        message.check()


def test_the_same_field_twice_counts_once() -> None:
    assert read_request(*FIELDS, *FIELDS[1:]).headers == read_request(*FIELDS).headers


@pytest.mark.parametrize(
    ("start", "status", "reason"),
    [
        ("SIP/2.0 200 OK", 200, "OK"),
        ("SIP/2.0 200", 200, ""),
        ("SIP/2.0 200 ", 200, ""),
        ("sip/2.0  486  Busy  Here ", 486, "Busy  Here"),
        ("SIP/2.0 100 \N{CYRILLIC SMALL LETTER ER}", 100, "\N{CYRILLIC SMALL LETTER ER}"),  # RFC 4475 3.1.1.12
        ("SIP/2.0 699 x\ry", 699, "x y"),
    ],
)
def test_the_status_line_may_lack_its_reason(start: str, status: int, reason: str) -> None:
    response = read_response(start=start)
    assert (response.status, response.reason) == (status, reason)


@pytest.mark.parametrize(
    "start",
    [
        "SIP/2.0",
        "SIP/2.0 OK",
        "SIP/2.0 99 x",
        "SIP/2.0 700 x",
        "SIP/2.0 4294967301 x",
        "SIP/2.0 ²00 x",
        "SIP/3.0 200 OK",
    ],
)
def test_a_status_line_without_a_status_is_malformed(start: str) -> None:
    with pytest.raises(Malformed):
        read_response(start=start)


@pytest.mark.parametrize(
    "odd",
    [
        "Retry-After: 18446744073709551616",
        "Retry-After: 12345678901234",
        "Min-SE: ten minutes",
        "Expires: Thu, 01 Dec 1994 16:00:00 GMT",
        "Session-Expires: -90",
        "Contact: <sip:>",
        "Contact: <tel:+14155550123>",
        "Contact: <sip:a@h?Route=%3Csip:x%3E>",
        "Contact: <sip:a@h:70000>",
        "Contact: *",
        "Record-Route: junk",
        'WWW-Authenticate: Basic realm="carrier"',
        "Require: precondition",
        "Content-Length: 9999",
        "Content-Length: five",
        "CSeq: 2 INVITE",
        "To: <sip:other@h>;tag=other",
        "no colon",
        "(: a",
        f"Subject: {'a' * FIELD_MAX}",
        "X: \udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
        "\r\n".join(["X: a"] * FIELDS_MAX),
    ],
)
def test_a_response_counts_whatever_one_field_says(odd: str) -> None:
    response = read_response(*FIELDS, odd, body="v=0")
    assert response.first("CSeq") == "1 OPTIONS"
    assert NameAddr.parse(response.first("To") or "").uri == "sip:b@h"
    assert response.body == b"v=0"


@pytest.mark.parametrize(
    "data",
    [
        b"SIP/2.0 200 OK\r\nv: a\r\nf: b\r\nt: c\r\ni: d\r\nm: e\r\nl: 0\r\nc: g\r\nk: h\r\nx: i\r\n\r\n",
        b"SIP/2.0 200 OK\r\nvia: a\r\nFROM: b\r\nto: c\r\ncall-id: d\r\ncontact: e\r\ncontent-LENGTH: 0\r\n"
        b"content-type: g\r\nsupported: h\r\nsession-expires: i\r\n\r\n",
        b"\r\n\r\nSIP/2.0 200 OK\nVia : a\nFrom\t: b\nTo:\n c\nCall-ID:\td\nContact:e \nContent-Length:\n\t0\n"
        b"Content-Type: g\nSupported:\r\n \r\n h\nSession-Expires: i\n\n",
    ],
    ids=["compact", "case", "LF, folding and blanks"],
)
def test_names_are_canonical_and_values_are_one_line(data: bytes) -> None:
    names = [
        "Via",
        "From",
        "To",
        "Call-ID",
        "Contact",
        "Content-Length",
        "Content-Type",
        "Supported",
        "Session-Expires",
    ]
    assert read(data).headers == tuple(Header(name, value) for name, value in zip(names, "abcde0ghi", strict=True))


def test_bytes_that_are_no_utf_8_are_replaced_in_fields_and_kept_in_the_body() -> None:
    message = read(b"SIP/2.0 200 OK\r\nSubject: \xff\xfe\r\n\r\n\xff\r\n\r\n\xfe")
    assert (message.first("Subject"), message.body) == ("\ufffd\ufffd", b"\xff\r\n\r\n\xfe")


@pytest.mark.parametrize(
    ("length", "body"), [(None, b"v=0\r\n"), ("3", b"v=0"), ("0", b""), ("5", b"v=0\r\n"), ("0000005", b"v=0\r\n")]
)
def test_content_length_cuts_the_body_and_may_be_missing(length: str | None, body: bytes) -> None:
    lines = () if length is None else (f"Content-Length: {length}",)
    assert read_request(*FIELDS, *lines, body="v=0\r\n").body == body


def test_a_message_without_its_empty_line_has_no_body() -> None:
    message = read(b"SIP/2.0 200 OK\r\nTo: <sip:a>")
    assert (message.first("To"), message.body) == ("<sip:a>", b"")


def test_a_message_beyond_the_bounds_is_refused() -> None:
    with pytest.raises(Malformed) as refused:
        read(request(body="a" * MESSAGE_MAX))
    assert refused.value.status == 513
    with pytest.raises(Malformed):
        read(b"")


def test_lists_are_cut_at_commas_and_credentials_are_not() -> None:
    challenges = ('Digest realm="a, b", nonce="c", qop="auth,auth-int"', 'Basic realm="carrier"')
    message = read_response(
        "Contact: <sip:a,b@h>, \"x, y\" <sip:c@h>;q=0.1", "Contact: <sip:d@h>", "Allow: INVITE,ACK ,, BYE",
        *(f"WWW-Authenticate: {challenge}" for challenge in challenges),
        "Date: Thu, 01 Dec 1994 16:00:00 GMT", "X-List: a, b", "Subject: a, b",
    )  # fmt: skip
    assert message.all("m") == ("<sip:a,b@h>", '"x, y" <sip:c@h>;q=0.1', "<sip:d@h>")
    assert message.all("allow") == ("INVITE", "ACK", "BYE")
    assert message.all("www-authenticate") == challenges
    assert message.first("Date") == "Thu, 01 Dec 1994 16:00:00 GMT"
    assert message.all("x-LIST") == ("a, b",)
    assert (message.first("Contact"), message.first("Via"), message.all("Via")) == ("<sip:a,b@h>", None, ())


def test_a_message_is_changed_by_making_another() -> None:
    message = read_request("Via: a", "X-A: 1", "Via: b", "x-a: 2", "Route: <sip:r>")
    assert message.without("v", "ROUTE").all("X-A") == ("1", "2")
    replaced = message.with_header("x-a", "3", "4").headers
    assert [f"{header.name} {header.value}" for header in replaced] == [
        "Via a",
        "x-a 3",
        "x-a 4",
        "Via b",
        "Route <sip:r>",
    ]
    assert message.appended("v", "c").all("Via") == ("a", "b", "c")
    assert message.with_header("New", "1").headers[-1] == Header("New", "1")


def test_a_message_is_written_with_its_own_content_length() -> None:
    message = Request("BYE", "sip:a@h", headers=(Header("Content-Length", "9"), Header("To", "é")), body=b"\xff")
    assert write(message) == b"BYE sip:a@h SIP/2.0\r\nContent-Length: 1\r\nTo: \xc3\xa9\r\n\r\n\xff"
    assert write(Response(200, "OK")) == b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("text", ["a\r\nX: injected", "a\nX: injected", "a\r"])
def test_a_line_break_is_never_written_into_a_field(text: str) -> None:
    for message in (
        Request("BYE", text),
        Response(200, text),
        Response(200, "OK", headers=(Header("To", text),)),
        Response(200, "OK", headers=(Header(text, "a"),)),
    ):
        with pytest.raises(ValueError, match="line break"):
            write(message)
