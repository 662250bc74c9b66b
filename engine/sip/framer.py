"""SIP messages on a TCP or TLS connection (RFC 3261 §18.3), and its keep-alives (RFC 5626 §3.5.1)."""

from __future__ import annotations

from typing import Final

from engine.sip.message import MESSAGE_MAX, canonical, end_of_head, unfolded
from engine.sip.syntax import BLANKS, Malformed, number

HEAD_MAX: Final = 32_768
"""Bytes of a start line and its fields."""
_LF: Final = 0x0A


class Framer:
    """The framer of one connection. It holds the bytes of at most one unfinished message; their number is bounded."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._length: int | None = None
        self._line_breaks = 0
        self._pings = 0
        self._failure: Malformed | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completes.

        Raises ``Malformed`` when the end of a message cannot be known: the connection is then useless. Messages that
        were complete before it are returned first, and the next call raises.
        """
        self._buffer += data
        messages = list[bytes]()
        while self._failure is None:
            try:
                message = self._next()
            except Malformed as failure:
                self._failure = failure
                self._buffer.clear()
                break
            if message is None:
                return messages
            messages.append(message)
        if not messages:
            assert self._failure is not None
            raise self._failure
        return messages

    def take_pings(self) -> int:
        """The keep-alives (two CRLFs) since the last call; each is to be answered with one CRLF."""
        pings, self._pings = self._pings, 0
        return pings

    def _next(self) -> bytes | None:
        if self._length is None:
            self._skip_line_breaks()
            self._length = self._length_of_message()
        if self._length is None or len(self._buffer) < self._length:
            return None
        message = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._searched, self._length = 0, None
        return message

    def _skip_line_breaks(self) -> None:
        if self._searched:
            return  # inside a message
        end = len(self._buffer) - len(self._buffer.lstrip(b"\r\n")) if self._buffer.startswith((b"\r", b"\n")) else 0
        breaks = self._line_breaks + self._buffer.count(_LF, 0, end)
        del self._buffer[:end]
        self._pings += breaks // 2
        self._line_breaks = 0 if self._buffer else breaks % 2

    def _length_of_message(self) -> int | None:
        end, body = end_of_head(self._buffer, max(0, self._searched - 3), HEAD_MAX + 4)
        if end > HEAD_MAX or (end < 0 and len(self._buffer) > HEAD_MAX):
            raise Malformed(f"The header of the message has more than {HEAD_MAX} bytes.", 513)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        length = body + _content_length(self._buffer[:end].decode("utf-8", "replace"))
        if length > MESSAGE_MAX:
            raise Malformed(f"The message has more than {MESSAGE_MAX} bytes.", 513)
        return length


def _content_length(head: str) -> int:
    """Raises ``Malformed`` unless there is one Content-Length: nothing else marks the end of a message in a stream."""
    lengths = set[int | None]()
    for field in unfolded(head.split("\n")[1:]):
        name, _, value = field.partition(":")
        if canonical(name.rstrip(BLANKS)) == "Content-Length":
            lengths.add(number(value.strip(BLANKS)))
    length = lengths.pop() if len(lengths) == 1 else None
    if length is None:
        raise Malformed("The message has no reliable Content-Length.")
    return length
