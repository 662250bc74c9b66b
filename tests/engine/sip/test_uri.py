"""SIP URIs read and written, and what must never become one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sip.syntax import Malformed
from engine.sip.uri import RemoteUri, SipUri, name_addr


@pytest.mark.parametrize(
    "text",
    [
        "sip:carrier.example",
        "sip:carrier.example:5070;transport=udp",
        "sips:+14155550100@carrier.example",
        "sip:127.0.0.1:5060;transport=tcp;lr",
        "sip:[2001:db8::1]:5060",
    ],
)
def test_a_uri_is_written_as_it_was_read(text: str) -> None:
    assert str(SipUri.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "carrier.example",
        "http://carrier.example",
        "sip:",
        "sip:a b",
        "sip:carrier.example\r\nX-Injected: 1",
        "sip:carrier.example>,<sip:premium.example",
        "sip:carrier.example?Subject=x",
        "sip:a@b@c",
        "sip:carrier.example:0",
        "sip:carrier.example:70000",
        "sip:carrier.example;lr\n",
    ],
)
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="expected a SIP URI|is not between"):
        SipUri.parse(text)


@pytest.mark.parametrize("user", ["a b", "a@b", "a\r\nX-Injected: 1", "a>,<sip:premium.example", "50%off", "#31"])
def test_a_user_that_would_have_to_be_escaped_is_refused(user: str) -> None:
    with pytest.raises(ValueError, match="user part"):
        SipUri(host="carrier.example").with_user(user)


def test_an_identity_has_neither_port_nor_transport() -> None:
    uri = SipUri.parse("sip:carrier.example:5070;transport=tcp").identity.with_user("+14155550100")
    assert name_addr(uri) == "<sip:+14155550100@carrier.example>"


@given(st.text())
def test_a_display_name_cannot_leave_its_quotes(name: str) -> None:
    try:
        written = name_addr(SipUri(host="a.example"), name)
    except ValueError:
        return
    assert not name or re.fullmatch(r'"(?:[^"\\\r\n]|\\.)*" <sip:a\.example>', written)


@pytest.mark.parametrize(
    ("uri", "transport"),
    [
        ("sip:a.example", "udp"),
        ("sip:a.example;transport=TLS", "tls"),
        ("sip:a.example;lr;transport=tcp", "tcp"),
    ],
)
def test_a_uri_names_its_transport(uri: str, transport: str) -> None:
    assert SipUri.parse(uri).transport == transport


LONGEST_HOST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
_OWN_HOST = r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_OWN_PARAM = r"[A-Za-z0-9!%*_+`'~.-]+(?:=[A-Za-z0-9!%*_+`'~.:\[\]/&$-]+)?"
_OWN_URI = re.compile(rf"sips?:(\+?[A-Za-z0-9._-]+@)?{_OWN_HOST}(?::(?P<port>[0-9]{{1,5}}))?(;{_OWN_PARAM})*")


@given(
    st.from_regex(_OWN_URI, fullmatch=True)
    | st.text(alphabet="sip:@;=[]+-._%0a\n é", max_size=12).map("sip:".__add__)
    | st.text(alphabet="sip:@;=[]?a1", max_size=12)
)
def test_our_own_uris_are_those_of_the_grammar_and_no_others(text: str) -> None:
    in_grammar = _OWN_URI.fullmatch(text)
    if in_grammar is None:
        with pytest.raises(ValueError, match="expected a SIP URI"):
            SipUri.parse(text)
    elif in_grammar["port"] and not 0 < int(in_grammar["port"]) < 65536:
        with pytest.raises(ValueError, match="is not between"):
            SipUri.parse(text)
    else:
        assert re.sub(r":0+(?=[1-9][0-9]*(;|$))", ":", text) == str(SipUri.parse(text))


@pytest.mark.parametrize(
    ("text", "user", "host", "port", "params"),
    [
        ("sip:a.example", "", "a.example", None, ()),
        ("SIPS:bob@A.example.:5061", "bob", "A.example.", 5061, ()),
        ("sip:+1415;npdi;rn=+1416@127.0.0.1:5110", "+1415;npdi;rn=+1416", "127.0.0.1", 5110, ()),
        ("sip:%23+1%C3%A9@h;user=phone;;lr", "%23+1%C3%A9", "h", None, ("user=phone", "lr")),
        ("sip:*72@[2001:db8::1]:5060;ob", "*72", "[2001:db8::1]", 5060, ("ob",)),
        ("sip:[::ffff:192.0.2.1];maddr=[::1]", "", "[::ffff:192.0.2.1]", None, ("maddr=[::1]",)),
        ("sip:a_b.example;isub=1%2F", "", "a_b.example", None, ("isub=1%2F",)),
        (f"sip:{LONGEST_HOST}", "", LONGEST_HOST, None, ()),
    ],
)
def test_a_far_ends_uri_is_read(text: str, user: str, host: str, port: int | None, params: tuple[str, ...]) -> None:
    uri = RemoteUri.parse(text)
    assert (uri.user, uri.host, uri.port, uri.params, uri.headers) == (user, host, port, params, "")
    assert RemoteUri.parse(str(uri)) == uri


def test_a_far_ends_uri_is_written_without_its_headers() -> None:
    uri = RemoteUri.parse("sip:a:pass%40@h:5070;transport=TCP?Route=%3Csip:x%3E&Subject=y")
    assert (uri.user, uri.password, uri.headers) == ("a", "pass%40", "Route=%3Csip:x%3E&Subject=y")
    assert (uri.transport, uri.param("maddr")) == ("tcp", None)
    assert str(uri) == "sip:a:pass%40@h:5070;transport=TCP"
    assert RemoteUri.parse("sips:h;transport=tcp").transport == "tls"
    assert RemoteUri.parse("sip:h").transport == "udp"


@pytest.mark.parametrize("text", ["tel:+14155550123", "urn:service:x", "http://h", "h", "", "sip", "sipss:a@h"])
def test_another_scheme_is_refused_with_416(text: str) -> None:
    with pytest.raises(Malformed, match="neither sip: nor sips:") as refused:
        RemoteUri.parse(text)
    assert refused.value.status == 416


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        *((f"sip:{host}", "host") for host in ("", ";lr", "a@", "a..b", ".", "[::1", "[]", "[::g]", "[fe80::1%eth0]")),
        *(
            (f"sip:{host}", "host")
            for host in ("1.2.3", "999.1.1.1", "0x7f000001", "2130706433", "a b", "a@b@c", "é.a")
        ),
        *((f"sip:a@{host}", "host") for host in ("a" * 254, f"{LONGEST_HOST}d", "a" * 64, "h\r\nX: 1", "<sip:h>")),
        *((f"sip:h:{port}", "port") for port in ("", "0", "65536", "70000", "-1", "5060 ", "²", "000005060", "5:6")),
        *((f"sip:{user}@h", "user") for user in ("", "a b", "#31#", "%2", "%zz", "<a>", '"a"', "a\n", "é", "a%")),
        *((f"sip:h;{param}", "parameters") for param in ("a b", "a=<b>", "=a", "a=%2", 'a="b"', "a\r\nX: 1", "a>")),
        ("sip:a:p w@h", "password"),
        ("sip:h?a b", "headers"),
        ("sip:x@h?a@b", "headers"),
    ],
)
def test_a_far_ends_uri_that_leads_nowhere_is_refused_with_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(Malformed, match=wrong) as refused:
        RemoteUri.parse(text)
    assert refused.value.status == 400
