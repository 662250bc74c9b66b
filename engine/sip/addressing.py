"""A trunk's form of numbers and of the caller's name: makes RFC 3261, 3323 and 3325 headers from two numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from engine.sip.uri import SipUri, name_addr

_ANONYMOUS = SipUri(user="anonymous", host="anonymous.invalid")  # RFC 3323 §4.1.1.3
_TOKEN = re.compile(r"[A-Za-z0-9!%*_+`'~.-]{2,64}")
_OWN_HEADERS = re.compile(
    r"accept|allow|authorization|call-id|contact|content-.*|cseq|date|event|expires|from|max-forwards|mime-version|min-se"
    r"|p-(asserted|preferred)-identity|privacy|proxy-.*|rack|reason|record-route|refer-to|replaces|require|route|rseq"
    r"|session-expires|supported|to|user-agent|via",
    re.IGNORECASE,
)
"""The headers that the SIP stack or other settings write; a second one would contradict them."""


class IdentityHeader(StrEnum):
    """Which header names the caller beside From (RFC 3325 §9)."""

    ASSERTED = "p-asserted-identity"
    PREFERRED = "p-preferred-identity"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressing:
    """How a trunk expects numbers and callers to be written.

    ``strip_prefix`` and ``prefix`` are for the dialled number, in that order; ``headers`` are added to the INVITE;
    ``from_domain`` is the trunk's own host when empty.
    """

    plus: bool
    strip_prefix: str
    prefix: str
    user_phone: bool
    from_user: str
    from_domain: str
    display_name: str
    header: IdentityHeader
    privacy: bool
    headers: tuple[tuple[str, str], ...] = field(repr=False)  # one may be a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """The addresses of an INVITE. All except ``request_uri`` are complete header values, escaped."""

    request_uri: SipUri
    to: str
    from_: str
    headers: tuple[tuple[str, str], ...]


def dialled(addressing: Addressing, number: str) -> str:
    """The user part that reaches ``number`` (E.164 with its plus) through the trunk."""
    rest = number.removeprefix(addressing.strip_prefix)
    written = f"{addressing.prefix}{rest if addressing.plus else rest.removeprefix('+')}"
    return written.replace("#", "%23")  # RFC 3261 §25.1: not among a user part's characters


def addresses(addressing: Addressing, *, target: SipUri, home: SipUri, from_number: str, to_number: str) -> Addresses:
    """The addresses for an INVITE to ``target``; ``home`` is the URI of the caller's own host."""
    phone = ("user=phone",) if addressing.user_phone else ()
    callee = target.with_user(dialled(addressing, to_number))
    caller = replace(
        home.identity,
        user=from_number if addressing.plus else from_number.removeprefix("+"),
        host=addressing.from_domain or home.host,
        params=phone,
    )
    sender = replace(caller, user=addressing.from_user, params=()) if addressing.from_user else caller
    headers: list[tuple[str, str]] = []
    if addressing.header is not IdentityHeader.NONE:
        name = "P-Asserted-Identity" if addressing.header is IdentityHeader.ASSERTED else "P-Preferred-Identity"
        headers.append((name, name_addr(caller, addressing.display_name)))
    if addressing.privacy:
        headers.append(("Privacy", "id"))  # RFC 3325 §9.3: only trusted hosts see the number
    from_ = name_addr(_ANONYMOUS, "Anonymous") if addressing.privacy else name_addr(sender, addressing.display_name)
    return Addresses(
        request_uri=replace(callee, params=(*callee.params, *phone)),
        to=name_addr(replace(callee.identity, params=phone)),
        from_=from_,
        headers=(*headers, *addressing.headers),
    )


def check_header(name: str, value: str) -> None:
    """Raises ``ValueError`` with a sentence unless the header may be added to an INVITE."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the long name of a header (RFC 3261 §25.1: a token)")
    if _OWN_HEADERS.fullmatch(name):
        raise ValueError(f"{name} is written by Trunkline itself and cannot be set here")
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{name} needs a value of one line, without control characters")


def may_call_from(callers: tuple[str, ...], number: str) -> bool:
    """Whether the caller's number matches one of ``callers``, where a final ``*`` matches any rest. When ``callers`` is
    empty, every number is allowed."""
    return not callers or any(
        number.startswith(allowed[:-1]) if allowed.endswith("*") else number == allowed for allowed in callers
    )
