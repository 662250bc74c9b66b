"""The security demands of one leg: a valid certificate of its trunk, encrypted audio, and TLS for the whole dialog."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace

from engine.outcome import NOT_ENCRYPTED, Outcome
from engine.pjsip.library import find_dialog, header_list, parsed, pjlib, tag_of
from engine.sip.fields import NameAddr
from engine.sip.message import Response
from engine.sip.syntax import Malformed
from engine.sip.uri import RemoteUri, SipUri


class LegSecurity:
    """The demands of one leg. ``refusal_of`` explains PJSIP's reason for a transport's failure."""

    def __init__(self, first_hop: SipUri, *, srtp_required: bool, refusal_of: Callable[[str], Outcome | None]) -> None:
        self._first_hop = first_hop
        self._srtp_required = srtp_required
        self._refusal_of = refusal_of
        self.unencrypted = False
        """The trunk answered with plain RTP although SRTP is required. PJSIP opened no stream and ends the call."""

    def heard(self, message: str) -> None:
        """Check a response to the INVITE; to be called before its ACK is sent."""
        response = parsed(message)
        if not isinstance(response, Response):
            return
        if self._srtp_required and _has_plain_audio(response.body):
            self.unencrypted = True
        if response.status // 100 == 2:
            self._stay_in_reach(response)

    def refusal(self, reason: str) -> Outcome | None:
        """The outcome when the leg ended because of a demand, otherwise None; ``reason`` is PJSIP's."""
        return NOT_ENCRYPTED if self.unencrypted else self._refusal_of(reason)

    def _stay_in_reach(self, response: Response) -> None:
        """Send the dialog's later requests to where the INVITE went, when the far end names an unusable target: without
        TLS after TLS, or with a transport that PJSIP lacks. PJSIP aborts the process when it cannot send ACK."""
        routes = _uris(response, "Record-Route")[::-1]  # RFC 3261 §12.1.2
        next_hop = (routes or _uris(response, "Contact"))[:1]
        if next_hop and _in_reach(next_hop[0], tls=self._first_hop.transport == "tls"):
            return
        first_hop = replace(self._first_hop, params=tuple(dict.fromkeys((*self._first_hop.params, "lr"))))
        route = ", ".join(f"<{uri}>" for uri in (first_hop, *routes))
        _set_route(response.first("Call-ID") or "", tag_of(response, "From"), tag_of(response, "To"), route)


def _has_plain_audio(sdp: bytes) -> bool:
    media = (line.split(b" ") for line in sdp.split(b"\n") if line.startswith(b"m=audio "))
    return any(line[2:3] in ([b"RTP/AVP"], [b"RTP/AVPF"]) for line in media)


def _uris(response: Response, name: str) -> list[str]:
    uris = []
    for address in response.all(name):
        try:
            uris.append(NameAddr.parse(address).uri)
        except Malformed:
            continue  # PJSIP cannot read it either
    return uris


def _in_reach(uri: str, *, tls: bool) -> bool:
    """Whether the account's own transports lead to ``uri``."""
    try:
        wanted = RemoteUri.parse(uri).transport
    except Malformed:
        return False
    return wanted in (("tls",) if tls else ("udp", "tcp"))


_set_route_set = pjlib.pjsip_dlg_set_route_set
_set_route_set.argtypes = (ctypes.c_void_p, ctypes.c_void_p)


def _set_route(call_id: str, local_tag: str, remote_tag: str, routes: str) -> None:
    if dialog := find_dialog(call_id, local_tag, remote_tag):
        with header_list(("Route", routes)) as headers:
            _set_route_set(dialog, headers)  # copies it
