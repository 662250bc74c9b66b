"""The values of header fields, in the forms that RFC 4475 and carriers write them."""

from __future__ import annotations

import pytest

from engine.sip import fields
from engine.sip.fields import CSeq, NameAddr, Via, q850_cause, retry_after_s, session_expires
from engine.sip.syntax import Malformed


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa", None),
        ("SIP/2.0/TLS [2001:db8::9:1]:5061;branch=z9hG4bKas3-111", None),
        ("SIP/2.0/UDP host.example.com", None),
        ("SIP / 2.0 / UDP  192.0.2.2;branch=390skdjuw", "SIP/2.0/UDP 192.0.2.2;branch=390skdjuw"),
        ("SIP/2.0/tcp first.example.com : 4000 ; ttl = 16", "SIP/2.0/TCP first.example.com:4000;ttl=16"),
        ("SIP/2.0/UNKNOWN a_b.example;rport;hidden", "SIP/2.0/UNKNOWN a_b.example;rport;hidden"),
        ('SIP/2.0/UDP a.example;branch=z9hG4bKa;x="a;b";;?=1', 'SIP/2.0/UDP a.example;branch=z9hG4bKa;x="a;b"'),
    ],
)
def test_a_via_is_read_in_each_form_and_written_in_one(text: str, written: str | None) -> None:
    assert str(Via.parse(text)) == (written or text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "SIP/2.0/UDP", "SIP/2.0/UDP ;branch=a", "SIP/3.0/UDP a.example", "UDP a.example"),
        *("SIP/2.0/UDP a.example:", "SIP/2.0/UDP a.example:0", "SIP/2.0/UDP a.example:70000", "SIP/2.0/UDP a:5:6"),
        *(f"SIP/2.0/UDP {'a' * 254}", "SIP/2.0/UDP [::1", "SIP/2.0/UDP 1.2.3", "SIP/2.0/UDP 2001:db8::1"),
    ],
)
def test_a_via_without_version_transport_host_or_a_port_that_can_be_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        Via.parse(text)


def test_a_via_names_its_branch_and_takes_the_source_of_the_request() -> None:
    via = Via.parse("SIP/2.0/UDP a.example;rport;BRANCH=z9hG4bKa;received=1.1.1.1")
    assert via.branch == "z9hG4bKa"
    written = "SIP/2.0/UDP a.example;rport=5070;BRANCH=z9hG4bKa;received=192.0.2.7"
    assert str(via.with_received("192.0.2.7", 5070)) == written
    assert str(Via.parse("SIP/2.0/UDP a.example").with_received("::1", 5)) == "SIP/2.0/UDP a.example;received=::1"


@pytest.mark.parametrize(
    ("text", "display", "uri", "params"),
    [
        (
            "sip:vivekg@chair-dnrc.example.com ; tag = 1918181833n",
            "",
            "sip:vivekg@chair-dnrc.example.com",
            ";tag=1918181833n",
        ),
        (
            r'"J Rosenberg \\\""       <sip:jdrosen@example.com> ; tag = 98asjd8',
            'J Rosenberg \\"',
            "sip:jdrosen@example.com",
            ";tag=98asjd8",
        ),
        ("caller<sip:caller@example.com>;tag=323", "caller", "sip:caller@example.com", ";tag=323"),
        ('"Quoted string \\"\\"" <sip:jdrosen@example.com>', 'Quoted string ""', "sip:jdrosen@example.com", ""),
        ('"Front, <desk>; a" <sip:a@h;lr?x=y>;q=0.5', "Front, <desk>; a", "sip:a@h;lr?x=y", ";q=0.5"),
        ("I have spaces <sip:a@h>", "I have spaces", "sip:a@h", ""),
        ("<sip:+1;npdi;rn=+14@h;user=phone>;expires=20", "", "sip:+1;npdi;rn=+14@h;user=phone", ";expires=20"),
        ("<tel:+14155550123>", "", "tel:+14155550123", ""),
        ("<urn:service:x>;a", "", "urn:service:x", ";a"),
        ("sip:a@h?Subject=x", "", "sip:a@h?Subject=x", ""),
        ("*", "", "*", ""),
        ("<sip:a@h>;tag=a=b;ok;(=1;x=<y>;z", "", "sip:a@h", ";tag=a=b;ok;z"),
        ("é <sip:a@h>;tag=\ufffd", "é", "sip:a@h", ";tag=\ufffd"),
    ],
)
def test_an_address_is_read_with_and_without_brackets(text: str, display: str, uri: str, params: str) -> None:
    address = NameAddr.parse(text)
    assert (address.display, address.uri, str(address.params)) == (display, uri, params)
    assert NameAddr.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "<>", ";tag=a", '"unterminated <sip:a@h>', '"a" sip:a@h', "<sip:a@h", "a <sip:a@h> b", "<sip:a b@h>"),
        *("<sip:a@h>, <sip:b@h>", "sip:a@h, sip:b@h", "Bell, Alexander sip:a@h", "<<sip:a@h>>", '<sip:"a"@h>'),
    ],
)
def test_text_that_is_no_address_or_two_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        NameAddr.parse(text)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("<sip:a@h>;Tag=x", "x"),
        ("sip:a@h;tag=x", "x"),
        ("<sip:a@h;tag=x>", None),
        ('"tag=x" <sip:a@h>', None),
        ("<sip:a@h>;tag=", None),
        ("<sip:a@h>;tag", None),
        ('<sip:a@h>;a=";tag=y";tag=x', "x"),
    ],
)
def test_a_tag_is_read_outside_the_uri_and_outside_quotes(text: str, tag: str | None) -> None:
    assert NameAddr.parse(text).tag == tag


@pytest.mark.parametrize(("text", "number"), [("0009\t INVITE", 9), ("2147483647 INVITE", 2**31 - 1)])
def test_a_cseq_is_a_number_and_a_method(text: str, number: int) -> None:
    assert CSeq.parse(text) == CSeq(number, "INVITE")


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE", "-1 INVITE", "1 IN VITE", "2147483648 A", "36893488147419103232 REGISTER", "² INVITE"]
)
def test_a_cseq_of_another_form_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        CSeq.parse(text)


@pytest.mark.parametrize(
    ("reasons", "cause"),
    [
        (['Q.850;cause=17;text="User busy"'], 17),
        (['q.850 ;text="a"; cause = 21'], 21),
        (['SIP;cause=200;text="x", Q.850;cause=16'], 16),
        (["SIP;cause=580", "Q.850 ; CAUSE=16"], 16),
        (["SIP;cause=580"], None),
        (["Q.850;cause=999"], None),
        (["Q.850;cause=-1"], None),
        (["Q.850;xcause=17"], None),
        (["XQ.850;cause=17"], None),
        ([";", ";Q.850;cause=17", '"Q.850;cause=17"', "Q.850"], None),
        (['Q.850;text="User busy, sorry";cause=17'], 17),
        (['SIP;cause=500;text="was Q.850;cause=1, we think", Q.850;cause=38'], 38),
        (['Q.850;text="cause=1;cause=2 \\" ;cause=3";cause=17'], 17),
        (['Q.850;cause="17"'], 17),
        ([], None),
    ],
)
def test_the_q850_cause_is_read_outside_quotes_wherever_it_stands(reasons: list[str], cause: int | None) -> None:
    assert q850_cause(reasons) == cause


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("120;duration=3600", 120),
        ("18000 (in maintenance)", 18000),
        ("0030", 30),
        ("18446744073709551616", 2**32 - 1),
        ("12345678901234", 2**32 - 1),
        ("9" * 8000, 2**32 - 1),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
    ],
)
def test_the_seconds_are_read_from_retry_after_and_larger_numbers_are_the_largest(
    text: str, seconds: int | None
) -> None:
    assert retry_after_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1800;refresher=uac", (1800, "uac")),
        ("90 ; Refresher = UAS", (90, "uas")),
        ("60", (60, None)),
        ("60;refresher=proxy", (60, None)),
        ("-90", None),
        ("ten minutes", None),
    ],
)
def test_a_session_interval_is_read_with_the_refresher_it_names(text: str, read: tuple[int, str | None] | None) -> None:
    assert session_expires(text) == read


def test_a_date_or_words_in_place_of_seconds_are_no_time() -> None:
    assert fields.expires("Thu, 01 Dec 1994 16:00:00 GMT") is None
    assert fields.expires(" 20 ") == 20
    assert fields.min_se("ten minutes") is None
    assert fields.min_se("90;lr") == 90
