"""Reads SIPp's trace: the times at which each call's INVITE arrived and its 180 and 200 were sent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

_ENTRY: Final = re.compile(r"^-{20,} (\d{4}-\d\d-\d\d)[\sT]+(\d\d:\d\d:\d\d\.\d+).*$", re.MULTILINE)
_CALL_ID: Final = re.compile(r"^Call-ID:\s*(\S+)", re.MULTILINE)
_AUDIO: Final = re.compile(r"^m=audio (\d+)", re.MULTILINE)
_SENT: Final = re.compile(r"^X-Sent:.*\s(\d+)\.(\d{6})$", re.MULTILINE)
"""``[timestamp]`` in the 200 of our scenarios, taken before it is sent. The trace may show the 200 after its ACK."""
_CSEQ: Final = re.compile(r"^CSeq:\s*\d+ (\w+)", re.MULTILINE)


@dataclass(slots=True, kw_only=True)
class Signalling:
    """One call at the far end; times are nanoseconds since the epoch, 0 for a step that never happened."""

    invite_ns: int
    media_port: int
    """The engine's RTP port, from its offer."""
    ringing_ns: int = 0
    answered_ns: int = 0
    bye_ns: int = 0
    invites: int = 1
    """More than one: the INVITE was sent again."""


def read_trace(text: str) -> Mapping[str, Signalling]:
    """The calls by their Call-ID."""
    calls: dict[str, Signalling] = {}
    for at_ns, start, message in _messages(text):
        call_id, method = _found(_CALL_ID, message), _found(_CSEQ, message)
        call = calls.get(call_id)
        if start.startswith("INVITE "):
            if call is not None:
                call.invites += 1
            else:
                port = int(_found(_AUDIO, message) or 0)
                calls[call_id] = Signalling(invite_ns=at_ns, media_port=port)
        elif call is not None and start.startswith("BYE "):
            call.bye_ns = call.bye_ns or at_ns
        elif call is not None and method == "INVITE" and start.startswith("SIP/2.0 18"):
            call.ringing_ns = call.ringing_ns or at_ns
        elif call is not None and method == "INVITE" and start.startswith("SIP/2.0 200"):
            sent = _SENT.search(message)
            call.answered_ns = call.answered_ns or (int(sent[1] + sent[2]) * 1000 if sent else at_ns)
    return calls


def _messages(text: str) -> Iterator[tuple[int, str, str]]:
    """The time, the start line and the whole of each message, received or sent."""
    _, *entries = _ENTRY.split(text)
    for date, clock, entry in zip(entries[::3], entries[1::3], entries[2::3], strict=True):
        _, _, message = entry.lstrip().partition("\n\n")
        second, _, fraction = clock.partition(".")
        at = datetime.fromisoformat(f"{date} {second}").astimezone()
        message = message.lstrip().replace("\r", "")
        yield int(at.timestamp()) * 10**9 + int(fraction.ljust(9, "0")), message.partition("\n")[0], message


def _found(pattern: re.Pattern[str], message: str) -> str:
    match = pattern.search(message)
    return match[1] if match else ""
