"""What one leg demands of its trunk: a certificate that holds, encrypted audio, and TLS for the whole dialog."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import replace

from engine.outcome import NOT_ENCRYPTED, Outcome
from engine.pjsip.library import find_dialog, header_list, pjlib
from engine.sip.uri import SipUri

_PLAIN_RTP = re.compile(r"^m=audio [0-9]+ RTP/AVPF? ", re.MULTILINE)
_HEADER = re.compile(
    r"^(f|from|t|to|i|call-id|m|contact|record-route)[ \t]*:[ \t]*(.*?)\r?$", re.IGNORECASE | re.MULTILINE
)
_LONG = {"f": "from", "t": "to", "i": "call-id", "m": "contact"}  # RFC 3261 §7.3.3
_URI = re.compile(r"<([^>]*)>|(sips?:[^,;\s]*)", re.IGNORECASE)
_TRANSPORT = re.compile(r";\s*transport\s*=\s*([^;?\s]+)")
_TAG = re.compile(r";\s*tag\s*=\s*([^;\s]+)", re.IGNORECASE)


class LegSecurity:
    """Made for one leg. ``refusal_of`` tells what PJSIP's reason for a transport's failure means."""

    def __init__(self, first_hop: SipUri, *, srtp_required: bool, refusal_of: Callable[[str], Outcome | None]) -> None:
        self._first_hop = first_hop
        self._srtp_required = srtp_required
        self._refusal_of = refusal_of
        self.unencrypted = False
        """The trunk answered with plain RTP although it must not; PJSIP has opened no stream and ends the call."""

    def heard(self, message: str) -> None:
        """A response to the INVITE came; to be called before its ACK is sent."""
        head, _, body = message.partition("\r\n\r\n")
        if self._srtp_required and _PLAIN_RTP.search(body):
            self.unencrypted = True
        if message.startswith("SIP/2.0 2"):
            self._stay_in_reach(head)

    def refusal(self, reason: str) -> Outcome | None:
        """Why the leg had to end, when it was by a demand; ``reason`` is PJSIP's."""
        return NOT_ENCRYPTED if self.unencrypted else self._refusal_of(reason)

    def _stay_in_reach(self, head: str) -> None:
        """Send the dialog's further requests where the INVITE went, when the far end names a place that is not for us:
        one without TLS after TLS, or with a transport that PJSIP has not. Unable to send ACK, it aborts the process.
        """
        headers: dict[str, str] = {}
        for name, value in _HEADER.findall(head):
            long = _LONG.get(name.lower(), name.lower())
            headers[long] = f"{headers[long]}, {value}" if long in headers else value
        routes = _uris(headers.get("record-route", ""))[::-1]  # RFC 3261 §12.1.2
        next_hop = (routes or _uris(headers.get("contact", "")))[:1]
        if next_hop and _in_reach(next_hop[0], tls=self._first_hop.transport == "tls"):
            return
        first_hop = replace(self._first_hop, params=tuple(dict.fromkeys((*self._first_hop.params, "lr"))))
        route = ", ".join(f"<{uri}>" for uri in (first_hop, *routes))
        local_tag, remote_tag = (found[1] if (found := _TAG.search(headers[one])) else "" for one in ("from", "to"))
        _set_route(headers["call-id"], local_tag, remote_tag, route)


def _uris(addresses: str) -> list[str]:
    return [in_brackets or bare for in_brackets, bare in _URI.findall(addresses)]


def _in_reach(uri: str, *, tls: bool) -> bool:
    """Whether the account's own transports lead to ``uri``."""
    named = _TRANSPORT.search(uri.lower())
    wanted = "tls" if uri.lower().startswith("sips:") else named[1] if named else "udp"
    return wanted in (("tls",) if tls else ("udp", "tcp"))


_set_route_set = pjlib.pjsip_dlg_set_route_set
_set_route_set.argtypes = (ctypes.c_void_p, ctypes.c_void_p)


def _set_route(call_id: str, local_tag: str, remote_tag: str, routes: str) -> None:
    if dialog := find_dialog(call_id, local_tag, remote_tag):
        with header_list(("Route", routes)) as headers:
            _set_route_set(dialog, headers)  # copies it
