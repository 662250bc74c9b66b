"""SIP messages as the far end saw them: parsed from SIPp's trace, for assertions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdp:
    """The one audio stream of a session description (RFC 8866)."""

    address: str
    port: int
    payload_types: tuple[int, ...]
    codecs: dict[int, str]
    """Encoding names by payload type, as in ``a=rtpmap``."""
    direction: str
    attributes: tuple[str, ...]

    @classmethod
    def parse(cls, body: str) -> Sdp:
        lines = [(line[0], line[2:]) for line in body.split("\r\n") if line[1:2] == "="]
        media = next(value for kind, value in lines if kind == "m").split()
        attributes = tuple(value for kind, value in lines if kind == "a")
        maps = [a.removeprefix("rtpmap:").split() for a in attributes if a.startswith("rtpmap:")]
        return cls(
            address=[value for kind, value in lines if kind == "c"][-1].split()[-1],
            port=int(media[1]),
            payload_types=tuple(map(int, media[3:])),
            codecs={int(payload_type): name.split("/")[0] for payload_type, name, *_ in maps},
            direction=next((a for a in attributes if a in ("sendonly", "recvonly", "inactive")), "sendrecv"),
            attributes=attributes,
        )


@dataclass(frozen=True, kw_only=True)
class SipMessage:
    """One request or response with the time the far end's trace gives it."""

    at: datetime
    received: bool
    """By the far end, that is: sent by the side under test."""
    start_line: str
    headers: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def parse(cls, text: str, *, at: datetime, received: bool) -> SipMessage:
        head, _, body = text.partition("\r\n\r\n")
        start_line, *lines = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")
        headers = tuple((name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
        return cls(at=at, received=received, start_line=start_line, headers=headers, body=body)

    @property
    def method(self) -> str:
        """Of the request, or of the one this responds to."""
        return (self.header("CSeq") or "").split()[-1] if self.status else self.start_line.split()[0]

    @property
    def status(self) -> int:
        """0 for a request."""
        return int(self.start_line.split()[1]) if self.start_line.startswith("SIP/2.0") else 0

    @property
    def uri(self) -> str:
        """The Request-URI."""
        return self.start_line.split()[1]

    @property
    def call_id(self) -> str:
        return self.header("Call-ID") or ""

    @cached_property
    def sdp(self) -> Sdp:
        return Sdp.parse(self.body)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The first of that name, None without one."""
        return next(iter(self.all(name)), None)

    def answers_challenge(self, username: str, password: str) -> bool:
        """The digest credentials fit this request (RFC 7616 §3.4, MD5 or SHA-256, with or without qop=auth)."""
        credentials = self.header("Proxy-Authorization") or self.header("Authorization") or ""
        given = {key: value.strip('"') for key, value in re.findall(r'(\w+)=("[^"]*"|[^\s,]+)', credentials)}
        if not given or given["username"] != username:
            return False
        name = given.get("algorithm", "MD5").lower().replace("-", "")

        def digest(*parts: str) -> str:
            return hashlib.new(name, ":".join(parts).encode()).hexdigest()

        qop = (given["nc"], given["cnonce"], given["qop"]) if "qop" in given else ()
        secret = digest(username, given["realm"], password)
        expected = digest(secret, given["nonce"], *qop, digest(self.method, given["uri"]))
        return bool(given["response"] == expected)


_ENTRY = re.compile(rb"-{20,} (\S+ \S+)\n\w+ message (sent|received) [\[(](\d+)\]? bytes ?\)?:\n\n")


def parse_trace(trace: bytes) -> Iterator[tuple[SipMessage, int]]:
    """The messages of a SIPp ``-trace_msg`` file and where each ends; one still being written is left out."""
    for entry in _ENTRY.finditer(trace):
        when, direction, size = entry.groups()
        end = entry.end() + int(size)
        if end <= len(trace):
            at = datetime.fromisoformat(when.decode()).astimezone()
            text = trace[entry.end() : end].decode()
            yield SipMessage.parse(text, at=at, received=direction == b"received"), end
