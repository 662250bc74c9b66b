"""How a request of PJSIP's becomes the edge's on the wire: Request-URI, Route, Via, tags and CSeq; pure."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping

from engine.edge.clean import EXTENSIONS, METHODS
from engine.edge.dialogs import Flow, Remote
from engine.sip.digest import Challenge, read_challenges
from engine.sip.fields import CSeq, NameAddr, Via
from engine.sip.message import Header, Request, Response
from engine.sip.syntax import Malformed
from engine.sip.uri import RemoteUri


def new_branch() -> str:
    """A branch of our own (RFC 3261 §8.1.1.7)."""
    return f"z9hG4bK{secrets.token_hex(12)}"


def internal_branch(request: Request) -> str:
    """The branch under which PJSIP sees a far end's request: the same for its retransmission, ACK and CANCEL."""
    via = request.first("Via") or ""
    seed = f"{via.partition('branch=')[2]}|{request.first('Call-ID')}|{(request.first('CSeq') or '').split(' ')[0]}"
    return f"z9hG4bK{hashlib.sha256(seed.encode()).hexdigest()[:24]}"


def via_of(flow: Flow, branch: str) -> str:
    """Our Via on a flow (RFC 3261 §18.1.1, RFC 3581, RFC 5923)."""
    host, port = flow.local
    alias = "" if flow.transport == "udp" else ";alias"
    return f"SIP/2.0/{flow.transport.upper()} {bracketed(host)}:{port};rport;branch={branch}{alias}"


def bracketed(host: str) -> str:
    """The host as it stands in a URI: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def loose(uri: str) -> str:
    """A Route entry that is a loose route (RFC 3261 §16.12.1)."""
    has = any(part.lower() == "lr" or part.lower().startswith("lr=") for part in uri.split(";")[1:])
    return f"<{uri}>" if has else f"<{uri};lr>"


def uri_of(route: str) -> str:
    """The URI of a Route entry."""
    return NameAddr.parse(route).uri


def routed(remote: Remote) -> tuple[str, tuple[str, ...], str]:
    """Request-URI, Route entries and next hop of a request to the remote (RFC 3261 §12.2.1.1)."""
    if remote.detour:
        return remote.target, (remote.detour, *remote.routes), uri_of(remote.detour)
    if not remote.routes:
        return remote.target, (), remote.target
    first = uri_of(remote.routes[0])
    if any(part.lower() == "lr" or part.lower().startswith("lr=") for part in first.split(";")[1:]):
        return remote.target, remote.routes, first
    return first, (*remote.routes[1:], f"<{remote.target}>"), first


def record_routes(response: Response) -> tuple[str, ...]:
    """The route set of a dialog that our request began (RFC 3261 §12.1.2); none when one entry cannot be read."""
    entries = response.all("Record-Route")
    try:
        return tuple(f"<{uri}>" for uri in (NameAddr.parse(entry).uri for entry in entries) if RemoteUri.parse(uri))[
            ::-1
        ]
    except (Malformed, ValueError):
        return ()


def readable_contact(value: str | None) -> str | None:
    """The SIP URI of a Contact value; None for any other."""
    try:
        uri = NameAddr.parse(value or "").uri
        RemoteUri.parse(uri)
    except (Malformed, ValueError):
        return None
    return uri


def with_tag(address: str, tag: str) -> str:
    """A From or To value with this tag in place of another; without any where ``tag`` is empty."""
    name_addr = NameAddr.parse(address)
    display = f'"{name_addr.display}" ' if name_addr.display else ""
    return f"{display}<{name_addr.uri}>" + (f";tag={tag}" if tag else "")


def tag_of(address: str | None) -> str:
    """The tag of a From or To value; empty without one."""
    try:
        return NameAddr.parse(address or "").tag or ""
    except (Malformed, ValueError):
        return ""


def mapped_rack(value: str, sent_as: Mapping[int, int]) -> str:
    """RAck (RFC 3262 §7.2) with the CSeq that the INVITE has on the wire."""
    words = value.split()
    if len(words) == 3 and words[1].isdigit():
        words[1] = str(sent_as.get(int(words[1]), int(words[1])))
    return " ".join(words)


def cancel_of(invite: Request, cseq: int) -> Request:
    """The CANCEL of an INVITE as it was sent (RFC 3261 §9.1)."""
    kept = ("Route", "From", "To", "Call-ID")
    fields = [Header("Max-Forwards", "70"), *(header for header in invite.headers if header.name in kept)]
    return Request("CANCEL", invite.uri, headers=(*fields, Header("CSeq", f"{cseq} CANCEL")))


def capable(header: Header) -> Header:
    """Allow and Supported with what is spoken here: PJSIP announces more."""
    match header.name:
        case "Allow":
            return Header("Allow", ", ".join(METHODS))
        case "Supported":
            named = {part.strip() for part in header.value.split(",")}
            return Header("Supported", ", ".join(one for one in EXTENSIONS if one in named))
        case _:
            return header


def method_of(response: Response) -> str:
    """The method that a response answers."""
    return CSeq.parse(response.first("CSeq") or "").method


def branch_of(via: str) -> str:
    """The branch of our Via as it came back, whatever else was done to it."""
    try:
        return Via.parse(via).branch or ""
    except Malformed:
        return ""


def challenges(response: Response) -> list[Challenge]:
    """All of a 401 or 407, in their order."""
    server = [one for value in response.all("WWW-Authenticate") for one in read_challenges(value, proxy=False)]
    return server + [one for value in response.all("Proxy-Authenticate") for one in read_challenges(value, proxy=True)]
