"""What the edge answers by itself (RFC 3261 §8.2): everything that belongs to no dialog of ours, and what nobody here
speaks."""

from __future__ import annotations

from typing import Final

from engine.edge.clean import EXTENSIONS, METHODS
from engine.edge.rewriting import tag_of
from engine.sip.dtmf import info_signal
from engine.sip.message import Request

Fields = tuple[tuple[str, str], ...]
Answer = tuple[int, Fields]

REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    414: "Request-URI Too Long",
    416: "Unsupported URI Scheme",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    481: "Call/Transaction Does Not Exist",
    488: "Not Acceptable Here",
    505: "Version Not Supported",
    513: "Message Too Large",
}
_ALLOW = ("Allow", ", ".join(METHODS))
_ABLE: Fields = (_ALLOW, ("Accept", "application/sdp"), ("Supported", ", ".join(EXTENSIONS)))
_KEYS: Fields = (("Accept", "application/dtmf-relay, application/dtmf"),)


def answer_to(request: Request, *, in_dialog: bool) -> Answer | None:
    """The status and fields that ``request`` gets at once; None when it is PJSIP's to serve, or needs no answer.

    ``in_dialog``: it belongs to a dialog of a live process.
    """
    method = request.method
    if method == "ACK":
        return None
    if method not in METHODS:
        return 405, (_ALLOW,)
    required = [option.strip() for option in request.all("Require") if option.strip()]
    if method != "CANCEL" and (unknown := [one for one in required if one.lower() not in EXTENSIONS]):
        return 420, (("Unsupported", ", ".join(unknown)),)
    has_tag = bool(tag_of(request.first("To")))
    if method == "OPTIONS":
        return (481, ()) if has_tag and not in_dialog else (200, _ABLE)
    if not in_dialog:
        return (403, ()) if method == "INVITE" and not has_tag else (481, ())
    if method == "INVITE" and request.first("Replaces") is not None:
        return 403, ()
    if method == "INFO":
        return _answer_to_info(request)
    return None


def _answer_to_info(request: Request) -> Answer | None:
    if not request.body:
        return 200, ()  # RFC 2976 §2.2: to see whether we are still there
    kind = (request.first("Content-Type") or "").lower()
    if not kind.startswith("application/dtmf"):
        return 415, _KEYS
    return None if info_signal(kind, request.body.decode("utf-8", "replace")) else (400, ())
