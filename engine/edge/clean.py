"""What PJSIP is given of a far end's message: fields on a white list, each written here and not by the far end.

PJSIP aborts on texts that it does not expect, and takes an answer that it cannot parse for silence. So it never sees a
far end's URI, route, Via or tag: it sees the edge's own, and the edge keeps the far end's (``engine.edge.dialogs``).
A field that cannot be read is left out; the message counts all the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from engine.messages.link import PEER, PRIVATE, UNUSABLE
from engine.sip.fields import CSeq, min_se, q850_cause, retry_after_s, session_expires
from engine.sip.message import Header, Request, Response, write

EDGE: Final = "<sip:edge@127.0.0.1:5060>"
"""The far end's Contact, as PJSIP sees it."""

METHODS: Final = ("INVITE", "ACK", "CANCEL", "BYE", "UPDATE", "PRACK", "INFO", "OPTIONS")
EXTENSIONS: Final = ("100rel", "timer")
_MAX_INT = 2**31 - 1
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~")
_REASON_MAX = 128
_CONTROLS: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127), "?")


def written(message: Request | Response) -> bytes:
    """The message for PJSIP or the network. Control characters, which may stand in a quoted string (RFC 3261 §25.1) and
    at which some readers stop, become ``?``."""
    headers = tuple(Header(header.name, header.value.translate(_CONTROLS)) for header in message.headers)
    return write(replace(message, headers=headers))


def safe_tag(tag: str) -> str:
    """The tag as PJSIP is given it: itself when it is a token of sensible length, ``x`` for none, else its hash."""
    if not tag:
        return "x"
    if len(tag) <= 128 and all(char in _TOKEN for char in tag):
        return tag
    return "x" + hashlib.sha256(tag.encode("utf-8", "replace")).hexdigest()[:32]


def response_for_pjsip(
    response: Response,
    *,
    via: str,
    from_: str,
    to: str,
    call_id: str,
    cseq: str,
    peer: str,
    body: bytes,
    unusable: str = "",
) -> Response:
    """``response`` with PJSIP's own Via, From, To and CSeq; ``body`` is an SDP that was cleaned, or nothing."""
    fields = [
        Header("Via", via),
        Header("From", from_),
        Header("To", to),
        Header("Call-ID", call_id),
        Header("CSeq", cseq),
    ]
    status = response.status
    if 100 < status < 300:
        fields.append(Header("Contact", EDGE))
    required = _options(response.all("Require"))
    if status < 200:
        rseq = _number(response.first("RSeq"))
        if "100rel" in required and rseq:
            fields += [Header("Require", "100rel"), Header("RSeq", str(rseq))]
    fields += _session_timer(response, required if status >= 200 else ())
    fields += _capabilities(response)
    fields += _explanations(response)
    if body:
        fields += [Header(PEER, peer), Header("Content-Type", "application/sdp")]
    if unusable:
        fields.append(Header(UNUSABLE, unusable))
    return Response(status, _words(response.reason), headers=tuple(fields), body=body)


def request_for_pjsip(
    request: Request, *, uri: str, via: str, from_: str, to: str, content_type: str, body: bytes
) -> Request:
    """A request inside a dialog."""
    fields = [
        Header("Via", via),
        Header("Max-Forwards", "70"),
        Header("From", from_),
        Header("To", to),
        Header("Call-ID", request.first("Call-ID") or ""),
        Header("CSeq", str(CSeq.parse(request.first("CSeq") or ""))),
    ]
    if request.method in ("INVITE", "UPDATE"):
        fields.append(Header("Contact", EDGE))
        fields += _session_timer(request, _options(request.all("Require")))
        fields += _capabilities(request)
    fields += _explanations(request)
    if body:
        fields.append(Header("Content-Type", content_type))
    return Request(request.method, uri, headers=tuple(fields), body=body)


def without_private(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The fields that may cross the network."""
    return tuple(header for header in headers if not header.name.lower().startswith(PRIVATE.lower()))


def _session_timer(message: Request | Response, required: tuple[str, ...]) -> list[Header]:
    fields = []
    interval = session_expires(message.first("Session-Expires") or "")
    if interval is not None and 0 < interval[0] <= _MAX_INT:
        seconds, refresher = interval
        if "timer" in required:
            fields.append(Header("Require", "timer"))
        fields.append(Header("Session-Expires", f"{seconds}" + (f";refresher={refresher}" if refresher else "")))
    least = min_se(message.first("Min-SE") or "")
    if least is not None and 0 < least <= _MAX_INT:
        fields.append(Header("Min-SE", str(least)))
    return fields


def _capabilities(message: Request | Response) -> list[Header]:
    fields = []
    if allowed := [one for one in METHODS if one in _upper(message.all("Allow"))]:
        fields.append(Header("Allow", ", ".join(allowed)))
    if supported := [one for one in EXTENSIONS if one in _options(message.all("Supported"))]:
        fields.append(Header("Supported", ", ".join(supported)))
    return fields


def _explanations(message: Request | Response) -> list[Header]:
    fields = []
    if (cause := q850_cause(message.all("Reason"))) is not None:
        fields.append(Header("Reason", f"Q.850;cause={cause}"))
    if (wait_s := retry_after_s(message.first("Retry-After") or "")) is not None:
        fields.append(Header("Retry-After", str(min(wait_s, _MAX_INT))))
    return fields


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= 2**32 - 1 else None


def _options(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(value.strip().lower() for value in values)


def _upper(values: Iterable[str]) -> set[str]:
    return {value.strip().upper() for value in values}


def _words(reason: str) -> str:
    """A reason phrase of printable ASCII: PJSIP's parser takes nothing else."""
    return "".join(char if " " <= char <= "~" else "?" for char in reason[:_REASON_MAX]).strip()
