"""The session description in the body of a SIP message (RFC 3261 §7.4), alone or beside others (RFC 5621)."""

from __future__ import annotations

from typing import Final

from engine.sip.sdp import MAX_BYTES, Unreadable

_SDP: Final = "application/sdp"
_MAX_DEPTH: Final = 3
_MAX_PARTS: Final = 32
_MAX_HEAD_LINES: Final = 32
_MAX_BOUNDARY: Final = 70  # RFC 2046 §5.1.1


def session_description(content_type: str, body: bytes) -> bytes | None:
    """The ``application/sdp`` of a body; None when it has none. Raises ``Unreadable`` for a body of several parts whose
    boundary is unknown.

    ``content_type`` is the value of the field, or empty: then a body that begins like SDP counts as SDP.
    """
    if len(body) > MAX_BYTES:
        raise Unreadable(f"the body is longer than {MAX_BYTES} bytes")
    return _find(content_type, body, _MAX_DEPTH)


def _find(content_type: str, body: bytes, depth: int) -> bytes | None:
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    if kind == _SDP or (not kind and body.lstrip().startswith(b"v=")):
        return body
    if not kind.startswith("multipart/") or depth == 0:
        return None
    for head, part in _parts(_boundary(parameters), body):
        found = _find(head, part, depth - 1)
        if found is not None:
            return found
    return None


def _boundary(parameters: str) -> bytes:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        boundary = value.strip().strip('"').encode("utf-8", "replace")
        if name.strip().lower() == "boundary" and 0 < len(boundary) <= _MAX_BOUNDARY:
            return boundary
    raise Unreadable("the body has several parts, and its Content-Type names no boundary between them")


def _parts(boundary: bytes, body: bytes) -> list[tuple[str, bytes]]:
    """Content-Type and content of each part (RFC 2046 §5.1.1); lines may end in LF."""
    parts = []
    for piece in (b"\n" + body).split(b"\n--" + boundary, _MAX_PARTS + 1)[1:]:
        if piece.startswith(b"--"):
            break
        parts.append(_split(piece.partition(b"\n")[2]))
    return parts[:_MAX_PARTS]


def _split(part: bytes) -> tuple[str, bytes]:
    """A part's Content-Type, unfolded, and its content."""
    lines = part.split(b"\n")
    blank = next((index for index, line in enumerate(lines) if not line.strip()), len(lines))
    values, name = [], b""
    for line in lines[: min(blank, _MAX_HEAD_LINES)]:
        value = line
        if line[:1] not in (b" ", b"\t"):
            name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            values.append(value.decode("utf-8", "replace").strip())
    return " ".join(values), b"\n".join(lines[blank + 1 :])
