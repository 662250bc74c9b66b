"""Reads and writes the values of SIP header fields: Via, addresses, CSeq, times and causes (RFC 3261 §20)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from engine.sip.syntax import BLANKS, Malformed, Params, is_token, number, quote, quoted_end, split_list, unquote
from engine.sip.uri import host_and_port, is_host

_CSEQ_MAX: Final = 2**31 - 1  # RFC 3261 §8.1.1.5
_SECONDS_MAX: Final = 2**32 - 1  # RFC 3261 §20.19
_CAUSE_MAX: Final = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Via:
    """One hop of a Via field (RFC 3261 §20.42). ``transport`` is in capitals; an IPv6 ``host`` keeps its brackets."""

    transport: str
    host: str
    port: int | None = None
    params: Params = field(default_factory=Params)

    @classmethod
    def parse(cls, text: str) -> Via:
        """Raises ``Malformed``; parameters that cannot be read are left out."""
        protocol, _, params = text.partition(";")
        words = [word.strip(BLANKS) for word in protocol.split("/", 2)]
        if len(words) != 3 or [words[0].upper(), words[1]] != ["SIP", "2.0"]:
            raise Malformed("A Via does not begin with SIP/2.0.")
        transport, sent_by = (*words[2].split(None, 1), "", "")[:2]
        # Blanks may stand around the colon (RFC 3261 §25.1).
        host, colon, port = (part.strip(BLANKS) for part in host_and_port(sent_by))
        if not is_token(transport) or not is_host(host):
            raise Malformed("A Via names no transport and host.")
        number_ = number(port) if colon else None
        if colon and (number_ is None or not 0 < number_ < 65536):
            raise Malformed("A Via has a port that is not between 1 and 65535.")
        return cls(transport=transport.upper(), host=host, port=number_, params=Params.parse(params))

    @property
    def branch(self) -> str | None:
        return self.params.get("branch") or None

    def with_received(self, address: str, port: int) -> Via:
        """With the source of the request: ``received``, and ``rport`` where it was asked for (RFC 3581 §4)."""
        params = self.params.with_param("received", address)
        return replace(self, params=params.with_param("rport", str(port)) if "rport" in params else params)

    def __str__(self) -> str:
        port = f":{self.port}" if self.port is not None else ""
        return f"SIP/2.0/{self.transport} {self.host}{port}{self.params}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameAddr:
    """An address with its parameters, as in From, To, Contact, Route and Record-Route (RFC 3261 §20.10).

    ``display`` has neither quotes nor escapes. ``uri`` is the text as written, of any scheme; ``*`` in some Contacts.
    """

    display: str = ""
    uri: str
    params: Params = field(default_factory=Params)

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Read one address; raises ``Malformed``. Parameters that cannot be read are left out.

        When the URI has no brackets, parameters after a semicolon belong to the field, not the URI (RFC 3261 §20).
        """
        text = text.strip(BLANKS)
        end = quoted_end(text) if text.startswith('"') else text.find("<")
        if text.startswith('"') and (end < 0 or not text[end:].lstrip(BLANKS).startswith("<")):
            raise Malformed("An address has a display name that does not end before its URI.")
        if end < 0:
            uri, _, params = text.partition(";")
        else:
            uri, closing, params = text[end:].lstrip(BLANKS)[1:].partition(">")
            params = params.lstrip(BLANKS)
            if not closing or params[:1] not in ("", ";"):
                raise Malformed("An address has a URI whose brackets do not match.")
        uri = uri.strip(BLANKS)
        if not uri or any(char in uri for char in ' \t"<>') or (end < 0 and "," in uri):
            raise Malformed("An address has no URI, or text that cannot stand in one.")
        display = unquote(text[: max(end, 0)].strip(BLANKS))
        return cls(display=display, uri=uri, params=Params.parse(params))

    @property
    def tag(self) -> str | None:
        return self.params.get("tag") or None

    def __str__(self) -> str:
        display = f"{quote(self.display)} " if self.display else ""
        return f"{display}<{self.uri}>{self.params}" if self.uri != "*" else "*"


@dataclass(frozen=True, slots=True)
class CSeq:
    """A request's number and method (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """Raises ``Malformed``."""
        digits, method = (*text.split(None, 1), "", "")[:2]
        value = number(digits)
        if value is None or value > _CSEQ_MAX or not is_token(method.strip(BLANKS)):
            raise Malformed("The CSeq is not a number below 2**31 and a method.")
        return cls(value, method.strip(BLANKS))

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def expires(text: str) -> int | None:
    """The seconds of Expires or Min-Expires (RFC 3261 §20.19), 2**32 - 1 for larger numbers, None for other text."""
    text = text.strip(BLANKS)
    if not (text.isascii() and text.isdigit()):
        return None
    value = number(text)
    return _SECONDS_MAX if value is None else min(value, _SECONDS_MAX)


def retry_after_s(text: str) -> int | None:
    """The seconds of a Retry-After, which a comment or parameters may follow (RFC 3261 §20.33)."""
    return expires(text.partition(";")[0].partition("(")[0])


def session_expires(text: str) -> tuple[int, str | None] | None:
    """The seconds of a Session-Expires, and ``uac`` or ``uas`` where it names the refresher (RFC 4028 §4)."""
    seconds, _, params = text.partition(";")
    interval_s = expires(seconds)
    refresher = (Params.parse(params).get("refresher") or "").lower()
    return None if interval_s is None else (interval_s, refresher if refresher in ("uac", "uas") else None)


def min_se(text: str) -> int | None:
    """The seconds of a Min-SE (RFC 4028 §5)."""
    return expires(text.partition(";")[0])


def q850_cause(reasons: Iterable[str]) -> int | None:
    """The first Q.850 cause in the values of Reason fields (RFC 3326 §2), None without one from 0 to 127."""
    for reason in (part for value in reasons for part in split_list(value)):
        protocol, _, params = reason.partition(";")
        if protocol.rstrip(BLANKS).upper() == "Q.850":
            cause = number(Params.parse(params).get("cause") or "")
            if cause is not None and cause <= _CAUSE_MAX:
                return cause
    return None
