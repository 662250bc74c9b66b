"""What an INVITE says of who calls whom, by trunk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.sip.addressing import Addresses, IdentityHeader, addresses, check_header, dialled, may_call_from
from engine.sip.uri import SipUri
from tests.engine.samples import trunk

FROM, TO = "+14155550100", "+493012345"
PLAIN = trunk().account.addressing
ASSERTED = ("P-Asserted-Identity", f"<sip:{FROM}@carrier.example>")


def said(**wishes: Any) -> Addresses:
    return addresses(
        replace(PLAIN, **wishes),
        target=SipUri.parse("sip:gw.carrier.example:5070;transport=tcp"),
        home=SipUri.parse("sip:carrier.example;transport=tcp"),
        from_number=FROM,
        to_number=TO,
    )


@pytest.mark.parametrize(
    ("wishes", "written"),
    [
        ({}, "+493012345"),
        ({"plus": False}, "493012345"),
        ({"strip_prefix": "+49", "prefix": "0"}, "03012345"),
        ({"strip_prefix": "+1", "plus": False, "prefix": "011"}, "011493012345"),
        ({"plus": False, "prefix": "7#"}, "7%23493012345"),
        ({"plus": False, "prefix": "*31*"}, "*31*493012345"),
    ],
)
def test_the_number_is_dialled_as_the_trunk_writes_it(wishes: dict[str, Any], written: str) -> None:
    assert dialled(replace(PLAIN, **wishes), TO) == written
    assert said(**wishes).request_uri.user == written
    assert said(**wishes).to == f"<sip:{written}@gw.carrier.example>"


def test_without_wishes_the_caller_stands_in_from_and_is_asserted() -> None:
    assert said() == Addresses(
        request_uri=SipUri.parse(f"sip:{TO}@gw.carrier.example:5070;transport=tcp"),
        to=f"<sip:{TO}@gw.carrier.example>",
        from_=f"<sip:{FROM}@carrier.example>",
        headers=(ASSERTED,),
    )


@pytest.mark.parametrize(
    ("wishes", "from_", "headers"),
    [
        ({"plus": False}, "<sip:14155550100@carrier.example>", ["<sip:14155550100@carrier.example>"]),
        ({"from_domain": "you.example"}, f"<sip:{FROM}@you.example>", [f"<sip:{FROM}@you.example>"]),
        ({"from_user": "acme"}, "<sip:acme@carrier.example>", [ASSERTED[1]]),
        ({"display_name": 'A "B"'}, f'"A \\"B\\"" <sip:{FROM}@carrier.example>', [f'"A \\"B\\"" {ASSERTED[1]}']),
        ({"privacy": True}, '"Anonymous" <sip:anonymous@anonymous.invalid>', [ASSERTED[1], "id"]),
        ({"header": IdentityHeader.NONE}, f"<sip:{FROM}@carrier.example>", []),
        ({"headers": (("X-Account", "7"),)}, f"<sip:{FROM}@carrier.example>", [ASSERTED[1], "7"]),
    ],
)  # fmt: skip
def test_the_caller_is_named_as_the_trunk_wishes(wishes: dict[str, Any], from_: str, headers: list[str]) -> None:
    invite = said(**wishes)
    assert invite.from_ == from_
    assert [value for _, value in invite.headers] == headers


def test_the_preferred_identity_has_its_own_header() -> None:
    assert said(header=IdentityHeader.PREFERRED).headers == (("P-Preferred-Identity", ASSERTED[1]),)


def test_user_phone_is_in_every_uri_that_is_a_number_and_in_no_other() -> None:
    invite = said(user_phone=True, from_user="acme")
    assert str(invite.request_uri).endswith(";transport=tcp;user=phone")
    assert invite.to == f"<sip:{TO}@gw.carrier.example;user=phone>"
    assert invite.headers[0][1] == f"<sip:{FROM}@carrier.example;user=phone>"
    assert invite.from_ == "<sip:acme@carrier.example>"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X Y", "1"),
        ("X:", "1"),
        ("", "1"),
        ("m", "sip:elsewhere"),
        ("Contact", "<sip:elsewhere>"),
        ("VIA", "1"),
        ("P-Asserted-Identity", "<sip:+1@a.example>"),
        ("X-One", "a\r\nX-Two: b"),
        ("X-One", " "),
    ],
)
def test_a_header_that_is_no_token_or_not_ours_to_give_away_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="token|itself|one line"):
        check_header(name, value)


@pytest.mark.parametrize(
    ("callers", "number", "allowed"),
    [
        ((), FROM, True),
        ((FROM,), FROM, True),
        (("+1415555*",), FROM, True),
        (("+49*", FROM), FROM, True),
        (("+1415555010",), FROM, False),
        (("+49*",), FROM, False),
    ],
)
def test_a_caller_is_allowed_by_its_number_or_its_beginning(
    callers: tuple[str, ...], number: str, allowed: bool
) -> None:
    assert may_call_from(callers, number) is allowed
