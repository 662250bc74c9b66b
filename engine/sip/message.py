"""SIP messages, read from the wire and written to it (RFC 3261 §7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

from engine.sip.fields import CSeq, NameAddr, Via
from engine.sip.syntax import BLANKS, Malformed, is_token, number, split_list

MESSAGE_MAX: Final = 65_535
"""Bytes of a message."""
FIELD_MAX: Final = 8192
"""Characters of a start line and of a field, name included."""
FIELDS_MAX: Final = 128
HOPS_MAX: Final = 64
"""Entries that a request may have in Via, Route or Record-Route."""

_LIST_NAMES: Final = (
    "Accept Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Call-Info Contact Content-Encoding "
    "Content-Language Diversion Error-Info History-Info In-Reply-To P-Asserted-Identity P-Associated-URI "
    "P-Preferred-Identity Path Proxy-Require Reason Record-Route Require Route Service-Route Supported Unsupported "
    "Via Warning"
)
"""Fields whose values commas separate. A credential or challenge has commas inside, and so has a date."""
_OTHER_NAMES: Final = (
    "Authentication-Info Authorization Call-ID Content-Disposition Content-Length Content-Type CSeq Date Event Expires "
    "From Identity Max-Forwards MIME-Version Min-Expires Min-SE Organization Priority Privacy Proxy-Authenticate "
    "Proxy-Authentication-Info Proxy-Authorization RAck Refer-To Referred-By Replaces Reply-To Retry-After RSeq Server "
    "Session-Expires SIP-ETag SIP-If-Match Subject Subscription-State Timestamp To User-Agent WWW-Authenticate"
)
_COMPACT_NAMES: Final = (
    "a=Accept-Contact b=Referred-By c=Content-Type d=Request-Disposition e=Content-Encoding f=From i=Call-ID "
    "j=Reject-Contact k=Supported l=Content-Length m=Contact n=Identity-Info o=Event r=Refer-To s=Subject t=To "
    "u=Allow-Events v=Via x=Session-Expires y=Identity"
)
"""The IANA's SIP parameters, registry Header Fields."""
_LISTS: Final = frozenset(_LIST_NAMES.split())
_COMPACT: Final = dict(word.split("=") for word in _COMPACT_NAMES.split())
_CANONICAL: Final = {
    **{name.lower(): name for name in (*_LISTS, *_OTHER_NAMES.split(), *_COMPACT.values())},
    **_COMPACT,
}
_SINGLE: Final = frozenset(("From", "To", "Call-ID", "CSeq", "Content-Length", "Max-Forwards"))


def canonical(name: str) -> str:
    """The long name of a field in its usual spelling; a name that is not known stays as it is."""
    return _CANONICAL.get(name.lower(), name)


@dataclass(frozen=True, slots=True)
class Header:
    """One header field. ``name`` is canonical; ``value`` is one line without blanks at its ends."""

    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    headers: tuple[Header, ...] = ()
    body: bytes = b""

    def first(self, name: str) -> str | None:
        """The first value of the field ``name``; of a list its first element."""
        return next(self._values(canonical(name)), None)

    def all(self, name: str) -> tuple[str, ...]:
        """All values of the field ``name``; the elements of a list one by one, wherever commas may separate them."""
        return tuple(self._values(canonical(name)))

    def _values(self, name: str) -> Iterator[str]:
        for header in self.headers:
            if header.name.lower() == name.lower():
                yield from split_list(header.value) if name in _LISTS else (header.value,)

    def without(self, *names: str) -> Self:
        dropped = {canonical(name).lower() for name in names}
        return replace(self, headers=tuple(header for header in self.headers if header.name.lower() not in dropped))

    def with_header(self, name: str, *values: str) -> Self:
        """With one field for each of ``values`` where ``name`` stood first, or at the end."""
        name = canonical(name)
        places = (index for index, header in enumerate(self.headers) if header.name.lower() == name.lower())
        place = next(places, len(self.headers))
        rest = replace(self, headers=self.headers[place:]).without(name).headers
        return replace(self, headers=(*self.headers[:place], *(Header(name, value) for value in values), *rest))

    def appended(self, name: str, value: str) -> Self:
        """With one more field ``name`` at the end."""
        return replace(self, headers=(*self.headers, Header(canonical(name), value)))


@dataclass(frozen=True, slots=True)
class Request(_Message):
    """``uri`` is the Request-URI as written, of any scheme."""

    method: str
    uri: str

    def check(self) -> None:
        """Raises ``Malformed`` unless the fields that each request needs are there and can be read (RFC 3261 §8.1.1).

        A missing Max-Forwards is accepted: it means nothing to a user agent.
        """
        for name in ("Via", "From", "To", "Call-ID", "CSeq"):
            if not self.first(name):
                raise Malformed(f"The request has no {name}.")
        if any(len(self.all(name)) > HOPS_MAX for name in ("Via", "Route", "Record-Route")):
            raise Malformed(f"The request has more than {HOPS_MAX} hops.")
        Via.parse(self.first("Via") or "")
        for name in ("From", "To"):
            address = self.first(name) or ""
            if len(split_list(address)) != 1 or NameAddr.parse(address).uri == "*":
                raise Malformed(f"The request has a {name} that is not one address.")
        if CSeq.parse(self.first("CSeq") or "").method != self.method:
            raise Malformed("The CSeq names another method.")


@dataclass(frozen=True, slots=True)
class Response(_Message):
    status: int
    reason: str


Message = Request | Response


def read(data: bytes, *, strict: bool = True) -> Message:
    """Read the one message of a datagram. Bytes that are not UTF-8 in its header become U+FFFD.

    Raises ``Malformed``. A response is read as far as it can be: fields that cannot be read are left out, because a
    final response counts whatever they say. Of a request each field must have a name, and the fields that decide what
    it means must be unambiguous. ``Request.check`` looks at what they say.

    Content-Length cuts the body and may be missing (RFC 3261 §18.3); a request with a body that is shorter is refused.
    Without ``strict`` a request is read as a response is, whatever its version: far enough to be refused by an answer.
    """
    if len(data) > MESSAGE_MAX:
        raise Malformed(f"The message has more than {MESSAGE_MAX} bytes.", 513)
    head, body = split_head(data.lstrip(b"\r\n"))
    start, *lines = head.split("\n")
    message = _start_line(start.rstrip("\r"), strict=strict)
    strict = strict and isinstance(message, Request)
    headers = tuple(_fields(lines, strict=strict))
    return replace(message, headers=headers, body=_body(headers, body, strict=strict))


def split_head(data: bytes) -> tuple[str, bytes]:
    """The start line and fields of a message as text, and what follows the first empty line."""
    end, body = end_of_head(data)
    head = data if end < 0 else data[:end]
    return head.decode("utf-8", "replace"), data[body:]


def end_of_head(data: bytes | bytearray, start: int = 0, stop: int | None = None) -> tuple[int, int]:
    """Where the last line before the first empty one ends, its line break excluded, and where the body begins; -1 and
    the length of ``data`` when no line is empty. A line break is CRLF or LF. Both breaks are searched in
    ``data[start:stop]``.
    """
    end, body = -1, len(data)
    for line_breaks in (b"\n\r\n", b"\n\n"):
        at = data.find(line_breaks, start, stop)
        if at >= 0:
            end, body = at, at + len(line_breaks)
            stop = at + 1  # the other one counts if it comes before
    return end - (data[end - 1 : end] == b"\r") if end > 0 else end, body


def _start_line(line: str, *, strict: bool) -> Message:
    if len(line) > FIELD_MAX:
        raise Malformed(f"The start line has more than {FIELD_MAX} characters.", 414)
    if line[:4].upper() == "SIP/":
        version, status, reason = (*line.split(None, 2), "", "", "")[:3]
        if version.upper() != "SIP/2.0":
            raise Malformed("The response is of another version than SIP/2.0.", 505)
        if len(status) != 3 or not 100 <= (number(status) or 0) < 700:
            raise Malformed("The response has no status from 100 to 699.")
        return Response(int(status), reason.replace("\r", " ").strip(BLANKS))
    words = line.split(" ")
    if len(words) != 3 or not is_token(words[0]) or not words[1] or "\r" in line or "\t" in line:
        raise Malformed("The request does not begin with a method, a URI and a version.")
    if strict and words[2].upper() != "SIP/2.0":
        raise Malformed("The request is of another version than SIP/2.0.", 505 if "/" in words[2] else 400)
    return Request(words[0], words[1])


def _fields(lines: Iterable[str], *, strict: bool) -> Iterator[Header]:
    """The fields that can be read; of those that stand once in a message the first. ``strict``: raises ``Malformed``
    instead of leaving a field out."""
    single = dict[str, str]()
    for count, text in enumerate(unfolded(lines), start=1):
        name, colon, value = text.partition(":")
        name, value = canonical(name.rstrip(BLANKS)), value.strip(BLANKS)
        if count > FIELDS_MAX and not strict:
            return
        fault = _fault(name, colon, count, len(text))
        if fault is None and single.get(name, value) != value:
            fault = Malformed(f"The message has different {name} fields.")
        if fault is not None:
            if strict:
                raise fault
        elif name not in single:
            if name in _SINGLE:
                single[name] = value
            yield Header(name, value)


def _fault(name: str, colon: str, count: int, length: int) -> Malformed | None:
    if not colon or not is_token(name):
        return Malformed("The message has a line that is not a header field.")
    if count > FIELDS_MAX:
        return Malformed(f"The message has more than {FIELDS_MAX} header fields.", 513)
    if length > FIELD_MAX:
        return Malformed(f"The message has a header field of more than {FIELD_MAX} characters.", 513)
    return None


def unfolded(lines: Iterable[str]) -> Iterator[str]:
    """The fields in the lines of a header, each as one line (RFC 3261 §7.3.1).

    A CR inside a line becomes a blank: written again it would end the line.
    """
    field = list[str]()
    for line in lines:
        text = line.rstrip("\r").replace("\r", " ")
        if not text.startswith((" ", "\t")) and field:
            yield " ".join(field)
            field = []
        if text:
            field.append(text.strip(BLANKS))
    if field:
        yield " ".join(field)


def _body(headers: tuple[Header, ...], body: bytes, *, strict: bool) -> bytes:
    text = next((header.value for header in headers if header.name == "Content-Length"), None)
    length = len(body) if text is None else number(text)
    if strict and (length is None or length > len(body)):
        raise Malformed("The Content-Length is not the length of the body.")
    return body[:length]


def write(message: Message) -> bytes:
    """The message on the wire, with the Content-Length of its body.

    Raises ``ValueError`` for a line break in the start line or in a field: what a far end wrote adds no field.
    """
    if isinstance(message, Request):
        start = f"{message.method} {message.uri} SIP/2.0"
    else:
        start = f"SIP/2.0 {message.status} {message.reason}"
    fields = message.with_header("Content-Length", str(len(message.body))).headers
    lines = [start, *(f"{header.name}: {header.value}" for header in fields)]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a line break cannot stand inside a header field")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace") + message.body
